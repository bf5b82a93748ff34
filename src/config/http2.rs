//! `listener.*.http2`: what HTTP/2 may hold and cost on one connection of a client.
use super::table::Item;

/// `listener.*.http2`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Requests at once on one connection.
    pub streams: u32,
    /// Bytes of bodies that a client may send before somebody has taken them, over all streams.
    pub connection_window: u32,
    /// Bytes of answers that wait for a client that does not read, of all streams.
    pub send_buffer: usize,
    /// Requests that a client takes back before we have seen them.
    pub resets: usize,
    /// Streams that we end for their faults, over the life of a connection.
    pub local_resets: usize,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            // What browsers and gRPC clients count on (RFC 9113 6.5.2 asks for 100).
            streams: 128,
            // 64 KiB for each stream.
            connection_window: 8 << 20,
            send_buffer: 64 << 10,
            // CVE-2023-44487: what was never seen costs nothing, so a few are nobody's harm.
            resets: 20,
            // CVE-2025-8671.
            local_resets: 1024,
        }
    }
}

/// The largest window there is (RFC 9113 6.9.1).
const WINDOW: u64 = (1 << 31) - 1;

/// The least that may wait to be sent: one frame of usual size (RFC 9113 4.2).
pub(super) const SEND_BUFFER: u64 = 16 << 10;

pub(super) fn http2(item: &Item<'_>) -> Option<Http2> {
    item.table("listener.http2", |t| {
        let mut http2 = Http2::default();
        let mut count = |key, most: u64, into: &mut usize| {
            if let Some(n) = t.take(key).and_then(|item| item.count(1..=most)) {
                *into = n;
            }
        };
        let mut streams = http2.streams as usize;
        count("streams", 1 << 16, &mut streams);
        count("resets", 1 << 20, &mut http2.resets);
        count("local_resets", 1 << 20, &mut http2.local_resets);
        http2.streams = streams as u32;
        let mut size = |key, range| t.take(key).and_then(|item| item.size(range));
        // No less than what every connection begins with.
        if let Some(n) = size("connection_window", 65_535..=WINDOW) {
            http2.connection_window = n as u32;
        }
        if let Some(n) = size("send_buffer", SEND_BUFFER..=1 << 30) {
            http2.send_buffer = n as usize;
        }
        http2
    })
}
