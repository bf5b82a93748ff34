//! What two processes say to each other while one takes over from the other, and what the one knows
//! that the other must.
use super::super::beats;
use super::super::door;
use super::super::kept;
use super::super::said::Said;
use super::super::state::State;
use crate::config::Name;
use crate::net::Governed;
use crate::pool::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The form of what is said here. Other forms are refused: what one does not understand it could
/// lose. `Hello` and `Refused` stay as they are in every form.
pub(super) const PROTOCOL: u32 = 1;

/// In this order; each but the last may be answered by `Refused`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// The new process: who it is.
    Hello { protocol: u32, version: String, pid: u32 },
    /// Either: it ends here, and why.
    Refused { why: String },
    /// The old process: who it is, what it knows; its sockets follow.
    Offer { version: String, pid: u32, memory: Memory },
    /// Some of its sockets, and whether more follow.
    Sockets { sockets: Vec<Named>, more: bool },
    /// The new process: it could serve at once, with these sockets, and this is by whom it is governed.
    Ready {
        taken: Vec<Named>,
        #[serde(default)]
        governed: Governed,
    },
    /// The old process: what it knows, for the last time. From here on it writes nothing.
    Final { memory: Memory },
    /// The new process: it serves.
    Serving,
    /// The old process, while the new one proves that it lives, and the answer once all its threads did.
    Alive,
    /// The old process: the service is the new one's.
    Done,
    /// The old process, told to end while the new one proves that it lives: the service ends.
    End,
    /// The new process, before it ends in order.
    Bye,
}

impl Message {
    /// What it is called.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Refused { .. } => "refused",
            Self::Offer { .. } => "offer",
            Self::Sockets { .. } => "sockets",
            Self::Ready { .. } => "ready",
            Self::Final { .. } => "final",
            Self::Serving => "serving",
            Self::Alive => "alive",
            Self::Done => "done",
            Self::End => "end",
            Self::Bye => "bye",
        }
    }
}

/// Sockets of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    /// `listener`, or a role such as `admin`.
    pub(super) role: String,
    /// The address as the configuration writes it.
    pub(super) at: String,
    #[serde(default)]
    pub(super) datagrams: bool,
    /// The listener, where any port will do.
    #[serde(default)]
    pub(super) listener: Option<String>,
    /// The service manager keeps it, too.
    #[serde(default)]
    pub(super) foreign: bool,
    /// How many of the descriptors beside the message.
    #[serde(default)]
    pub(super) count: usize,
}

impl Named {
    pub(super) fn door((addr, kind, listener): &door::Key) -> Self {
        Self {
            role: "listener".into(),
            at: addr.to_string(),
            datagrams: *kind == door::Kind::Datagrams,
            listener: listener.as_ref().map(ToString::to_string),
            foreign: false,
            count: 0,
        }
    }
    pub(super) fn role(role: &str, at: String) -> Self {
        Self { role: role.into(), at, datagrams: false, listener: None, foreign: false, count: 0 }
    }
    /// Whether it is the same address.
    pub(super) fn is(&self, other: &Self) -> bool {
        let Self { role, at, datagrams, listener, foreign: _, count: _ } = self;
        (role, at, datagrams, listener)
            == (&other.role, &other.at, &other.datagrams, &other.listener)
    }
}

/// What a process knows that is in no file, or must not be read from one while another writes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::server) struct Memory {
    /// What the API says, as it is kept.
    words: String,
    /// For how long registered backends have been quiet, and whether that was too long.
    beats: Vec<(String, String, Duration, bool)>,
    /// What probes and tries say, by pool.
    verdicts: BTreeMap<String, Vec<Verdict>>,
    /// Hand-overs so far that succeeded, and that did not.
    pub(in crate::server) hand_overs: (u64, u64),
    /// Processes before this one that have not ended.
    #[serde(default)]
    pub(in crate::server) older: Vec<u32>,
    /// Where the count of events began, and how far it is.
    #[serde(default)]
    pub(in crate::server) events: (u64, u64),
    /// By what the process is governed.
    #[serde(default)]
    pub(in crate::server) governed: Governed,
}

impl Memory {
    /// What is known now.
    pub(super) fn of(state: &State) -> Self {
        let now = Instant::now();
        let pools = state.plan.load_full();
        let pools = pools.iter().flat_map(|plan| plan.pools.iter());
        let counts = &state.hand_overs;
        let beats = state.words.beats.lock().ages(now);
        Self {
            words: String::from_utf8(kept::text(&state.words.said())).unwrap_or_default(),
            beats: beats
                .into_iter()
                .map(|((pool, name), quiet, lapsed)| {
                    (pool.to_string(), name.to_string(), quiet, lapsed)
                })
                .collect(),
            verdicts: pools.map(|(name, pool)| (name.to_string(), pool.remember(now))).collect(),
            hand_overs: (counts.success.get(), counts.failure.get()),
            older: counts.older.left(),
            events: state.events.range(),
            governed: state.off_limits.own(),
        }
    }

    /// What the API says, and when whom was heard.
    ///
    /// # Errors
    ///
    /// Words that cannot be read.
    pub(in crate::server) fn said(&self) -> Result<(Said, beats::Ages), String> {
        let mut said = kept::read(self.words.as_bytes())?;
        let mut ages = Vec::with_capacity(self.beats.len());
        for (pool, backend, quiet, lapsed) in &self.beats {
            let (pool, backend) = (Name::new(pool)?, Name::new(backend)?);
            let word = said.of(&pool).get(&backend).cloned();
            if let Some(mut word) = word {
                word.lapsed = *lapsed;
                said.set(&pool, &backend, Some(word));
            }
            ages.push(((pool, backend), *quiet, *lapsed));
        }
        Ok((said, ages))
    }

    /// What is known of the backends of a pool.
    pub(super) fn verdicts(&self, pool: &str) -> Option<&Vec<Verdict>> {
        self.verdicts.get(pool)
    }
}
