//! `route.rewrite`: what becomes of host and path.

/// `rewrite`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewrite {
    /// Host.
    pub host: Option<String>,
    /// Path.
    pub path: Option<PathRewrite>,
}

/// A new path.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// `path = "/full"`
    Full(String),
    /// `{ prefix = "/v2" }`: in place of the route's prefix.
    Prefix(String),
    /// `{ regex = "…", to = "/$1" }`
    Regex(regex::Regex, String),
}

impl PartialEq for PathRewrite {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Full(a), Self::Full(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a, x), Self::Regex(b, y)) => a.as_str() == b.as_str() && x == y,
            _ => false,
        }
    }
}
