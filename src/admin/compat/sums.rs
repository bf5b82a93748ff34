//! What several families of others are made of: requests by class of their answer, retries.
use crate::http::RouteCells;
use crate::plan::{Listener, Service};
use crate::pool::Pool;
use std::sync::Arc;

/// The cells of a listener's routes; none where it carries no HTTP.
pub(super) fn routes(listener: &Listener) -> Vec<Arc<RouteCells>> {
    match &listener.service {
        Service::Http(gateway) => gateway.route_cells(),
        Service::Tcp(_) | Service::Udp(_) => Vec::new(),
    }
}

/// Requests by class of their answer: 1xx to 5xx, and others.
pub(super) type Classes = [u64; 6];

/// The words of [`Classes`].
pub(super) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// Those of a route.
pub(super) fn classes(cells: &RouteCells) -> Classes {
    let mut all = Classes::default();
    for (_, code, count) in cells.counts() {
        all[usize::from(code / 100).wrapping_sub(1).min(5)] += count;
    }
    all
}

/// Tries of a pool that were sent again.
pub(super) fn retries(pool: &Pool) -> u64 {
    let by_status = pool.retries_status.all().into_iter().map(|(_, n)| n).sum::<u64>();
    let rest = [&pool.retries_connect, &pool.retries_reset, &pool.retries_timeout];
    by_status + rest.map(|cell| cell.get()).iter().sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Method;
    use std::time::Duration;

    #[test]
    fn requests_are_summed_by_class() {
        let cells = RouteCells::new("web", "a", "app");
        for code in [200, 204, 404, 101, 302, 503, 600, 999] {
            cells.count(Method::Get, code, Duration::ZERO);
        }
        assert_eq!(classes(&cells), [1, 2, 1, 1, 1, 2]);
    }
}
