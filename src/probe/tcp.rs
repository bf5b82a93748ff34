//! The TCP check: the connection was made; then, if said, bytes are sent and others expected.
use crate::net::Stream;
use crate::reach;
use std::future::poll_fn;
use std::io;

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
    let mut buf = [0; 1024];
    while seen.len() < MOST {
        let n = poll_fn(|cx| stream.poll_read(cx, &mut buf)).await;
        let n = n.map_err(|e| broken("read", &e))?;
        if n == 0 {
            break;
        }
        // What was searched before is not searched again, but for a beginning at its end.
        let from = seen.len().saturating_sub(expect.len());
        seen.extend_from_slice(&buf[..n]);
        if memchr::memmem::find(&seen[from..], expect).is_some() {
            return Ok(());
        }
    }
    match seen.len() {
        0 => Err(format!("closed without an answer, expected {:?}", show(expect))),
        _ => Err(format!("answered {:?}, expected {:?}", show(&seen), show(expect))),
    }
}

pub(super) async fn write(stream: &mut Stream, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| stream.poll_write(cx, bytes)).await;
        bytes = &bytes[n.map_err(|e| broken("write", &e))?..];
    }
    Ok(())
}

/// A connection that broke: by TLS, else in what was done.
pub(super) fn broken(doing: &str, error: &io::Error) -> String {
    reach::alert(error)
        .map_or_else(|| format!("{doing}: {}", words(error)), |said| format!("TLS: {said}"))
}

/// An I/O error without its number: `connection refused`.
pub(super) fn words(error: &io::Error) -> String {
    let kind = error.kind().to_string();
    // What the library has no name for is said in the kernel's words.
    if matches!(kind.as_str(), "uncategorized error" | "other error") {
        return error.to_string();
    }
    kind
}

/// The first bytes, as text.
pub(super) fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned()
}
