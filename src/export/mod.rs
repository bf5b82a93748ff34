//! What is sent to others: traces. Runs on the control runtime.

mod otlp;
mod partial;
mod traces;

pub use traces::{Exporter, traces};
