//! What the journey of a request asks of the client's side, whatever version carries it.
use super::address::Origin;
use crate::config::Limits;
use crate::message::{Barred, Head, Version};
use crate::net::{Spliced, proxy_protocol};
use std::task::Context;
use std::time::Duration;

/// The client's side of one request: its body, and the way back for interim answers.
///
/// The journey takes it as `dyn`: measured, the few calls cost less than a second copy of the
/// journey's code for each version, which the compiler then no longer draws together.
pub(super) trait Downstream: Spliced {
    /// Who the client is.
    fn origin(&self) -> &Origin;
    /// Bounds the body once the route is known.
    fn bound_body(&mut self, limits: &Limits);
    /// Its trailers say nothing of these.
    fn bar(&mut self, barred: &Barred);
    /// What a backend is told of it by the PROXY protocol.
    fn header(&self, version: proxy_protocol::Version) -> Box<proxy_protocol::Written>;
    /// How long the client itself is ready to wait, where it said so.
    fn patience(&self, head: &Head) -> Option<Duration> {
        let _ = head;
        None
    }
    /// Passes an interim answer on, as far as it goes at once: it never holds the request up.
    fn interim(&mut self, cx: &mut Context<'_>, answer: &Head, version: Version);
}
