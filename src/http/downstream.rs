//! What the journey of a request asks of the client's side, whatever version carries it.
use super::address::Origin;
use crate::config::Limits;
use crate::message::{Head, Version};
use crate::net::Spliced;
use std::future::Future;
use std::time::Duration;

/// The client's side of one request: its body, and the way back for interim answers. Generic and
/// not `dyn`, so that each version has a journey of its own.
pub(super) trait Downstream: Spliced + Sized {
    /// Who the client is.
    fn origin(&self) -> &Origin;
    /// Bounds the body once the route is known.
    fn bound_body(&mut self, limits: &Limits);
    /// How long the client itself is ready to wait, where it said so.
    fn patience(&self, head: &Head) -> Option<Duration> {
        let _ = head;
        None
    }
    /// Passes an interim answer on, as far as it goes at once: it never holds the request up.
    fn interim(&mut self, answer: &Head, version: Version) -> impl Future<Output = ()> + Send;
}
