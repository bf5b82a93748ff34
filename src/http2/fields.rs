//! Fields of a head to those of the `http` crate, and trailers both ways.
use crate::http1::{FORBIDDEN_TRAILERS, Refusal, Rule};
use crate::message::{Fields, Known};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that say something of an HTTP/1 connection: HTTP/2 has none of them (RFC 9113 8.2.2).
pub(super) const CONNECTION: u64 = Known::Connection.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::TransferEncoding.bit()
    | Known::Upgrade.bit();

/// Every field but those of `skip` (a set of [`Known::bit`]s), in order, names in lower case.
pub(super) fn to_map(fields: &Fields, skip: u64) -> HeaderMap {
    // And a Content-Length.
    let mut map = HeaderMap::with_capacity(fields.len() + 1);
    for (name, value) in fields.iter() {
        if Known::of(name).is_some_and(|known| skip & known.bit() != 0) {
            continue;
        }
        // What stands in a head may stand here too; more names than the map can hold do not.
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        else {
            continue;
        };
        let _ = map.try_append(name, value);
    }
    map
}

/// The trailers of an answer; `None` where nothing of them may go on.
pub fn to_trailers(trailers: Option<&Fields>) -> Option<HeaderMap> {
    let map = to_map(trailers?, FORBIDDEN_TRAILERS | CONNECTION);
    (!map.is_empty()).then_some(map)
}

/// The trailers of a request, in `most` bytes at the most.
///
/// # Errors
///
/// [`Refusal`] for too many, and for what no trailer may say.
pub fn from_trailers(map: &HeaderMap, most: usize) -> Result<Fields, Refusal> {
    let mut fields = Fields::new();
    let mut size = 0;
    for (name, value) in map {
        size += name.as_str().len() + value.len() + LINE;
        if size > most {
            return Err(Rule::TrailersTooLarge.into());
        }
        append(&mut fields, name.as_str(), value.as_bytes())?;
    }
    Ok(fields)
}

/// What a line has besides its name and its value.
pub(super) const LINE: usize = ": \r\n".len();

/// Appends a field as strictly as one of HTTP/1, and without space around its value (RFC 9113 8.2.1).
pub(super) fn append(fields: &mut Fields, name: &str, value: &[u8]) -> Result<(), Refusal> {
    let is_space = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if is_space(value.first()) || is_space(value.last()) {
        return Err(Rule::FieldValue.into());
    }
    let known = Known::of(name.as_bytes());
    if known.is_some_and(|known| CONNECTION & known.bit() != 0)
        || (known == Some(Known::Te) && value != b"trailers")
    {
        return Err(Rule::ConnectionField.into());
    }
    fields.append(name, value).map_err(|invalid| match invalid {
        crate::message::Invalid::Name => Rule::FieldName.into(),
        _ => Rule::FieldValue.into(),
    })
}
