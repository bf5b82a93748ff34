//! The dashboard: one page, its style and its script, from this binary and nowhere else.
use super::answer::{Answer, set, text};
use hyper::{StatusCode, header};

/// Nothing but what comes from here is loaded or asked, nothing in the page is run, and no other page
/// may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Page,
    Style,
    Script,
}

impl File {
    pub(super) fn answer(self) -> Answer {
        let (kind, body) = match self {
            Self::Page => ("text/html; charset=utf-8", include_str!("page.html")),
            Self::Style => ("text/css; charset=utf-8", include_str!("page.css")),
            Self::Script => ("text/javascript; charset=utf-8", include_str!("page.js")),
        };
        let mut answer = text(StatusCode::OK, kind, body.into());
        set(&mut answer, header::CONTENT_SECURITY_POLICY, POLICY);
        set(&mut answer, header::REFERRER_POLICY, "no-referrer");
        answer
    }
}
