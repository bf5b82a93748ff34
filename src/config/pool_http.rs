//! `pool.http` and `pool.http2`: the version its backends are spoken to in, and the limits of
//! connections that many requests share.
use super::draft::Said;
use super::http2::SEND_BUFFER;
use super::pool::said;
use super::problem::Wrong;
use super::table::{Item, Table};
use super::units::Timeout;
use super::value::Kind;

/// `pool.http`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolHttp {
    /// `1.1`
    One,
    /// `2`: known before without TLS, agreed on by ALPN with it.
    Two,
    /// What ALPN agrees on; 1.1 without TLS.
    Auto,
}

/// `pool.http2`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolHttp2 {
    /// Requests at once on a connection, where the backend does not say fewer.
    pub streams: usize,
    /// Bytes of an answer that may come before its client has taken those before them.
    pub window: u32,
    /// As above, for all answers of a connection together.
    pub connection_window: u32,
    /// Bytes of a request's body that wait to be sent.
    pub send_buffer: usize,
    /// A connection that is waited for and says nothing for so long is asked whether it lives.
    pub ping: Timeout,
}

impl Default for PoolHttp2 {
    fn default() -> Self {
        Self {
            streams: 100,
            // All of them together fit the connection's: however many clients stand still, the others
            // go on.
            window: 64 << 10,
            connection_window: 8 << 20,
            send_buffer: 64 << 10,
            ping: Timeout::secs(10),
        }
    }
}

/// A word of `pool.http`.
pub(super) fn version(item: &Item<'_>) -> Option<PoolHttp> {
    const WORDS: [(&str, PoolHttp); 3] =
        [("1.1", PoolHttp::One), ("2", PoolHttp::Two), ("auto", PoolHttp::Auto)];
    if let (Kind::Number, Some(shown)) = (item.kind(), item.shown()) {
        item.wrong(item.type_fault("a string").hint(format!("write \"{shown}\"")));
        return None;
    }
    item.word("pool.http", &WORDS)
}

/// What a window may be: RFC 9113 6.9.1; below what it is without a word nothing is gained.
const WINDOW: std::ops::RangeInclusive<u64> = 65_535..=i32::MAX as u64;
/// No more than this can be in flight anyway: it is a slip.
const STREAMS: u64 = 1_000_000;

/// `pool.http2`, where HTTP/2 may be spoken.
pub(super) fn limits(
    t: &mut Table<'_>,
    http: Option<PoolHttp>,
    has_tls: bool,
    http_only: &mut Vec<Said>,
) -> PoolHttp2 {
    let mut all = PoolHttp2::default();
    let Some(item) = t.take("http2") else { return all };
    http_only.push(said(&item));
    let wrong = Wrong::new("means nothing to backends that are spoken to in HTTP/1.1");
    match http {
        Some(PoolHttp::One) => {
            item.key_wrong(wrong.hint("write http = \"2\", or http = \"auto\" with tls"));
        }
        Some(PoolHttp::Auto) if !has_tls => {
            item.key_wrong(wrong.hint("without tls nothing is agreed on: write http = \"2\""));
        }
        _ => {}
    }
    item.table("pool.http2", |t| {
        let window = |item: Item<'_>| item.size(WINDOW).and_then(|n| u32::try_from(n).ok());
        all.streams = t.take("streams").and_then(|i| i.count(1..=STREAMS)).unwrap_or(all.streams);
        all.window = t.take("window").and_then(window).unwrap_or(all.window);
        all.connection_window =
            t.take("connection_window").and_then(window).unwrap_or(all.connection_window);
        let buffer =
            t.take("send_buffer").and_then(|item| item.size(SEND_BUFFER..=i32::MAX as u64));
        all.send_buffer = buffer.map_or(all.send_buffer, |bytes| bytes as usize);
        all.ping = t.take("ping").and_then(|item| item.timeout()).unwrap_or(all.ping);
    });
    all
}
