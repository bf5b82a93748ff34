//! A pool under load, played: one queue of events with a time of its own, and a seed that says what
//! happens. Backends that fail, freeze, crawl, flap and come back; clients that come whatever becomes
//! of them. What decides is the real thing: members, health, balancers, ejection, queue, limits, budgets
//! and the rhythm of probes; only sockets and clocks are played.
//!
//! After each event the laws are looked at ([`laws`]). A seed that breaks one is printed, and played
//! again, event by event, by
//!
//! ```console
//! $ EVENKEEL_SEED=123 cargo test --lib simulation::tests::replay -- --nocapture
//! $ EVENKEEL_SEEDS=100000 cargo test --release --lib simulation::tests::whatever
//! ```

mod clients;
mod dice;
mod further;
mod hedging;
mod laws;
mod patience;
mod request;
mod scene;
mod server;
mod table;
mod tests;
mod tries;
mod world;
