//! One timer a connection, armed lazily: moving a deadline further away costs nothing.
use std::task::{Context, Poll};
use std::time::Instant;

/// A deadline that is moved far more often than it is met.
///
/// The sleep behind it is only re-armed when it fires early or a deadline nearer than it is set,
/// so a connection that is busy touches the runtime's timer wheel about once in its deadline.
#[derive(Debug)]
pub struct Timer {/* sleep: Option<Pin<Box<tokio::time::Sleep>>>, armed, deadline: Option<Instant> */}

impl Timer {
    /// No deadline, nothing armed.
    pub const fn new() -> Self {
        Self {}
    }
    /// Sets or clears the deadline.
    pub fn set(&mut self, deadline: Option<Instant>) {
        let _ = deadline;
        todo!()
    }
    /// The deadline.
    pub fn deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// Ready once the deadline has passed; pending for ever without one. Registers the task.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        todo!()
    }
}
