//! The field names the proxy itself looks at, found by three comparisons of words.

macro_rules! known {
    ($($variant:ident $text:literal),* $(,)?) => {
        /// Field names the proxy itself looks at: a bit each in [`super::Fields`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "names say it")]
        pub enum Known { $($variant),* }
        impl Known {
            /// All of them.
            pub const ALL: &'static [Known] = &[$(Known::$variant),*];
            /// The name as this proxy writes it.
            pub const fn name(self) -> &'static str {
                match self { $(Known::$variant => $text),* }
            }
            /// The name with what stands between it and a value.
            pub(super) const fn prefix(self) -> &'static str {
                match self { $(Known::$variant => concat!($text, ": ")),* }
            }
        }
    };
}
known! {
    Host "Host", Connection "Connection", ContentLength "Content-Length",
    TransferEncoding "Transfer-Encoding", Te "TE", Trailer "Trailer", Upgrade "Upgrade",
    KeepAlive "Keep-Alive", ProxyConnection "Proxy-Connection", Expect "Expect", Via "Via",
    XForwardedFor "X-Forwarded-For", XForwardedProto "X-Forwarded-Proto",
    XForwardedHost "X-Forwarded-Host", Forwarded "Forwarded", XRealIp "X-Real-IP",
    XRequestId "X-Request-Id", Cookie "Cookie", SetCookie "Set-Cookie",
    Authorization "Authorization", ProxyAuthorization "Proxy-Authorization", Date "Date",
    Server "Server", ContentType "Content-Type", Location "Location",
    SecWebSocketKey "Sec-WebSocket-Key", RetryAfter "Retry-After", Allow "Allow",
    CacheControl "Cache-Control", Range "Range", ContentRange "Content-Range",
    GrpcStatus "grpc-status", GrpcTimeout "grpc-timeout",
    TraceParent "traceparent", TraceState "tracestate",
}

impl Known {
    /// No name's number; a bit that no set of names has.
    pub(crate) const NONE: u8 = 63;

    /// Finds a name, case-insensitively.
    pub fn of(name: &[u8]) -> Option<Self> {
        Self::ALL.get(usize::from(Self::number(name))).copied()
    }
    /// As `of`, its number in the order of `ALL`, or `NONE`.
    #[inline]
    pub(crate) fn number(name: &[u8]) -> u8 {
        let words = words(name);
        let same = |known: &&Spelt| {
            let differs = |i: usize| (words[i] ^ known.lower[i]) & known.exact[i];
            differs(0) | differs(1) | differs(2) == 0
        };
        let candidates = BY_LENGTH.get(name.len()).copied().unwrap_or_default();
        candidates.iter().find(same).map_or(Self::NONE, |known| known.known as u8)
    }
    /// Its bit in a set of names.
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// A name as three words that overlap.
type Words = [u64; 3];

/// The words of a name of up to 24 bytes; of a longer one those of its beginning and end.
const fn words(name: &[u8]) -> Words {
    let n = name.len();
    match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            let middle = match name.split_at(if n > 16 { 8 } else { 0 }).1.first_chunk::<8>() {
                Some(middle) => u64::from_le_bytes(*middle),
                None => 0,
            };
            [u64::from_le_bytes(*first), u64::from_le_bytes(*last), middle]
        }
        _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                [u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64, 0]
            }
            _ => {
                let (mut word, mut at) = (0, 0);
                while at < n {
                    word = word << 8 | name[at] as u64;
                    at += 1;
                }
                [word, 0, 0]
            }
        },
    }
}

/// A known name, to be compared at once.
struct Spelt {
    lower: Words,
    /// The bits that must be the same: not the one that tells the case of a letter.
    exact: Words,
    known: Known,
}

const fn spelt(known: Known) -> Spelt {
    let name = known.name().as_bytes();
    let (mut lower, mut case) = ([0; 24], [0; 24]);
    let mut at = 0;
    while at < name.len() {
        lower[at] = name[at].to_ascii_lowercase();
        case[at] = if name[at].is_ascii_alphabetic() { 0x20 } else { 0 };
        at += 1;
    }
    let (lower, case) = (words(lower.split_at(at).0), words(case.split_at(at).0));
    Spelt { lower, exact: [!case[0], !case[1], !case[2]], known }
}

/// Candidates by the length of a name.
static BY_LENGTH: [&[Spelt]; 20] = {
    use Known::*;
    [
        &[],
        &[],
        &[const { spelt(Te) }],
        &[const { spelt(Via) }],
        &[const { spelt(Host) }, const { spelt(Date) }],
        &[const { spelt(Range) }, const { spelt(Allow) }],
        &[const { spelt(Cookie) }, const { spelt(Server) }, const { spelt(Expect) }],
        &[const { spelt(Upgrade) }, const { spelt(Trailer) }],
        &[const { spelt(Location) }],
        &[const { spelt(Forwarded) }, const { spelt(XRealIp) }],
        &[
            const { spelt(Connection) },
            const { spelt(SetCookie) },
            const { spelt(KeepAlive) },
            const { spelt(TraceState) },
        ],
        &[const { spelt(RetryAfter) }, const { spelt(GrpcStatus) }, const { spelt(TraceParent) }],
        &[const { spelt(ContentType) }, const { spelt(XRequestId) }, const { spelt(GrpcTimeout) }],
        &[
            const { spelt(CacheControl) },
            const { spelt(Authorization) },
            const { spelt(ContentRange) },
        ],
        &[const { spelt(ContentLength) }],
        &[const { spelt(XForwardedFor) }],
        &[const { spelt(XForwardedHost) }, const { spelt(ProxyConnection) }],
        &[
            const { spelt(TransferEncoding) },
            const { spelt(XForwardedProto) },
            const { spelt(SecWebSocketKey) },
        ],
        &[],
        &[const { spelt(ProxyAuthorization) }],
    ]
};
