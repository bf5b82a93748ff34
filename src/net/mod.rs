//! Sockets, byte streams, and moving bytes between two of them.

mod adopt;
pub mod client_hello;
mod copy;
mod datagrams;
mod hello;
mod last_words;
mod looks;
mod named;
mod off_limits;
pub mod proxy_protocol;
mod raw;
mod records;
mod scratch;
mod session;
mod socket;
mod splice;
mod stream;
mod timer;
mod unsent;

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod datagrams_tests;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod splice_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod testing;

pub use adopt::{adopt, listens_on};
pub use copy::{Copied, Ended, Goodbye, TwoWay, two_way, websocket};
pub use datagrams::{BATCH, Batch, Door, Flow, Sent, knock, watch, with_batch};
pub use hello::NoHello;
pub use last_words::last_words;
pub use looks::{BEAT, Looks, Wait};
pub use named::Named;
pub(crate) use off_limits::{File, file};
pub use off_limits::{Governed, OffLimits};
pub use raw::Transport;
pub use scratch::poll_read_buf;
pub use session::Early;
pub use socket::{
    Bound, Neighbours, Target, bind, bind_beside, bind_datagrams, bind_private, connect,
    connect_datagrams, is_local_fault, raise_descriptor_limit, resolved,
};
pub use splice::{Pipe, Spliced};
pub use stream::{Peer, Stream, is_within};
pub use timer::Timer;
