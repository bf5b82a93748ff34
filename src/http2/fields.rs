//! Fields of a head to those of the `http` crate, and trailers both ways.
use crate::http1::{Refusal, Rule, may_trail};
use crate::message::{Fields, Known};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that say something of an HTTP/1 connection: HTTP/2 has none of them (RFC 9113 8.2.2).
pub(super) const CONNECTION: u64 = Known::Connection.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::TransferEncoding.bit()
    | Known::Upgrade.bit();

/// Secrets that are kept out of the table which all requests of a connection share (RFC 7541 7.1).
const SECRET: u64 =
    Known::Authorization.bit() | Known::ProxyAuthorization.bit() | Known::Cookie.bit();

/// What no other message says again: in that table (RFC 7541 2.3.2) it would push out what is said
/// again, and be compared with all others of its name.
const UNIQUE: u64 = Known::XRequestId.bit();

/// Every field but those of `skip` (a set of [`Known::bit`]s), in order, names in lower case.
///
/// # Errors
///
/// [`Refusal`] when one could not be said; the others are there. What stands in a head may stand
/// here too; more names than a map can hold do not.
pub(super) fn to_map(fields: &Fields, skip: u64, map: &mut HeaderMap) -> Result<(), Refusal> {
    to_map_where(fields, |_, bit| skip & bit == 0, map)
}

/// As [`to_map`], of those that are meant, by name and [`Known::bit`] (0 where it is none).
fn to_map_where(
    fields: &Fields,
    is_meant: impl Fn(&[u8], u64) -> bool,
    map: &mut HeaderMap,
) -> Result<(), Refusal> {
    let mut unfit = Ok(());
    // One copy, of which every value is a part.
    let bytes = Bytes::copy_from_slice(fields.bytes());
    for (name, known, value) in fields.lines() {
        let bit = known.map_or(0, Known::bit);
        if is_meant(name, bit)
            && let Err(rule) = put(map, name, bytes.slice(value), (SECRET | UNIQUE) & bit != 0)
        {
            unfit = Err(rule.into());
        }
    }
    unfit
}

fn put(map: &mut HeaderMap, name: &[u8], value: Bytes, apart: bool) -> Result<(), Rule> {
    let name = HeaderName::from_bytes(name).map_err(|_| Rule::FieldName)?;
    let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| Rule::FieldValue)?;
    value.set_sensitive(apart);
    map.try_append(name, value).map(drop).map_err(|_| Rule::TooManyFields)
}

/// Trailers as they go on, to a client or to a backend; `None` where nothing of them may.
pub fn to_trailers(trailers: Option<&Fields>) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    let passes = |name: &[u8], bit| CONNECTION & bit == 0 && may_trail(name, Known::of(name));
    let _ = to_map_where(trailers?, passes, &mut map);
    (!map.is_empty()).then_some(map)
}

/// Trailers as they came: `most` bytes and `count` fields at the most.
///
/// # Errors
///
/// [`Refusal`] for too many, and for what no trailer may say.
pub fn from_trailers(map: &HeaderMap, most: usize, count: usize) -> Result<Fields, Refusal> {
    let mut fields = Fields::new();
    from_map(map, most, count, Rule::TrailersTooLarge, &mut fields)?;
    Ok(fields)
}

/// Appends all of a map: `most` bytes, counted as lines of HTTP/1, and `count` fields at the most.
///
/// # Errors
///
/// [`Refusal`]: `too_large`, too many, or what [`append`] refuses.
pub(super) fn from_map(
    map: &HeaderMap,
    most: usize,
    count: usize,
    too_large: Rule,
    into: &mut Fields,
) -> Result<(), Refusal> {
    if map.len() > count {
        return Err(Rule::TooManyFields.into());
    }
    let mut left = most;
    for (name, value) in map {
        let size = name.as_str().len() + value.len() + LINE;
        left = left.checked_sub(size).ok_or(too_large)?;
        append(into, name.as_str(), value.as_bytes())?;
    }
    Ok(())
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
