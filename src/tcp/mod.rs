//! What happens to one TCP connection: where it goes, by the name its client asks for where TLS is
//! let pass; lease, dial, copy both ways, settle, one access line.

mod explain;
mod itself;
mod passthrough;
mod relay;
mod report;
mod route;

pub use explain::{Led, Tried};
pub use relay::Relay;
