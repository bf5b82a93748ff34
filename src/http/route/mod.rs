//! Finding the route of a request, and what a compiled route is.
//!
//! The order of precedence is Gateway API's: the most specific host, then an exact path before
//! the longest prefix before regular expressions, then routes that name a method, then the number
//! of header matches, the number of query matches, the order of the file. Where the routes of the
//! most specific host do not match, those of less specific hosts are asked: the most specific
//! *matching* route wins.

mod compiled;
mod conditions;
mod keyed;
mod router;
mod table;

pub use compiled::{Action, Route};
pub(super) use conditions::Conditions;
pub(super) use router::{Router, Row};
