//! Times, limits and retries as they hold once every place has spoken.
use super::over::Overrides;
use super::retry::Retry;
use crate::config::units::Timeout;

/// What holds for a request or connection once every place has spoken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    /// Time limits.
    pub timeout: Timeouts,
    /// Size limits.
    pub limits: Limits,
    /// Tries.
    pub retry: Retry,
}

impl Effective {
    /// Lays the places over the built-in defaults, later ones winning member by member. The order
    /// is: `defaults`, `listener`, `pool`, `route`.
    pub fn layered<'a>(places: impl IntoIterator<Item = &'a Overrides>) -> Self {
        let mut all = Self::default();
        macro_rules! lay {
            ($($part:ident . $member:ident),* $(,)?) => {
                |o: &Overrides| { $( if let Some(v) = o.$part.$member { all.$part.$member = v; } )* }
            };
        }
        let mut lay = lay!(
            timeout.connect,
            timeout.first_byte,
            timeout.idle,
            timeout.request,
            timeout.header,
            timeout.keep_alive,
            timeout.tunnel,
            timeout.tunnel_max,
            limits.head,
            limits.fields,
            limits.target,
            limits.body,
            limits.body_rate,
            limits.per_client,
            limits.interim,
            limits.trailers,
            limits.drain,
            retry.attempts,
            retry.on,
            retry.budget,
            retry.floor,
            retry.window,
            retry.backoff,
            retry.body,
        );
        for place in places {
            lay(place);
        }
        all
    }
}

/// Time limits, one meaning each.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// To connect to a backend, each try.
    pub connect: Timeout,
    /// From the request written to the first byte of the answer, each try.
    pub first_byte: Timeout,
    /// No byte either way inside an HTTP message.
    pub idle: Timeout,
    /// All tries of a request together.
    pub request: Timeout,
    /// The whole request head.
    pub header: Timeout,
    /// The client between two requests.
    pub keep_alive: Timeout,
    /// No byte either way on TCP and on upgraded connections.
    pub tunnel: Timeout,
    /// The whole life of a tunnel.
    pub tunnel_max: Timeout,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Timeout::secs(2),
            first_byte: Timeout::secs(30),
            idle: Timeout::secs(60),
            request: Timeout::OFF,
            header: Timeout::secs(10),
            keep_alive: Timeout::secs(75),
            tunnel: Timeout::secs(3600),
            tunnel_max: Timeout::OFF,
        }
    }
}

/// Size limits. `None` is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a head.
    pub head: usize,
    /// Fields of a head.
    pub fields: usize,
    /// Bytes of a request target.
    pub target: usize,
    /// Bytes of a request body.
    pub body: Option<u64>,
    /// Least progress of a request body, bytes a second.
    pub body_rate: Option<u64>,
    /// Connections of one client address.
    pub per_client: Option<u32>,
    /// Interim (1xx) answers of one request.
    pub interim: u32,
    /// Bytes of a trailer section.
    pub trailers: usize,
    /// Bytes of an upload read on after an early answer.
    pub drain: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 32 << 10,
            fields: 100,
            target: 8 << 10,
            body: None,
            body_rate: Some(500),
            per_client: None,
            interim: 16,
            trailers: 8 << 10,
            drain: 64 << 10,
        }
    }
}
