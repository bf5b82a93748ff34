//! The first plan of a process that takes over from another one.
use super::{Ready, Reloader};
use crate::pool::Change;
use crate::server::handover::{self, Legacy};
use crate::server::pools::Keepers;
use crate::server::report::ReloadError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime};

impl Reloader {
    /// Takes over from the process before this one, up to the moment from which on this one serves:
    /// pools know what it knew, and nobody else writes what is kept.
    pub(super) async fn take_over(
        &self,
        mut legacy: Legacy,
        ready: &mut Ready,
        keepers: &mut Keepers,
    ) -> Result<(), ReloadError> {
        let state = &self.0.parts.state;
        state.off_limits.asks_token(ready.plan.config.admin.token.is_some());
        // Until that one says that it is done.
        state.off_limits.also(Some(legacy.memory.governed.clone()));
        let pen = state.words.pen.lock().await;
        // Who beats does so there, until that one says that it is done.
        state.words.held.store(true, Relaxed);
        let told = async {
            let recalled = |legacy: &Legacy| {
                let (said, ages) = legacy.memory.said()?;
                let changes = state.words.said().changes(&said);
                state.words.inherit(said, ages);
                Ok::<_, String>(changes)
            };
            recalled(&legacy)?;
            let said = state.words.said();
            self.pools(std::mem::take(&mut ready.prepared), &ready.plan.pools, &said, keepers);
            legacy.recall(&ready.plan.pools);
            handover::first_verdicts(&ready.plan.pools).await;
            legacy.ready(&self.0.parts.inherited, state.off_limits.own()).await?;
            state.off_limits.follows(legacy.memory.governed.clone());
            for (pool, words) in recalled(&legacy)? {
                if let Some(pool) = ready.plan.pools.get(&pool) {
                    pool.apply(Change::Words(words), Instant::now());
                }
            }
            legacy.recall(&ready.plan.pools);
            if let Some(kept) = &pen.kept {
                kept.agree(&state.words.said()).map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        };
        if let Err(why) = told.await {
            legacy.refuse(&why).await;
            return Err(ReloadError::TakeOver(why));
        }
        let (success, failure) = legacy.memory.hand_overs;
        state.hand_overs.success.add(success + 1);
        state.hand_overs.failure.add(failure);
        let from = (legacy.pid, legacy.version.clone(), SystemTime::now());
        *state.hand_overs.from.lock() = Some(from);
        state.events.follow(legacy.memory.events);
        let older = legacy.memory.older.iter().copied().chain([legacy.pid]);
        state.hand_overs.older.follow(older);
        *self.0.parts.legacy.lock() = Some(legacy);
        Ok(())
    }

    /// The process before this one, which is still to be told that this one serves.
    pub(in crate::server) fn legacy(&self) -> Option<Legacy> {
        self.0.parts.legacy.lock().take()
    }
}
