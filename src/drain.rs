//! Ending work in two steps: graceful (finish what is in flight), then cut.
//!
//! A [`Drain`] is one group of connections (those of a listener on one worker); groups nest in
//! what the server keeps. Every connection enters and holds a [`Watch`] for its life. The same
//! book knows who is idle since when, so that the oldest idle ones can be asked to leave.
//! The lock inside is taken by the connections of one worker, and by the control side when it
//! drains or evicts; never across an await.
use std::task::Context;

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal work.
    Run,
    /// Finish what is in flight, begin nothing.
    Graceful,
    /// End now.
    Cut,
}

/// A group of connections that can be ended. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Drain {/* Arc<Inner> */}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// An empty group.
    pub fn new() -> Self {
        todo!()
    }
    /// Enters a connection.
    pub fn enter(&self) -> Watch {
        todo!()
    }
    /// Asks every member to finish; idle ones leave at once.
    pub fn graceful(&self) {
        todo!()
    }
    /// Ends every member.
    pub fn cut(&self) {
        todo!()
    }
    /// How far the group is.
    pub fn phase(&self) -> Phase {
        todo!()
    }
    /// Members now.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Idle members now.
    pub fn idle(&self) -> usize {
        todo!()
    }
    /// Asks up to `n` idle members to leave, oldest first; returns how many were asked.
    pub fn evict_idle(&self, n: usize) -> usize {
        let _ = n;
        todo!()
    }
    /// Waits until no member is left.
    pub async fn emptied(&self) {
        todo!()
    }
}

/// A member of a group, for the life of its connection. Dropping it leaves the group.
#[derive(Debug)]
pub struct Watch {/* Arc<Inner>, key */}

impl Watch {
    /// How far the group is: one relaxed load. Set `Cut` or `Graceful` wakes the member's task.
    pub fn phase(&self) -> Phase {
        todo!()
    }
    /// Keeps the task's waker for `graceful`, `cut` and evictions. Call it at the first poll of
    /// the connection's task, and again if the task may have moved.
    pub fn register(&self, cx: &mut Context<'_>) {
        let _ = cx;
        todo!()
    }
    /// The connection is idle from now on.
    pub fn idle(&self) {
        todo!()
    }
    /// The connection is busy from now on; `false` when it was asked to leave while idle.
    pub fn busy(&self) -> bool {
        todo!()
    }
    /// Whether an idle member was asked to leave (evicted, or the group is past `Run`).
    pub fn is_told_to_leave(&self) -> bool {
        todo!()
    }
    /// A future that ends when the group is cut.
    pub async fn cut(&self) {
        todo!()
    }
    /// A future that ends when the group is at least graceful.
    pub async fn graceful(&self) {
        todo!()
    }
}
