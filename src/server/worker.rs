//! Data-plane threads: the one file that knows how they are laid out.
//!
//! *Per core*: a thread a core, each with a runtime, listening sockets, idle backend connections
//! and drains of its own, so that a request is served by one thread from its first byte to its
//! last. *Shared*: one work-stealing runtime over all cores from the same parts.
use crate::message;
use crate::upstream::Dialer;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How data-plane threads are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// A runtime for each core.
    #[default]
    PerCore,
    /// One work-stealing runtime.
    Shared,
}

/// One worker: a runtime on a thread of its own, and its connections to backends.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) handle: Handle,
    pub(super) dialer: Arc<Dialer>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Starts so many data-plane threads.
pub(super) fn start(layout: Layout, threads: usize, tidy: Option<fn()>) -> io::Result<Vec<Worker>> {
    match layout {
        Layout::PerCore => {
            (0..threads).map(|n| Worker::start(format!("worker-{n}"), 0, tidy)).collect()
        }
        Layout::Shared => Ok(vec![Worker::start("worker".into(), threads, tidy)?]),
    }
}

/// Waits until each of them has answered; whether they all are still there.
pub(super) async fn all_answer(workers: &Weak<Vec<Worker>>) -> bool {
    let Some(workers) = workers.upgrade() else { return false };
    let asked: Vec<_> = workers.iter().map(|worker| worker.handle.spawn(async {})).collect();
    drop(workers);
    for answer in asked {
        if answer.await.is_err() {
            return false;
        }
    }
    true
}

impl Worker {
    /// `threads`: 0 for a runtime on this one thread alone.
    fn start(name: String, threads: usize, tidy: Option<fn()>) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let mut builder =
            if threads == 0 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
        if threads > 0 {
            builder.worker_threads(threads);
        }
        let runtime = builder.enable_all().build()?;
        let dialer = Dialer::new();
        let (sweeper, watcher) = (dialer.clone(), dialer.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _ = ready.send(runtime.handle().clone());
            runtime.spawn(sweep(sweeper, tidy));
            runtime.spawn(async move { watcher.look_out().await });
            let _ = runtime.block_on(stopped);
        })?;
        let handle =
            is_ready.recv().map_err(|_| io::Error::other("a worker thread ended at its start"))?;
        Ok(Self { handle, dialer, stop: Some(stop), thread: Some(thread) })
    }

    /// Takes the pools' settings for idle connections anew, on the worker's own thread: at a reload,
    /// so that no request has to ask whether they are still those its connection was kept by.
    pub(super) fn follow(&self) -> JoinHandle<()> {
        let dialer = self.dialer.clone();
        self.handle.spawn(async move { dialer.sweep() })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Each second: idle connections past their age, memory that was not needed.
async fn sweep(dialer: Arc<Dialer>, tidy: Option<fn()>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        dialer.sweep();
        message::trim();
        if let Some(tidy) = tidy {
            tidy();
        }
    }
}
