//! What each path answers.
use super::{collect, view};
use crate::server::{Stage, State};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use serde::Serialize;

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers a request. `api`: whether `/v1` is served here.
pub(super) fn answer(state: &State, request: &Request<Incoming>, api: bool) -> Answer {
    let path = request.uri().path();
    let known =
        matches!(path, "/metrics" | "/healthz" | "/readyz") || (api && path.starts_with("/v1/"));
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here");
    }
    match path {
        "/metrics" => text(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            collect::metrics(state),
        ),
        "/healthz" => text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into()),
        "/readyz" => match state.stage() {
            Stage::Ready => text(StatusCode::OK, "text/plain; charset=utf-8", "ready\n".into()),
            Stage::Starting => unready("starting\n"),
            Stage::Draining => unready("draining\n"),
        },
        "/v1/status" if api => json(&view::status(state)),
        "/v1/pools" if api => json(&view::pools(state)),
        _ => match path
            .strip_prefix("/v1/pools/")
            .filter(|_| api)
            .and_then(|name| view::pool(state, name))
        {
            Some(pool) => json(&pool),
            None => problem(StatusCode::NOT_FOUND, "nothing is served at this path"),
        },
    }
}

fn unready(why: &str) -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", why.into())
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer
}

fn json(view: &impl Serialize) -> Answer {
    match serde_json::to_string(view) {
        Ok(body) => text(StatusCode::OK, "application/json", body + "\n"),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// RFC 9457.
pub(super) fn problem(status: StatusCode, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or("");
    let body = serde_json::json!({ "title": title, "status": status.as_u16(), "detail": detail });
    text(status, "application/problem+json", format!("{body}\n"))
}
