//! Signals whose usual effect would leave the terminal raw.
use rustix::process::Signal as Kind;
use std::io;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Some of them.
pub(super) struct Signals(Vec<(Kind, Signal)>);

impl Signals {
    /// Those that end a process.
    pub(super) fn of_end() -> io::Result<Self> {
        // What the proxy obeys (pkill -USR1 evenkeel) comes here, too.
        Self::catch(&[Kind::HUP, Kind::INT, Kind::QUIT, Kind::TERM, Kind::USR1, Kind::USR2])
    }

    /// Those that stop one, and let it go on.
    pub(super) fn of_stop() -> io::Result<Self> {
        Self::catch(&[Kind::TSTP, Kind::CONT])
    }

    fn catch(all: &[Kind]) -> io::Result<Self> {
        let one = |kind: &Kind| Ok((*kind, signal(SignalKind::from_raw(kind.as_raw()))?));
        all.iter().map(one).collect::<io::Result<_>>().map(Self)
    }

    /// The next one that comes.
    pub(super) async fn recv(&mut self) -> Kind {
        std::future::poll_fn(|cx| {
            let came = |(kind, one): &mut (Kind, Signal)| one.poll_recv(cx).map(|_| *kind);
            let mut all = self.0.iter_mut().map(came);
            all.find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }
}
