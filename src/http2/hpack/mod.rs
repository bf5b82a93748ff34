//! Fields as HTTP/2 compresses them (RFC 7541), both ways. Each way of a connection has a table of
//! its own, of 4 KiB at the most.

mod decoder;
mod encoder;
mod fixed;
mod huffman;
mod integer;
mod table;

#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Stop, Wrong};
pub use encoder::{Encoder, Keep};
pub use table::{Judged, MOST};
