//! Tests over whole documents: the examples of `tests/config`, includes, random damage, and that
//! no key is ever ignored.
mod contract;
mod corpus;
mod damage;
mod files;
mod meaning;
mod say;
