//! What is answered, in its forms: text, JSON, a problem (RFC 9457), a stream of events.
use super::events::Stream;
use crate::telemetry::seen;
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::{Response, StatusCode, header};
use serde::Serialize;

pub(super) type Answer = Response<Either<Full<Bytes>, Stream>>;

pub(super) fn text(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    // What holds now need not hold at the next look, and is nobody else's to keep.
    fields.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    answer
}

pub(super) fn json(view: &impl Serialize) -> Answer {
    json_with(StatusCode::OK, view)
}

pub(super) fn json_with(status: StatusCode, view: &impl Serialize) -> Answer {
    match serde_json::to_string(view) {
        Ok(body) => text(status, "application/json", shown(&body)),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).answer(),
    }
}

/// JSON that a terminal shows as it is: of strings of others nothing is left that it would obey.
fn shown(json: &str) -> String {
    seen(json, |_| false).into_owned() + "\n"
}

/// Done, and there is nothing to say.
pub(super) fn nothing(status: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = status;
    answer
}

/// Sets a field of our own words; one that no field can hold is left out.
pub(super) fn set(answer: &mut Answer, name: header::HeaderName, value: &str) {
    if let Ok(value) = header::HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Why a request is refused (RFC 9457).
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// What is wrong, and what to do about it.
    detail: String,
    /// The member of the body that is wrong.
    field: Option<String>,
    /// Problems of a configuration.
    problems: Vec<crate::config::Problem>,
    /// Seconds after which it may be otherwise.
    again: Option<u64>,
}

impl Problem {
    /// What is wrong, and with which field.
    pub(super) fn words(&self) -> String {
        match &self.field {
            Some(field) => format!("{field}: {}", self.detail),
            None => self.detail.clone(),
        }
    }
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), field: None, problems: Vec::new(), again: None }
    }

    /// What came before it.
    pub(super) fn after(self, what: &str) -> Self {
        Self { detail: format!("{what}{}", self.detail), ..self }
    }

    /// A member of the body is wrong.
    pub(super) fn field(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(name.into()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// A configuration is wrong.
    pub(super) fn config(problems: Vec<crate::config::Problem>) -> Self {
        let (count, s) = (problems.len(), if problems.len() == 1 { "" } else { "s" });
        let detail = format!("{count} problem{s} in the configuration");
        Self { problems, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// It may be otherwise in so many seconds.
    pub(super) fn again_in(self, seconds: u64) -> Self {
        Self { again: Some(seconds), ..self }
    }

    pub(super) fn answer(self) -> Answer {
        let title = self.status.canonical_reason().unwrap_or("");
        let mut body = serde_json::json!({
            "type": "about:blank", "title": title, "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            body["field"] = field.into();
        }
        if !self.problems.is_empty() {
            let one = |p: &crate::config::Problem| {
                serde_json::json!({
                    "file": &*p.at.file, "line": p.at.line, "column": p.at.column,
                    "key": p.key, "what": p.what, "hint": p.hint,
                })
            };
            body["problems"] = self.problems.iter().map(one).collect();
        }
        let mut answer = text(self.status, "application/problem+json", shown(&body.to_string()));
        if let Some(seconds) = self.again {
            set(&mut answer, header::RETRY_AFTER, &seconds.to_string());
        }
        answer
    }
}
