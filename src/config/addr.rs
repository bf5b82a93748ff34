//! Addresses, networks and host names: what may stand in each.
use super::hint::quoted;
use super::model::{Addr, BindAddr, HostMatch};
use super::problem::Wrong;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// `host:port`, taken apart.
enum Parts {
    Ip(SocketAddr),
    Host(Arc<str>, u16),
    Unix(PathBuf),
}

/// An address to listen on; `relative` resolves the path of a Unix socket. Port 0 lets the system
/// choose.
///
/// # Errors
///
/// What is wrong with it and what to write.
pub(super) fn bind(text: &str, relative: impl FnOnce(&str) -> PathBuf) -> Result<BindAddr, Wrong> {
    let bare = text.strip_prefix(':').or_else(|| text.strip_prefix("*:"));
    if let Some(port) = bare.filter(|port| is_port(port)) {
        let what = format!("{} names no address to listen on", quoted(text));
        return Err(Wrong::new(what)
            .hint(format!("write \"0.0.0.0:{port}\" for IPv4, \"[::]:{port}\" for IPv6")));
    }
    Ok(match parts(text, relative)? {
        Parts::Ip(addr) => BindAddr::Ip(addr),
        Parts::Host(host, port) => BindAddr::Host(host, port),
        Parts::Unix(path) => BindAddr::Unix(path),
    })
}

/// An address to dial.
///
/// # Errors
///
/// As [`bind`]; port 0 and the unspecified address cannot be dialled.
pub(super) fn dial(text: &str, relative: impl FnOnce(&str) -> PathBuf) -> Result<Addr, Wrong> {
    let addr = match parts(text, relative)? {
        Parts::Ip(addr) => Addr::Ip(addr),
        Parts::Host(host, port) => Addr::Host(host, port),
        Parts::Unix(path) => Addr::Unix(path),
    };
    match &addr {
        Addr::Ip(ip) if ip.port() == 0 => Err(Wrong::new(format!("{} has port 0", quoted(text)))),
        Addr::Host(_, 0) => Err(Wrong::new(format!("{} has port 0", quoted(text)))),
        _ => Ok(addr),
    }
}

impl Addr {
    /// An address to dial as it is written; the path of a Unix socket begins at the root.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn new(text: &str) -> Result<Self, String> {
        match dial(text, |path| PathBuf::from(path)) {
            Ok(Self::Unix(path)) if path.is_relative() => {
                Err(format!("{} does not begin at the root", quoted(text)))
            }
            Ok(addr) => Ok(addr),
            Err(Wrong { what, hint: None }) => Err(what),
            Err(Wrong { what, hint: Some(hint) }) => Err(format!("{what}; {hint}")),
        }
    }
}

fn parts(text: &str, relative: impl FnOnce(&str) -> PathBuf) -> Result<Parts, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(text, path, relative);
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(Parts::Ip(addr));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        let wrong = Wrong::new(format!("{} has no port", quoted(text)));
        return Err(wrong.hint(
            match text.rsplit_once(':').map(|(host, port)| (host.parse::<Ipv6Addr>(), port)) {
                Some((Ok(ip), port)) if is_port(port) => format!("write \"[{ip}]:{port}\""),
                _ => format!("write \"[{ip}]:80\""),
            },
        ));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let hint = match text.parse::<u16>() {
            Ok(port) => format!("write \"host:{port}\""),
            Err(_) => "write \"host:port\"".into(),
        };
        return Err(Wrong::new(format!("{} has no port", quoted(text))).hint(hint));
    };
    if let Ok(ip) = host.parse::<Ipv6Addr>() {
        let what = format!("{} has an IPv6 address without brackets", quoted(text));
        return Err(Wrong::new(what).hint(format!("write \"[{ip}]:{port}\"")));
    }
    if text.contains("//") {
        let what = format!("{} is an URL", quoted(text));
        return Err(Wrong::new(what).hint("write \"host:port\""));
    }
    let number = port.parse::<u16>().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()));
    let Some(number) = number else {
        return Err(Wrong::new(format!("{} has no port from 0 to 65535", quoted(text)))
            .hint("write \"host:port\""));
    };
    let host = host_name(host)?;
    Ok(Parts::Host(host.into(), number))
}

fn unix(text: &str, path: &str, relative: impl FnOnce(&str) -> PathBuf) -> Result<Parts, Wrong> {
    if path.is_empty() || path.contains('\0') {
        return Err(
            Wrong::new(format!("{} names no path", quoted(text))).hint("write \"unix:/path\"")
        );
    }
    let path = relative(path);
    // sun_path of Linux has 108 bytes with its end mark.
    if path.as_os_str().len() > 107 {
        return Err(Wrong::new(format!("{} has a path of more than 107 bytes", quoted(text))));
    }
    Ok(Parts::Unix(path))
}

/// A host name in lower case without the final dot (RFC 1123 2.1; `_` is seen in practice).
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn host_name(text: &str) -> Result<String, Wrong> {
    let host = text.strip_suffix('.').unwrap_or(text);
    let fault = |why: &str| Wrong::new(format!("{} is not a host name: {why}", quoted(text)));
    if host.is_empty() {
        return Err(fault("it is empty"));
    }
    if host.len() > 253 {
        return Err(fault("it has more than 253 bytes"));
    }
    if !host.is_ascii() {
        return Err(fault("it is not ASCII").hint("write its \"xn--\" form"));
    }
    for label in host.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(fault("a label has 1 to 63 bytes"));
        }
        let bad = label.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
        if let Some(c) = bad {
            return Err(fault(&format!("it has {}", quoted(&c.to_string()))));
        }
    }
    // RFC 1123 2.1: a name whose last label is a number would be taken for an address.
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.bytes().all(|b| b.is_ascii_digit()) && host.parse::<IpAddr>().is_err() {
        return Err(fault("it ends in a number and is no IP address"));
    }
    Ok(host.to_ascii_lowercase())
}

/// A host as it stands in `Host`: a name or an address, with or without a port, which is dropped.
///
/// # Errors
///
/// As [`host_name`].
pub(super) fn host(text: &str) -> Result<String, Wrong> {
    if let Some(inner) = text.strip_prefix('[') {
        let no = || Wrong::new(format!("{} is not a host", quoted(text)));
        let (ip, port) = inner.split_once(']').ok_or_else(no)?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| no())?;
        let port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if port { Ok(format!("[{ip}]")) } else { Err(no()) };
    }
    match text.rsplit_once(':') {
        Some((name, port)) if is_port(port) => host_name(name),
        Some(_) => Err(Wrong::new(format!("{} is not a host", quoted(text)))),
        None => host_name(text),
    }
}

/// A host to send clients to; a port has a key of its own.
///
/// # Errors
///
/// A port; as [`host`].
pub(super) fn redirect_host(text: &str) -> Result<String, Wrong> {
    let name = host(text)?;
    let port = text.rsplit_once(':').map(|(_, port)| port);
    match port.filter(|port| is_port(port) && !text.ends_with(']')) {
        Some(port) => Err(Wrong::new(format!("{} has a port", quoted(text)))
            .hint(format!("write host = \"{name}\", port = {port}"))),
        None => Ok(name),
    }
}

/// A host that may keep its port: what is written into a `Host` field.
///
/// # Errors
///
/// As [`host`].
pub(super) fn authority(text: &str) -> Result<String, Wrong> {
    host(text)?;
    Ok(text.to_owned())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// A host to match: `*.x` stands for one or more labels before `x`.
///
/// # Errors
///
/// A `*` elsewhere; as [`host`].
pub(super) fn host_match(text: &str) -> Result<HostMatch, Wrong> {
    if text == "*" {
        return Err(Wrong::new("\"*\" is no host").hint("leave host out for any host"));
    }
    if let Some(rest) = text.strip_prefix("*.").filter(|rest| !rest.contains('*')) {
        return host(rest).map(HostMatch::Wildcard);
    }
    if text.contains('*') {
        let what = format!("{} has a \"*\" that is not its first label", quoted(text));
        return Err(Wrong::new(what).hint("write \"*.example.com\""));
    }
    host(text).map(HostMatch::Exact)
}

/// A network, or an address as a network of one.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn net(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.into());
    }
    let Ok(net) = text.parse::<IpNet>() else {
        let what = format!("{} is not an address or network", quoted(text));
        return Err(Wrong::new(what).hint("write for example \"10.0.0.0/8\" or \"fd00::/8\""));
    };
    if net.trunc() != net {
        let what = format!("{} has bits beyond its prefix", quoted(text));
        return Err(Wrong::new(what).hint(format!("write \"{}\"", net.trunc())));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        PathBuf::from("/etc").join(text)
    }

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("App.Internal.:8080", "app.internal:8080"),
            ("unix:run/x", "unix:/etc/run/x"),
            ("unix:/run/x", "unix:/run/x"),
        ] {
            assert_eq!(dial(text, path).unwrap().to_string(), shown);
        }
        assert!(bind("127.0.0.1:0", path).is_ok());
        for (text, what) in [
            ("10.0.0.1", "\"10.0.0.1\" has no port"),
            ("::1", "\"::1\" has no port"),
            ("fe80::1:2:3:80:x:1", "\"fe80::1:2:3:80:x\" is not a host name"),
            ("1::2:80", "\"1::2:80\" has no port"),
            ("10.0.0.256:80", "\"10.0.0.256\" is not a host name"),
            ("a:0", "\"a:0\" has port 0"),
            ("a:70000", "\"a:70000\" has no port from"),
            ("a:+80", "\"a:+80\" has no port from"),
            ("http://a:80", "\"http://a:80\" is an URL"),
            ("a b:80", "\"a b\" is not a host name: it has \" \""),
            ("", "\"\" has no port"),
            (":80", "\"\" is not a host name: it is empty"),
            ("unix:", "\"unix:\" names no path"),
        ] {
            let wrong = dial(text, path).unwrap_err();
            assert!(wrong.what.starts_with(what), "{text}: {}", wrong.what);
        }
        assert_eq!(
            bind(":80", path).unwrap_err().hint.unwrap(),
            "write \"0.0.0.0:80\" for IPv4, \"[::]:80\" for IPv6"
        );
    }

    #[test]
    fn a_port_that_would_count_for_nothing_is_told() {
        let wrong = redirect_host("h.test:8080").unwrap_err();
        assert_eq!(wrong.what, "\"h.test:8080\" has a port");
        assert_eq!(wrong.hint.unwrap(), "write host = \"h.test\", port = 8080");
        assert!(redirect_host("[::1]:8443").unwrap_err().what.ends_with("has a port"));
        for text in ["h.test", "[::1]", "10.0.0.1"] {
            assert_eq!(redirect_host(text).unwrap(), text);
        }
        assert!(authority("h.test:80").is_ok());
    }

    #[test]
    fn hosts_are_normalised() {
        for (text, out) in [
            ("API.Example.com.", HostMatch::Exact("api.example.com".into())),
            ("a.b:8080", HostMatch::Exact("a.b".into())),
            ("*.X.org", HostMatch::Wildcard("x.org".into())),
            ("[::1]:80", HostMatch::Exact("[::1]".into())),
            ("10.0.0.1", HostMatch::Exact("10.0.0.1".into())),
        ] {
            assert_eq!(host_match(text).unwrap(), out);
        }
        for text in ["*", "a.*", "*.*.x", "", ".", "a..b", "a:b", "ü.de", "[::1", "[::1]x", "a b"]
        {
            assert!(host_match(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks() {
        assert_eq!(net("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(net("10.0.0.1/8").unwrap_err().hint.unwrap(), "write \"10.0.0.0/8\"");
        assert!(net("x").is_err());
    }
}
