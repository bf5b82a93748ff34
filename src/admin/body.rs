//! The body of a request: JSON, within the limits of size and time, its members asked for by name.
use super::answer::Problem;
use crate::config::AdminLimits;
use crate::metrics::Words;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode, header};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The members of a body. What nobody asked for is a problem, as it is in a file.
#[derive(Debug)]
pub(super) struct Members(Map<String, Value>);

/// Reads a whole body; empty where there is none.
pub(super) async fn read(
    request: Request<Incoming>,
    limits: &AdminLimits,
    hits: &Words,
) -> Result<Members, Problem> {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?"));
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or("").trim());
    let read = Limited::new(body, limits.body).collect();
    let read = tokio::time::timeout(limits.time, read).await.map_err(|_| {
        hits.inc("time");
        let time = limits.time;
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("no whole body within {time:?} (admin.limits.time)"),
        )
    })?;
    let bytes = match read {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            hits.inc("body");
            let most = limits.body;
            let what = format!("the body has more than {most} bytes (admin.limits.body)");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, what));
        }
        Err(error) => return Err(Problem::new(StatusCode::BAD_REQUEST, error.to_string())),
    };
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("application/json"))
        || (kind.is_none() && !bytes.is_empty())
    {
        let what = "a body is application/json: say so in Content-Type";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
    }
    if bytes.is_empty() {
        return Ok(Members(Map::new()));
    }
    parsed(&bytes)
}

/// An object whose members are said once: of two of a name, readers choose differently (RFC 8259 4,
/// RFC 7493 2.3).
fn parsed(bytes: &[u8]) -> Result<Members, Problem> {
    let Pairs(pairs) = serde_json::from_slice(bytes)
        .map_err(|error| Problem::field("", format!("the body is no JSON object: {error}")))?;
    let mut members = Map::new();
    for (name, value) in pairs {
        if members.contains_key(&name) {
            return Err(Problem::field(name, "is said twice"));
        }
        members.insert(name, value);
    }
    Ok(Members(members))
}

/// The members of an object as they came.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Each)
    }
}

/// Reads [`Pairs`].
struct Each;

impl<'de> Visitor<'de> for Each {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

impl Members {
    /// Takes a member; an absent one is `None`, `null` is `Some(Value::Null)`.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A text, checked.
    pub(super) fn text<T>(
        &mut self,
        name: &str,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                check(&text).map(Some).map_err(|why| Problem::field(name, why))
            }
            Some(other) => Err(expected(name, "a string", &other)),
        }
    }

    /// A whole number within bounds.
    pub(super) fn count(&mut self, name: &str, most: u64) -> Result<Option<u64>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = whole(&value).filter(|n| *n <= most);
        let wrong = || expected(name, &format!("a whole number from 0 to {most}"), &value);
        number.map(Some).ok_or_else(wrong)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(expected(name, "true or false", &other)),
        }
    }

    /// What nobody asked for is a problem.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::field(name, "unknown member")),
        }
    }
}

/// A whole number, however it is written: JSON has one kind of numbers (RFC 8259 6).
pub(super) fn whole(value: &Value) -> Option<u64> {
    let float = || value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e15).contains(n));
    value.as_u64().or_else(|| float().map(|n| n as u64))
}

/// A value of another kind.
pub(super) fn expected(name: &str, what: &str, found: &Value) -> Problem {
    let number;
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a flag",
        Value::Number(found) => {
            number = found.to_string();
            &number
        }
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Problem::field(name, format!("expected {what}, found {found}"))
}
