//! The end of a connection that is turned away.
use super::Stream;
use std::future::poll_fn;
use std::time::Duration;

/// What the other side still sends is read so long, and so often.
const LAST: Duration = Duration::from_secs(1);
const READS: usize = 16;

/// Says why, and ends. Who does not take it at once goes without. What was sent meanwhile is read
/// for a moment: unread it would destroy the words with a reset.
pub async fn last_words(stream: &mut Stream, words: &[u8]) {
    let _ = poll_fn(|cx| stream.poll_write(cx, words)).await;
    let _ = stream.shutdown_write();
    let mut rest = [0; 1024];
    let read = async {
        for _ in 0..READS {
            if !matches!(poll_fn(|cx| stream.poll_read(cx, &mut rest)).await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LAST, read).await;
}
