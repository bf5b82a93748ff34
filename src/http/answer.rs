//! The answers that routes give themselves: `redirect` and `respond`.
use super::path::Asked;
use super::reply::Reply;
use super::rewrite::{PathChange, with_query};
use crate::config::{self, PathMatch};
use crate::message::{Fields, Invalid};
use std::io::Write;

/// A compiled `redirect`: what it does not name it keeps, the query too.
#[derive(Debug)]
pub struct Redirect {
    said: config::Redirect,
    path: Option<PathChange>,
}

/// A compiled `respond`.
#[derive(Debug)]
pub struct Respond {
    said: config::Respond,
}

impl Redirect {
    /// For a route with this path.
    pub(super) fn new(said: &config::Redirect, matched: &PathMatch) -> Self {
        let path = said.path.as_ref().map(|rule| PathChange::new(rule, matched));
        Self { said: said.clone(), path }
    }

    /// The answer to a request that came by this scheme.
    pub(super) fn answer(&self, asked: &Asked<'_>, scheme: &str) -> Reply {
        let nowhere = asked.host().is_none() && self.said.host.is_none();
        if nowhere && (self.said.scheme.is_some() || self.said.port.is_some()) {
            // Neither can be said without a host: the client would come back as it came.
            return Reply::own(400, "host_missing");
        }
        let mut fields = Fields::new();
        match self.location(asked, scheme).map(|location| fields.append("Location", &location)) {
            Some(Ok(())) => Reply::with(self.said.status, "redirect", fields, Vec::new()),
            _ => Reply::own(400, "bad_rewrite"),
        }
    }

    /// Absolute where a host is known. Without one (HTTP/1.0) it is a path, with one slash at its
    /// beginning: two would make a host of what the client wrote behind them.
    fn location(&self, asked: &Asked<'_>, scheme: &str) -> Option<Vec<u8>> {
        let path = match &self.path {
            Some(change) => change.apply(&asked.path).ok()?,
            None if *asked.path == *b"*" => b"/".to_vec(),
            None => asked.path.to_vec(),
        };
        let path = with_query(path, asked.query);
        let host = self.said.host.as_deref().map(str::as_bytes).or_else(|| asked.host());
        let Some(host) = host else {
            // Two would name a host; browsers take `\` for another slash.
            let slashes = path.iter().take_while(|b| matches!(b, b'/' | b'\\')).count();
            return Some([b"/", &path[slashes..]].concat());
        };
        let mut location = Vec::with_capacity(64 + path.len());
        location.extend_from_slice(self.said.scheme.as_deref().unwrap_or(scheme).as_bytes());
        location.extend_from_slice(b"://");
        location.extend_from_slice(host);
        if let Some(port) = self.port(asked, scheme) {
            write!(location, ":{port}").ok()?;
        }
        location.extend_from_slice(&path);
        Some(location)
    }

    /// The port to write. The client's own is kept with its host and its scheme: another scheme
    /// or host has its own default.
    fn port(&self, asked: &Asked<'_>, scheme: &str) -> Option<u16> {
        let same = |new: &Option<String>, old: &str| new.as_deref().is_none_or(|new| new == old);
        let kept = || {
            let stays = same(&self.said.scheme, scheme) && self.said.host.is_none();
            asked.port().filter(|_| stays)
        };
        let default = match self.said.scheme.as_deref().unwrap_or(scheme) {
            "https" => 443,
            _ => 80,
        };
        self.said.port.or_else(kept).filter(|port| *port != default)
    }
}

impl Respond {
    /// Checks the fields.
    ///
    /// # Errors
    ///
    /// [`Invalid`] and the name of a field that may not stand in an answer.
    pub(super) fn new(said: &config::Respond) -> Result<Self, (String, Invalid)> {
        let mut fields = Fields::new();
        for (name, value) in &said.headers {
            fields.append(name, value.as_bytes()).map_err(|invalid| (name.clone(), invalid))?;
        }
        Ok(Self { said: said.clone() })
    }

    /// The answer.
    pub(super) fn answer(&self) -> Reply {
        let mut fields = Fields::new();
        for (name, value) in &self.said.headers {
            // Checked when it was compiled.
            let _ = fields.append(name, value.as_bytes());
        }
        if !self.said.body.is_empty() && fields.find("content-type").is_none() {
            let _ = fields.append("Content-Type", b"text/plain; charset=utf-8");
        }
        Reply::with(self.said.status, "respond", fields, self.said.body.clone().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PathRewrite;
    use crate::http::path::asked;
    use crate::message::{Chunk, Head, Size, Version};

    fn location(
        said: &config::Redirect,
        matched: &str,
        host: Option<&str>,
        target: &str,
    ) -> String {
        let mut head = Head::new();
        head.start_request(b"GET", target.as_bytes(), Version::Http11).unwrap();
        let asked = asked(&head, host.map(str::as_bytes)).unwrap();
        let redirect = Redirect::new(said, &PathMatch::Prefix(matched.into()));
        String::from_utf8(redirect.location(&asked, "http").unwrap()).unwrap()
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_name() {
        let none =
            config::Redirect { status: 308, scheme: None, host: None, port: None, path: None };
        let text = |text: &str| Some(text.to_string());
        let https = config::Redirect { scheme: text("https"), ..none.clone() };
        let port = config::Redirect { port: Some(8443), ..https.clone() };
        let plain = config::Redirect { port: Some(443), ..https.clone() };
        let host = config::Redirect { host: text("b.example"), ..none.clone() };
        let prefix =
            config::Redirect { path: Some(PathRewrite::Prefix("/new".into())), ..none.clone() };
        let full = config::Redirect { path: Some(PathRewrite::Full("/x".into())), ..none.clone() };
        let cases = [
            (&none, "/", Some("a:8080"), "/p?q=1", "http://a:8080/p?q=1"),
            (&https, "/", Some("a:8080"), "/p?q=1", "https://a/p?q=1"),
            (&https, "/", Some("a"), "/p/../r", "https://a/r"),
            (&port, "/", Some("a:80"), "/p?", "https://a:8443/p?"),
            (&plain, "/", Some("a"), "/", "https://a/"),
            (&host, "/", Some("a:8080"), "/p", "http://b.example/p"),
            (&prefix, "/old", Some("a"), "/old/x?y", "http://a/new/x?y"),
            (&prefix, "/old", Some("a"), "/old", "http://a/new"),
            (&full, "/old", Some("a"), "/old/z?y", "http://a/x?y"),
            (&none, "/", Some("a."), "/p", "http://a/p"),
            (&none, "/", None, "/p", "/p"),
            (&none, "/", None, "//evil.example/p", "/evil.example/p"),
            (&none, "/", None, "/\\evil.example/p", "/evil.example/p"),
            (&host, "/", None, "//evil.example/p", "http://b.example//evil.example/p"),
            (&none, "/", Some("a"), "http://c:81/p", "http://c:81/p"),
        ];
        for (said, matched, host, target, expected) in cases {
            assert_eq!(location(said, matched, host, target), expected, "{said:?} {target}");
        }
    }

    #[test]
    fn who_names_no_host_is_not_sent_in_circles() {
        let mut head = Head::new();
        head.start_request(b"GET", b"/s", Version::Http10).unwrap();
        let none =
            config::Redirect { status: 308, scheme: None, host: None, port: None, path: None };
        let scheme = config::Redirect { scheme: Some("https".into()), ..none.clone() };
        let port = config::Redirect { port: Some(443), ..none.clone() };
        let host = config::Redirect { host: Some("b.example".into()), ..scheme.clone() };
        let full = config::Redirect { path: Some(PathRewrite::Full("/x".into())), ..none };
        for (said, status) in [(scheme, 400), (port, 400), (host, 308), (full, 308)] {
            let redirect = Redirect::new(&said, &PathMatch::Prefix("/".into()));
            let reply = redirect.answer(&asked(&head, None).unwrap(), "http");
            assert_eq!(reply.status(), status, "{said:?}");
        }
    }

    fn written(reply: &Reply, head_only: bool) -> String {
        let mut out = Chunk::lend(Size::Head);
        reply.write(Version::Http11, true, head_only, &mut out);
        String::from_utf8(out.data().to_vec()).unwrap()
    }

    #[test]
    fn respond_says_what_it_is_told() {
        let headers = vec![("X-A".to_string(), "1".to_string())];
        let said = config::Respond { status: 418, body: "no\n".into(), headers };
        let reply = Respond::new(&said).unwrap().answer();
        let text = written(&reply, false);
        assert!(text.starts_with("HTTP/1.1 418 "), "{text}");
        assert!(text.contains("X-A: 1\r\n"), "{text}");
        assert!(text.contains("Content-Type: text/plain; charset=utf-8\r\n"), "{text}");
        assert!(text.contains("Content-Length: 3\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nno\n"), "{text}");
        let text = written(&reply, true);
        assert!(text.contains("Content-Length: 3\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn respond_cannot_split_an_answer() {
        let headers = vec![("X-A".to_string(), "1\r\nX-B: 2".to_string())];
        let said = config::Respond { status: 200, body: String::new(), headers };
        assert_eq!(Respond::new(&said).unwrap_err(), ("X-A".into(), Invalid::Value));
    }
}
