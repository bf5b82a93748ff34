//! The way of lines to a target: bounded lanes, and the thread that writes them.
use super::lanes::Lanes;
use super::writer::{Order, Whose, writer};
use arc_swap::ArcSwapOption;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::Thread;
use std::time::Duration;

/// Orders to the writer that may wait; each is rare.
const ORDERS: usize = 64;
/// So long at the most is waited for a writer that stands still.
pub(super) const WAIT: Duration = Duration::from_secs(1);
/// How often it is looked meanwhile.
const LOOKS: u32 = 100;

/// Lines on their way, and the thread that writes them once there is a target.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) lanes: Arc<Lanes>,
    queue: ArcSwapOption<Queue>,
    whose: Whose,
}

/// The way to the writer.
#[derive(Debug)]
struct Queue {
    sender: SyncSender<Order>,
    thread: Thread,
}

impl Outlet {
    pub(super) fn new(whose: Whose) -> Self {
        Self { lanes: Arc::default(), queue: ArcSwapOption::empty(), whose }
    }
    /// Has the writer look, where it sleeps.
    #[inline]
    pub(super) fn wake(&self) {
        if self.lanes.wakes()
            && let Some(queue) = &*self.queue.load()
        {
            queue.thread.unpark();
        }
    }
    /// Writes to this from here on: when it returns, nothing more is written to what was before,
    /// unless that stands still. Starts the writer where there is none.
    pub(super) fn aim(&self, target: Box<dyn Write + Send>) -> io::Result<()> {
        let (done, wait) = sync_channel(1);
        self.send(Order::Target(target, done), WAIT)?;
        let _ = wait.recv_timeout(WAIT);
        Ok(())
    }
    /// Waits until what is queued is written, about so long at the most; whether it was.
    pub(super) fn flush(&self, most: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.queue.load().is_none()
            || (self.send(Order::Flush(done), most).is_ok() && wait.recv_timeout(most).is_ok())
    }
    pub(super) fn dropped(&self) -> u64 {
        self.lanes.dropped.load(Relaxed)
    }
    /// Waits a little for a place in the writer's queue.
    fn send(&self, mut order: Order, most: Duration) -> io::Result<()> {
        let queue = match self.queue.load_full() {
            Some(queue) => queue,
            None => self.start()?,
        };
        for _ in 0..LOOKS {
            match queue.sender.try_send(order) {
                Ok(()) => {
                    queue.thread.unpark();
                    return Ok(());
                }
                Err(TrySendError::Full(back)) => order = back,
                Err(TrySendError::Disconnected(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            std::thread::sleep(most / LOOKS);
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "what it writes to stands still"))
    }
    fn start(&self) -> io::Result<Arc<Queue>> {
        let (sender, receive) = sync_channel(ORDERS);
        let (lanes, whose) = (self.lanes.clone(), self.whose);
        let thread = std::thread::Builder::new().name(whose.thread().into());
        let started = thread.spawn(move || writer(&receive, &lanes, whose))?;
        let queue = Arc::new(Queue { sender, thread: started.thread().clone() });
        self.queue.store(Some(queue.clone()));
        Ok(queue)
    }
}
