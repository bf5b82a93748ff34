//! What happens to one TCP connection: lease, dial, copy both ways, settle, one access line.
use crate::config::{Config, Effective, Listener, Name, Problem};
use crate::drain::Watch;
use crate::metrics::ListenerCells;
use crate::net::{Peer, Stream};
use crate::pool::Pool;
use crate::telemetry::AccessLog;
use crate::upstream::Dialer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The service of a tcp listener.
#[derive(Debug)]
pub struct Relay {
    /// The listener's name.
    pub listener: Name,
    /// Where it goes.
    pub pool: Arc<Pool>,
    /// What holds.
    pub effective: Effective,
    /// What is counted.
    pub cells: Arc<ListenerCells>,
}

impl Relay {
    /// Compiles a tcp listener.
    ///
    /// # Errors
    ///
    /// A missing or unknown pool.
    pub fn compile(
        listener: &Listener,
        config: &Config,
        pools: &BTreeMap<Name, Arc<Pool>>,
        cells: Arc<ListenerCells>,
    ) -> Result<Self, Vec<Problem>> {
        let _ = (listener, config, pools, cells);
        todo!()
    }
    /// Carries one connection to its end.
    pub async fn serve(&self, stream: Stream, peer: Peer, watch: &Watch, dialer: &Dialer, access: &AccessLog) {
        let _ = (stream, peer, watch, dialer, access);
        todo!()
    }
}
