//! Finds the route of a request.

/// Finds the route of a request: host, path, then the rest.
#[derive(Debug, Default)]
pub struct Router {}
