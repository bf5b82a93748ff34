//! The head of an answer to one of HTTP/2.
use super::fields::{CONNECTION, to_map};
use crate::http1::BodyLength;
use crate::message::{Fields, Head, Known};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

const SKIPPED: u64 = CONNECTION | Known::ContentLength.bit() | Known::Te.bit();

/// The head of an answer whose body is delimited like this by who sent it. Without a body its own
/// Content-Length stays (HEAD, 304), but never that of a 204 (RFC 9110 8.6).
pub fn response(answer: &Head, body: BodyLength) -> Response<()> {
    let mut fields = fields(answer);
    let length = match body {
        BodyLength::Exact(n) => Some(HeaderValue::from(n)),
        BodyLength::None if answer.status() != 204 => {
            answer.get(Known::ContentLength).and_then(|n| HeaderValue::from_bytes(n).ok())
        }
        _ => None,
    };
    if let Some(length) = length {
        fields.insert(CONTENT_LENGTH, length);
    }
    with(answer.status(), fields)
}

/// The head of an interim answer.
pub fn interim(answer: &Head) -> Response<()> {
    with(answer.status(), fields(answer))
}

/// The head of a short answer of our own, with so many bytes of body.
pub fn short_answer(status: u16, fields: &Fields, length: usize) -> Response<()> {
    let mut fields = self::fields(fields);
    if !matches!(status, 204 | 304) {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    with(status, fields)
}

/// What could not be said is left out: the rest of an answer is worth having.
fn fields(fields: &Fields) -> HeaderMap {
    // And a Content-Length.
    let mut map = HeaderMap::with_capacity(fields.len() + 1);
    let _ = to_map(fields, SKIPPED, &mut map);
    map
}

fn with(status: u16, fields: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    // Codes of three digits, as whoever made the head has checked.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = fields;
    response
}
