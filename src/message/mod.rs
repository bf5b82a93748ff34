//! What an HTTP message is, whatever version carried it, and the memory it is held in.

mod chunk;
mod head;
mod source;

pub use chunk::{Chunk, Memory, Pressure, Size, memory};
pub use head::{Fields, Head, Invalid, Known, Mark, Method, Version};
pub use source::{Broken, Empty, Fill, Length, Source};
