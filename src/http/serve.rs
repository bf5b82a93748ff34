//! One client connection: waits while idle, reads requests, has each forwarded, in order.
use super::gateway::Gateway;
use crate::drain::Watch;
use crate::net::{Peer, Stream};
use crate::telemetry::AccessLog;
use crate::upstream::Dialer;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Carries one client connection to its end. Each request reads the slot anew.
pub async fn serve(
    stream: Stream,
    peer: Peer,
    slot: Arc<ArcSwap<Gateway>>,
    watch: &Watch,
    dialer: &Arc<Dialer>,
    access: &AccessLog,
) {
    let _ = (stream, peer, slot, watch, dialer, access);
    todo!()
}
