//! `[trace]`: where traces go, and how many.
use super::hint::quoted;
use super::problem::Wrong;
use super::table::Item;
use super::units::Percent;

/// `[trace]`
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The collector.
    pub otlp: Collector,
    /// The share of traces that begin here which is drawn; others are drawn by whoever began them.
    pub sample: Percent,
    /// Requests whose spans may wait to be sent.
    pub queue: usize,
    /// What this process is called in traces (`service.name`).
    pub service: String,
}

/// A collector's address: `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// As it is written.
    pub written: String,
    /// Host and port, as `Host` says them.
    pub authority: String,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What goes before `/v1/traces`; no slash at its end.
    pub path: String,
}

/// Enough to see how a service does, and too little to cost: of a hundred requests one is drawn.
const SAMPLE: f64 = 0.01;
/// As much as exporters of OpenTelemetry keep; each request has two spans, 1 KiB together.
const QUEUE: usize = 2048;
/// The port of OTLP over HTTP.
const PORT: u16 = 4318;

/// `[trace]`
pub(super) fn trace(item: &Item<'_>) -> Option<Trace> {
    item.table("trace", |t| {
        let otlp = t.take("otlp");
        if otlp.is_none() {
            t.missing(
                Wrong::new("says no \"otlp\"").hint("write otlp = \"http://127.0.0.1:4318\""),
            );
        }
        let sample = t.take("sample").and_then(|item| item.percent());
        let queue = t.take("queue").and_then(|item| item.count(1..=1_000_000));
        let service = t.take("service").and_then(|item| item.checked(service));
        Some(Trace {
            otlp: otlp?.checked(collector)?,
            sample: sample.or_else(|| Percent::new(SAMPLE))?,
            queue: queue.unwrap_or(QUEUE),
            service: service.unwrap_or_else(|| "evenkeel".into()),
        })
    })?
}

fn service(text: &str) -> Result<String, Wrong> {
    match text.is_empty() || text.len() > 255 {
        true => Err(Wrong::new(format!("{} names no service", quoted(text)))),
        false => Ok(text.into()),
    }
}

fn collector(text: &str) -> Result<Collector, Wrong> {
    let wrong = || {
        let what = format!("{} is no address of a collector", quoted(text));
        Wrong::new(what).hint("write for example \"http://127.0.0.1:4318\"")
    };
    if text.starts_with("https://") {
        let what = "a collector is spoken to in the clear";
        return Err(
            Wrong::new(what).hint("send to one beside this process by http:// and on from there")
        );
    }
    let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.trim_end_matches('/');
    let is_path = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
    if authority.contains('@') || !path.chars().all(is_path) || path.ends_with("/v1/traces") {
        return Err(wrong());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
        }
        _ => (authority, PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match bare {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            !host.is_empty() && host.chars().all(is_name)
        }
    };
    if !good {
        return Err(wrong());
    }
    Ok(Collector {
        written: text.into(),
        authority: format!("{host}:{port}"),
        host: bare.unwrap_or(host).into(),
        port,
        path: path.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_has_a_host_a_port_and_perhaps_a_path() {
        for (text, host, port, path) in [
            ("http://127.0.0.1:4318", "127.0.0.1", 4318, ""),
            ("http://otel", "otel", 4318, ""),
            ("http://otel:80/a/b/", "otel", 80, "/a/b"),
            ("http://[::1]:1/", "::1", 1, ""),
            ("http://[::1]", "::1", 4318, ""),
        ] {
            let read = collector(text).unwrap();
            assert_eq!((&*read.host, read.port, &*read.path), (host, port, path), "{text}");
        }
        for wrong in [
            "",
            "otel:1",
            "http://",
            "http://:1",
            "http://a:0",
            "http://a:x",
            "http://a b",
            "http://u@a",
            "https://a",
            "http://a/v1/traces",
            "http://a/?x",
            "http://[a]",
            "ftp://a",
        ] {
            assert!(collector(wrong).is_err(), "{wrong}");
        }
    }
}
