//! What the service manager is told (sd_notify(3)): that this process is ready, reloads, stops, lives,
//! or that another one is the service from here on. Without `NOTIFY_SOCKET` nobody is told anything.
use super::worker::{self, Worker};
use nix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long the manager may take for what it was told before.
const PATIENCE: Duration = Duration::from_secs(1);

/// A way to the service manager.
#[derive(Clone, Debug, Default)]
pub struct Notify(Option<Arc<Way>>);

#[derive(Debug)]
struct Way {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notify {
    /// As the environment says.
    ///
    /// # Errors
    ///
    /// A socket that cannot be told anything.
    pub fn from_env() -> Result<Self, String> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        Self::to(&name).map_err(|error| format!("NOTIFY_SOCKET {}: {error}", name.display()))
    }

    /// To a socket: a path, or a name after `@`.
    fn to(name: &OsStr) -> std::io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(Path::new(name))?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that is busy hears of it a little later; one that does not listen must not stop us.
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(Some(Arc::new(Way { socket, to }))))
    }

    fn say(&self, words: &str) {
        let Some(way) = &self.0 else { return };
        if let Err(error) = way.socket.send_to_addr(words.as_bytes(), &way.to) {
            tracing::warn!(%error, "the service manager was not told {:?}", words);
        }
    }

    /// This process serves.
    pub(super) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// It takes another configuration into force. `ready` follows.
    pub(super) fn reloading(&self) {
        let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from) else { return };
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// It ends.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    /// Another process is the service from here on.
    pub(super) fn main_pid(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
    }

    /// How often the manager wants to hear that this process lives: twice within the time after which
    /// it would be restarted (sd_watchdog_enabled(3)).
    pub(super) fn beat(&self) -> Option<Duration> {
        self.0.as_ref()?;
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let time = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 1)?;
        Some(Duration::from_micros(time / 2))
    }
}

/// Says that this process lives, as long as each of its workers answers.
pub(super) async fn live(notify: Notify, workers: Weak<Vec<Worker>>, every: Duration) {
    let mut tick = tokio::time::interval(every);
    loop {
        tick.tick().await;
        if !worker::all_answer(&workers).await {
            return;
        }
        notify.say("WATCHDOG=1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_or_an_abstract_name_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let heard = |manager: &UnixDatagram| {
            let mut bytes = [0; 256];
            let count = manager.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..count]).into_owned()
        };
        let notify = Notify::to(path.as_os_str()).unwrap();
        notify.ready("serving");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=serving");
        notify.reloading();
        let (first, usec) =
            heard(&manager).split_once('\n').map(|(a, b)| (a.to_string(), b.to_string())).unwrap();
        assert_eq!(first, "RELOADING=1");
        assert!(usec.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
        notify.main_pid(7);
        assert_eq!(heard(&manager), "MAINPID=7");
        let name = format!("evenkeel-test-{}", std::process::id());
        let addr = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&addr).unwrap();
        Notify::to(format!("@{name}").as_ref()).unwrap().stopping();
        assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=draining");
        // Nobody is there any more: nothing happens.
        drop(manager);
        Notify::default().stopping();
    }
}
