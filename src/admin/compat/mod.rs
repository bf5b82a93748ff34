//! `/metrics?compat=`: our counters under the names and labels of another proxy, so that dashboards
//! made for it go on working. What we do not know is left out, never made up.
mod haproxy;
mod kept;
mod sums;
mod traefik;

use super::answer::Problem;
use crate::server::State;
use hyper::StatusCode;

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compat {
    /// The exporter that HAProxy 2.6 has.
    Haproxy,
    /// Traefik 3, with the labels of entry points, routers and services.
    Traefik,
}

impl Compat {
    /// The value of `compat`.
    ///
    /// # Errors
    ///
    /// A problem that names those that there are.
    pub(super) fn named(word: &str) -> Result<Self, Problem> {
        match word {
            "haproxy" => Ok(Self::Haproxy),
            "traefik" => Ok(Self::Traefik),
            _ => {
                let what = format!("compat is {word:?}; there are \"haproxy\" and \"traefik\"");
                Err(Problem::new(StatusCode::BAD_REQUEST, what))
            }
        }
    }

    /// The text of `/metrics` in its words.
    pub(super) fn metrics(self, state: &State, told: &Told) -> String {
        match self {
            Self::Haproxy => haproxy::metrics(state, &told.haproxy),
            Self::Traefik => traefik::metrics(state, &told.traefik),
        }
    }
}

/// What was told so far of sums whose parts come and go.
#[derive(Debug, Default)]
pub(super) struct Told {
    haproxy: haproxy::Told,
    traefik: traefik::Told,
}
