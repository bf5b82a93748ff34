//! The TCP check: the connection was made; then, if said, bytes are sent and others expected.
use crate::net::Stream;
use std::future::poll_fn;

/// An answer is searched within so many bytes.
const MOST: usize = 64 << 10;

pub(super) async fn check(
    mut stream: Stream,
    send: Option<&[u8]>,
    expect: Option<&[u8]>,
) -> Result<(), String> {
    if let Some(send) = send {
        write(&mut stream, send).await?;
    }
    let Some(expect) = expect else { return Ok(()) };
    let mut seen = Vec::new();
    let mut buf = [0; 4096];
    while seen.len() < MOST {
        let n =
            poll_fn(|cx| stream.poll_read(cx, &mut buf)).await.map_err(|e| format!("read: {e}"))?;
        seen.extend_from_slice(&buf[..n]);
        if memchr::memmem::find(&seen, expect).is_some() {
            return Ok(());
        }
        if n == 0 {
            break;
        }
    }
    Err(format!("answered {:?}, expected {:?}", show(&seen), show(expect)))
}

pub(super) async fn write(stream: &mut Stream, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let n =
            poll_fn(|cx| stream.poll_write(cx, bytes)).await.map_err(|e| format!("write: {e}"))?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// The first bytes, as text.
fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned()
}
