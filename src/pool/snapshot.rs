//! The immutable usable set with its balancer: what the `ArcSwap` holds.
