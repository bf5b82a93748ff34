//! What an HTTP message is, whatever version carried it, and the memory it is held in.

mod barred;
mod chunk;
mod claim;
mod fields;
mod head;
mod known;
mod memory;
mod octets;
mod scan;
mod source;
mod syntax;

pub use barred::Barred;
pub use chunk::{Chunk, Size, trim};
pub use claim::{is_certificate_claim, is_claim};
pub use fields::{Fields, Invalid};
pub use head::{Head, Method, Version};
pub use known::Known;
#[cfg(test)]
pub(crate) use memory::alone;
pub use memory::{Memory, Part, Place, Pressure, counted, memory};
pub(crate) use octets::{HIGH, ONES, all_words, hex};
pub(crate) use scan::{byte_at, control_at, is_plain_host, is_plain_name};
pub use source::{Back, Broken, Empty, Fill, Kept, Length, Source};
pub use syntax::{is_target, is_token, is_value, reason_phrase};
