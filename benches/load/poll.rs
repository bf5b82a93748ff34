//! epoll(7) with the standard library alone, for the programs of the harness.
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

const IN: u32 = 1;
const EDGE: u32 = 1 << 31;
const ADD: i32 = 1;

#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
pub struct Event {
    events: u32,
    pub data: u64,
}

#[repr(C)]
struct Time {
    seconds: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn epoll_create1(flags: i32) -> i32;
    fn epoll_ctl(epoll: i32, op: i32, fd: i32, event: *mut Event) -> i32;
    fn epoll_pwait2(epoll: i32, events: *mut Event, most: i32, wait: *const Time, mask: *const u8) -> i32;
}

/// An epoll of its own.
pub struct Poll(OwnedFd);

impl Poll {
    pub fn new() -> Self {
        // SAFETY: takes no pointer; the descriptor is ours alone.
        let fd = unsafe { epoll_create1(0) };
        assert!(fd >= 0, "epoll_create1");
        // SAFETY: it was just made.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }
    /// Tells of this descriptor by this number when there is something to read, each time or at each edge.
    pub fn add(&self, fd: i32, data: u64, edge: bool) {
        let mut event = Event { events: if edge { IN | EDGE } else { IN }, data };
        // SAFETY: the event is read during the call only.
        assert_eq!(unsafe { epoll_ctl(self.0.as_raw_fd(), ADD, fd, &mut event) }, 0, "epoll_ctl");
    }
    /// Waits for so long, or for ever; how many events there are.
    pub fn wait(&self, events: &mut [Event], wait: Option<Duration>) -> usize {
        let wait = wait.map(|wait| Time { seconds: wait.as_secs() as i64, nanos: i64::from(wait.subsec_nanos()) });
        let wait = wait.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (at, most) = (events.as_mut_ptr(), events.len() as i32);
        // SAFETY: the kernel writes at most so many events, and reads the time during the call only.
        let n = unsafe { epoll_pwait2(self.0.as_raw_fd(), at, most, wait, std::ptr::null()) };
        n.max(0) as usize
    }
}
