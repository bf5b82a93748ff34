//! What a route does.
use super::listener::PoolRef;
use crate::config::rewrite::PathRewrite;

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `pool = "app"`
    Pool(PoolRef),
    /// `pools = { app = 95, canary = 5 }`
    Pools(Vec<(PoolRef, u32)>),
    /// `redirect = {…}`
    Redirect(Redirect),
    /// `respond = {…}`
    Respond(Respond),
}

/// `redirect`: what it does not name it keeps, the query too.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308 (the default).
    pub status: u16,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathRewrite>,
}

/// `respond`
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Further fields.
    pub headers: Vec<(String, String)>,
}

/// Rules on fields, applied in the order remove, set, add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderRules {
    /// Names to remove, in lower case.
    pub remove: Vec<String>,
    /// Fields to set, case kept.
    pub set: Vec<(String, String)>,
    /// Fields to add, case kept.
    pub add: Vec<(String, String)>,
}
