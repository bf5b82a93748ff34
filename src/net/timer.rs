//! One timer a connection, armed lazily: moving a deadline further away costs nothing.
use super::looks::Wait;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::time::{Sleep, sleep_until};

/// A deadline that is moved far more often than it is met.
///
/// The sleep behind it is only re-armed when it fires early or a deadline nearer than it is set,
/// so a connection that is busy touches the runtime's timer wheel about once in its deadline.
#[derive(Debug, Default)]
pub struct Timer {
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The sleep was seen to be armed for the deadline or before it when that was set: the next
    /// poll need not look.
    armed: bool,
    /// What its task waits for besides.
    pub wait: Wait,
}

impl Timer {
    /// No deadline, nothing armed.
    pub const fn new() -> Self {
        Self { deadline: None, sleep: None, armed: false, wait: Wait::new() }
    }
    /// Sets or clears the deadline.
    pub fn set(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        self.armed = false;
    }
    /// As `set`, told the time: where the sleep behind it will wake the task before the deadline
    /// anyway, the next poll costs nothing. To be polled by the same task as ever.
    pub fn start(&mut self, now: Instant, deadline: Option<Instant>) {
        self.deadline = deadline;
        self.armed = match (self.deadline, &self.sleep) {
            (Some(deadline), Some(sleep)) => {
                let wakes = sleep.deadline().into_std();
                wakes > now && wakes <= deadline
            }
            _ => false,
        };
    }
    /// Nothing is waited for any more.
    pub fn rest(&mut self) {
        self.set(None);
        self.wait.end();
    }
    /// The deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
    /// Ready once the deadline has passed; pending for ever without one. Registers the task.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if std::mem::take(&mut self.armed) {
            return Poll::Pending;
        }
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn fires(timer: &mut Timer) {
        std::future::poll_fn(|cx| timer.poll(cx)).await;
    }

    #[tokio::test]
    async fn a_nearer_deadline_wins_and_a_later_one_is_waited_for() {
        let start = Instant::now();
        let mut timer = Timer::new();
        timer.set(Some(start + Duration::from_secs(3600)));
        std::future::poll_fn(|cx| {
            assert!(timer.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        timer.set(Some(start + Duration::from_millis(20)));
        fires(&mut timer).await;
        assert!(start.elapsed() >= Duration::from_millis(20));
        timer.set(Some(start + Duration::from_millis(60)));
        fires(&mut timer).await;
        assert!(start.elapsed() >= Duration::from_millis(60));
    }

    #[tokio::test]
    async fn without_a_deadline_it_never_fires() {
        let mut timer = Timer::new();
        timer.set(Some(Instant::now()));
        timer.set(None);
        std::future::poll_fn(|cx| {
            assert!(timer.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}
