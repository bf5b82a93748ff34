//! Listening sockets that this process found open when it began: those of the process before it, or
//! of the service manager (sd_listen_fds(3)).
use super::super::door::{self, Kind};
use super::message::Named;
use crate::config::BindAddr;
use crate::net;
use listenfd::ListenFd;
use std::os::fd::OwnedFd;

/// Sockets by what they are for.
#[derive(Debug, Default)]
pub struct Inherited {
    list: Vec<One>,
    /// What somebody has taken.
    taken: Vec<Named>,
}

#[derive(Debug)]
struct One {
    /// `None`: only its address says what it is for.
    named: Option<Named>,
    addr: BindAddr,
    datagrams: bool,
    sockets: Vec<OwnedFd>,
}

impl Inherited {
    /// Those that the service manager opened for us: `LISTEN_FDS` and `LISTEN_PID`.
    ///
    /// # Errors
    ///
    /// One that is no socket that listens.
    pub fn from_service_manager() -> Result<Self, String> {
        let (mut found, mut all) = (ListenFd::from_env(), Self::default());
        for at in 0..found.len() {
            let fault = |error: std::io::Error| {
                format!("LISTEN_FDS: descriptor {} of the service manager: {error}", at + 3)
            };
            // Whatever kind it says it takes, it hands out any socket as it is.
            let socket = match found.take_tcp_listener(at) {
                Ok(socket) => socket.map(OwnedFd::from),
                Err(_) => match found.take_unix_listener(at) {
                    Ok(socket) => socket.map(OwnedFd::from),
                    Err(_) => found.take_udp_socket(at).map_err(fault)?.map(OwnedFd::from),
                },
            };
            if let Some(socket) = socket {
                all.add(None, vec![socket]).map_err(fault)?;
            }
        }
        Ok(all)
    }

    /// Adds sockets of one address to those of it that are there.
    pub(super) fn add(
        &mut self,
        named: Option<Named>,
        sockets: Vec<OwnedFd>,
    ) -> std::io::Result<()> {
        let Some(first) = sockets.first() else { return Ok(()) };
        let (addr, datagrams) = net::listens_on(first)?;
        let same = |one: &&mut One| match (&one.named, &named) {
            (Some(a), Some(b)) => a.is(b),
            (None, None) => one.addr == addr && one.datagrams == datagrams,
            _ => false,
        };
        match self.list.iter_mut().find(same) {
            Some(one) => one.sockets.extend(sockets),
            None => self.list.push(One { named, addr, datagrams, sockets }),
        }
        Ok(())
    }

    /// What is there for an address: by its name, else by where it really is bound.
    fn find(&mut self, wanted: &Named, addr: &BindAddr) -> Option<(Vec<OwnedFd>, bool)> {
        let by_name = |one: &One| one.named.as_ref().is_some_and(|named| named.is(wanted));
        let bound = match addr {
            BindAddr::Ip(addr) => addr.port() != 0,
            BindAddr::Unix(_) => true,
            BindAddr::Host(..) => false,
        };
        let there = |one: &One| one.addr == *addr && one.datagrams == wanted.datagrams;
        let at = self.list.iter().position(by_name);
        let at = at.or_else(|| self.list.iter().position(there).filter(|_| bound))?;
        let one = self.list.swap_remove(at);
        let foreign = one.named.as_ref().is_none_or(|named| named.foreign);
        self.taken.extend(one.named);
        Some((one.sockets, foreign))
    }

    /// The sockets of a listener's address, and whether the service manager keeps them, too.
    pub(in crate::server) fn of_door(&mut self, key: &door::Key) -> Option<(Vec<OwnedFd>, bool)> {
        self.find(&Named::door(key), &key.0)
    }

    /// The socket of a role such as `admin`.
    pub fn of_role(&mut self, role: &str, addr: &BindAddr) -> Option<OwnedFd> {
        let (mut sockets, foreign) = self.find(&Named::role(role, addr.to_string()), addr)?;
        // The file of a Unix socket would be removed with it, and that is not ours.
        sockets.pop().filter(|_| !foreign || !matches!(addr, BindAddr::Unix(_)))
    }

    /// Where the others listen, for addresses that overlap with theirs.
    pub(in crate::server) fn held(&self) -> Vec<(BindAddr, Kind)> {
        let kind = |one: &One| if one.datagrams { Kind::Datagrams } else { Kind::Connections };
        self.list.iter().map(|one| (one.addr.clone(), kind(one))).collect()
    }

    /// What was taken by now.
    pub(super) fn taken(&self) -> Vec<Named> {
        self.taken.clone()
    }

    /// Lets go of what nobody wants of the service manager's.
    pub(in crate::server) fn forget_unnamed(&mut self) {
        self.list.retain(|one| one.named.is_some());
    }

    /// Lets go of what nobody wants.
    pub(in crate::server) fn forget(&mut self) {
        self.list.clear();
    }

    /// The addresses that nobody took, of those that only their address says the use of.
    pub(in crate::server) fn unused(&self) -> Vec<String> {
        let unnamed = self.list.iter().filter(|one| one.named.is_none());
        unnamed.map(|one| one.addr.to_string()).collect()
    }
}
