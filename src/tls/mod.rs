//! TLS: certificates judged, and what each side needs to speak it made of them. No I/O: the files
//! were read with the configuration.

mod acceptor;
mod by_name;
mod connector;
mod der;
mod identity;
mod mac;
mod provider;
mod resumption;
mod staple;
mod tickets;

#[cfg(test)]
mod tests;

pub use acceptor::{Acceptor, Begun, Client};
pub use connector::{Connector, Offer};
pub use identity::Identity;
pub use mac::{Mac, TAG};
pub use provider::sha1;
