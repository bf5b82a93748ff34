//! What `[defaults]`, listeners, pools and routes each may say, as one place says it.
use super::retry::{Backoff, RetryOn};
use crate::config::units::{Percent, Timeout};
use std::time::Duration;

/// Members of `timeout`, `limits` and `retry` that one place says; absent ones say nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `timeout`
    pub timeout: TimeoutsPart,
    /// `limits`
    pub limits: LimitsPart,
    /// `retry`
    pub retry: RetryPart,
}

/// `timeout`, as said in one place.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "members are documented at `Timeouts`")]
pub struct TimeoutsPart {
    pub connect: Option<Timeout>,
    pub first_byte: Option<Timeout>,
    pub idle: Option<Timeout>,
    pub request: Option<Timeout>,
    pub header: Option<Timeout>,
    pub keep_alive: Option<Timeout>,
    pub tunnel: Option<Timeout>,
    pub tunnel_max: Option<Timeout>,
}

/// `limits`, as said in one place. `Some(None)` is `"off"`.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "members are documented at `Limits`")]
pub struct LimitsPart {
    pub head: Option<usize>,
    pub fields: Option<usize>,
    pub target: Option<usize>,
    pub body: Option<Option<u64>>,
    pub body_rate: Option<Option<u64>>,
    pub per_client: Option<Option<u32>>,
    pub interim: Option<u32>,
    pub trailers: Option<usize>,
    pub drain: Option<u64>,
}

/// `retry`, as said in one place.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "members are documented at `Retry`")]
pub struct RetryPart {
    pub attempts: Option<u32>,
    pub on: Option<RetryOn>,
    pub budget: Option<Percent>,
    pub floor: Option<f64>,
    pub window: Option<Duration>,
    pub backoff: Option<Backoff>,
    pub body: Option<usize>,
}
