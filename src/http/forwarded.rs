//! The fields that say who the client is and which way a request came: `X-Forwarded-*`,
//! `Forwarded` (RFC 7239), `X-Real-IP`, `X-Client-Cert-*`, `Via` (RFC 9110 7.6.3).
//!
//! A peer in `trusted_proxies` is believed and its words are extended; what any other peer says
//! of these is taken out. A peer by Unix socket has no address and is not believed. Of certificates
//! nobody is believed: a proxy that knows nothing of such fields passes on what its clients write.
use super::address::{IpText, Origin, node};
use super::request_id;
use crate::message::{Head, Known, Version, is_certificate_claim, is_claim};
use crate::net::{Peer, is_within};
use crate::tls::Client;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Our own pseudonym so often in `Via` is a loop.
const ROUNDS: usize = 3;

/// A request that has been here too often; it gets 508.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loop;

/// Sets the fields for the next hop. A head that has none of them yet costs no allocation.
///
/// # Errors
///
/// [`Loop`]; the head is unchanged.
pub(super) fn forwarded(
    head: &mut Head,
    origin: &Origin,
    trusted: &[IpNet],
    scheme: &str,
    via: &Via,
) -> Result<(), Loop> {
    if rounds(head, &via.name) >= ROUNDS {
        return Err(Loop);
    }
    let believed = origin.peer.is_within(trusted);
    remove_claims(head, if believed { is_certificate_claim } else { is_claim });
    forwarded_for(head, origin, trusted, believed);
    if !head.has(Known::XForwardedProto) {
        match scheme {
            "http" => head.push_line(Known::XForwardedProto, b"X-Forwarded-Proto: http\r\n"),
            _ => head.push_line(Known::XForwardedProto, b"X-Forwarded-Proto: https\r\n"),
        }
    }
    if !head.has(Known::XForwardedHost) {
        head.push_host(Known::XForwardedHost);
    }
    if let Some(client) = origin.tls.as_ref().and_then(|tls| tls.client.as_ref()) {
        client_certificate(head, client.as_ref());
    }
    push_via(head, via);
    request_id::ensure(head, believed);
    Ok(())
}

/// Whether the client came by TLS, as the fields say that [`forwarded`] left: to the first proxy of the
/// chain, where those are believed that come after it.
pub(super) fn came_by_tls(head: &Head) -> bool {
    let said = head.get(Known::XForwardedProto).and_then(|said| said.split(|b| *b == b',').next());
    said.is_some_and(|said| said.trim_ascii().eq_ignore_ascii_case(b"https"))
}

/// What a listener calls itself in `Via`, and the lines that say so.
#[derive(Debug)]
pub(super) struct Via {
    /// The pseudonym.
    pub(super) name: String,
    /// By the version of the message received.
    lines: [Vec<u8>; 3],
}

impl Via {
    /// Of this pseudonym.
    pub(super) fn new(name: &str) -> Self {
        let line = |version| format!("Via: {version} {name}\r\n").into_bytes();
        Self { name: name.into(), lines: ["1.0", "1.1", "2"].map(line) }
    }
    /// Random, so that two proxies of one site differ.
    pub(super) fn pseudonym() -> Self {
        Self::new(&format!("evenkeel-{:06x}", fastrand::u32(..1 << 24)))
    }
}

/// Adds this hop to `Via`.
pub(super) fn push_via(head: &mut Head, via: &Via) {
    let line = match head.version() {
        Version::Http10 => &via.lines[0],
        Version::Http11 => &via.lines[1],
        Version::Http2 => &via.lines[2],
    };
    head.push_line(Known::Via, line);
}

/// How often this request was here before.
fn rounds(head: &Head, via: &str) -> usize {
    head.all(Known::Via).map(|v| memchr::memmem::find_iter(v, via.as_bytes()).count()).sum()
}

/// The client in force: the rightmost address of the chain that is not trusted, else the peer.
/// The chain is `X-Forwarded-For`, or `Forwarded` where there is none; it ends at what is no
/// address. A chain of trusted ones alone begins with the client. Its port is 0 where unknown.
pub(super) fn client_address(head: &Head, peer: Peer, trusted: &[IpNet]) -> Option<SocketAddr> {
    let Peer::Ip(mut client) = peer else { return None };
    if !peer.is_within(trusted) {
        return Some(client);
    }
    for hop in chain(head).into_iter().rev() {
        let Some(addr) = hop else { break };
        client = addr;
        if !is_within(addr.ip(), trusted) {
            break;
        }
    }
    Some(client)
}

/// The hops before the peer, the first one first; `None` for what is no address.
fn chain(head: &Head) -> Vec<Option<SocketAddr>> {
    if head.has(Known::XForwardedFor) {
        let parts = head.all(Known::XForwardedFor).flat_map(|v| v.split(|b| *b == b','));
        return parts.map(node).collect();
    }
    head.all(Known::Forwarded).flat_map(|v| split_quoted(v, b',')).map(forwarded_node).collect()
}

/// The address of the `for` of one element of `Forwarded` (RFC 7239 4, 6).
fn forwarded_node(element: &[u8]) -> Option<SocketAddr> {
    split_quoted(element, b';').into_iter().find_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        let value = pair[at + 1..].trim_ascii();
        let bare = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
        pair[..at].trim_ascii().eq_ignore_ascii_case(b"for").then(|| node(bare))?
    })
}

/// Splits where the separator is not inside a quoted string (RFC 9110 5.6.4).
fn split_quoted(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if *byte == separator && !quoted => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// `X-Forwarded-For` becomes one field: what a trusted peer said, then the peer itself. A trusted
/// peer that only speaks `Forwarded` has its client put first, and its own chain extended.
fn forwarded_for(head: &mut Head, origin: &Origin, trusted: &[IpNet], believed: bool) {
    let (Peer::Ip(addr), text) = (origin.peer, origin.ip_text()) else { return };
    if !believed || !(head.has(Known::XForwardedFor) || head.has(Known::Forwarded)) {
        return head.push(Known::XForwardedFor, &[text]);
    }
    let mut before: Vec<u8> = Vec::new();
    if head.has(Known::XForwardedFor) {
        for value in head.all(Known::XForwardedFor).filter(|v| !v.is_empty()) {
            before.extend_from_slice(value);
            before.extend_from_slice(b", ");
        }
        head.remove(Known::XForwardedFor);
    } else if let Some(client) = client_address(head, origin.peer, trusted).filter(|c| *c != addr) {
        before.extend_from_slice(IpText::of(client.ip()).as_bytes());
        before.extend_from_slice(b", ");
    }
    head.push(Known::XForwardedFor, &[&before, text]);
    if head.has(Known::Forwarded) {
        match addr.ip().to_canonical() {
            IpAddr::V4(_) => head.push(Known::Forwarded, &[b"for=", text]),
            IpAddr::V6(_) => head.push(Known::Forwarded, &[b"for=\"[", text, b"]\""]),
        }
    }
}

/// Takes out every field of this kind, by which a client could pass for another one.
fn remove_claims(head: &mut Head, is_claim: fn(&[u8]) -> bool) {
    // Those of nearly all clients begin with none of them.
    if !head.may_begin(b"xf") {
        return;
    }
    let claims: Vec<Vec<u8>> =
        head.iter().map(|(name, _)| name).filter(|n| is_claim(n)).map(<[u8]>::to_vec).collect();
    for name in claims {
        head.remove_named(&name);
    }
}

/// Says what the client proved by its certificate.
fn client_certificate(head: &mut Head, client: Option<&Client>) {
    let mut say = |name, value: &str| {
        // Visible ASCII, as it was made.
        let _ = head.append(name, value.as_bytes());
    };
    say("X-Client-Cert-Verified", if client.is_some() { "yes" } else { "no" });
    let Some(client) = client else { return };
    say("X-Client-Cert-Subject", &client.subject);
    say("X-Client-Cert-Issuer", &client.issuer);
    say("X-Client-Cert-Serial", &client.serial);
    say("X-Client-Cert-Fingerprint", &client.fingerprint);
    say("X-Client-Cert-Names", &client.names);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrival::Arrival;

    const VIA: &str = "evenkeel-3f9a2c";

    fn head(target: &str, fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new();
        head.start_request(b"GET", target.as_bytes(), Version::Http11).unwrap();
        for (name, value) in fields {
            head.append(name, value.as_bytes()).unwrap();
        }
        head
    }

    fn peer(text: &str) -> Peer {
        Peer::Ip(text.parse().unwrap())
    }

    fn trusted() -> Vec<IpNet> {
        vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
    }

    fn values(head: &Head, name: &str) -> Vec<String> {
        head.find_all(name).map(|v| String::from_utf8(v.to_vec()).unwrap()).collect()
    }

    fn all(mut head: Head, from: &str) -> Head {
        forwarded(
            &mut head,
            &Origin::new(Arrival::plain(peer(from))),
            &trusted(),
            "http",
            &Via::new(VIA),
        )
        .unwrap();
        head
    }

    #[test]
    fn a_stranger_is_named_by_its_connection_alone() {
        let head = all(
            head(
                "/",
                &[
                    ("Host", "a:80"),
                    ("X-Forwarded-For", "1.1.1.1"),
                    ("X-Forwarded-For", "2.2.2.2"),
                    ("X-Forwarded-Proto", "https"),
                    ("X-Forwarded-Host", "evil"),
                    ("X-Forwarded-Port", "1"),
                    ("x_forwarded_for", "3.3.3.3"),
                    ("X-Forwarded_Proto", "https"),
                    ("Forwarded", "for=1.1.1.1"),
                    ("X-Real-IP", "1.1.1.1"),
                    ("X-Real_IP", "1.1.1.1"),
                    ("X-Client-Cert-Subject", "CN=root"),
                    ("X-Clientele", "kept"),
                ],
            ),
            "192.0.2.1:5000",
        );
        let seen: Vec<(String, String)> = head
            .iter()
            .map(|(n, v)| (String::from_utf8_lossy(n).into(), String::from_utf8_lossy(v).into()))
            .filter(|(n, _): &(String, String)| n != "X-Request-Id")
            .collect();
        let expected = [
            ("Host", "a:80"),
            ("X-Clientele", "kept"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "a:80"),
            ("Via", "1.1 evenkeel-3f9a2c"),
        ];
        assert_eq!(seen, expected.map(|(n, v)| (n.to_string(), v.to_string())));
        assert_eq!(values(&head, "x-request-id")[0].len(), 32);
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_extended() {
        let head = all(
            head(
                "/",
                &[
                    ("Host", "a"),
                    ("X-Forwarded-For", "1.1.1.1"),
                    ("X-Forwarded-For", "10.0.0.9"),
                    ("X-Forwarded-Proto", "https"),
                    ("X-Forwarded-Port", "443"),
                    ("Forwarded", "for=1.1.1.1"),
                    ("X-Real-IP", "1.1.1.1"),
                    ("X-Request-Id", "a b"),
                    ("X-Client-Cert-Verified", "yes"),
                    ("X_Client-Cert_Subject", "CN=root"),
                ],
            ),
            "[::ffff:10.0.0.8]:5000",
        );
        assert_eq!(values(&head, "x-forwarded-for"), ["1.1.1.1, 10.0.0.9, 10.0.0.8"]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(&head, "x-forwarded-host"), ["a"]);
        assert_eq!(values(&head, "x-forwarded-port"), ["443"]);
        assert_eq!(values(&head, "forwarded"), ["for=1.1.1.1", "for=10.0.0.8"]);
        assert_eq!(values(&head, "x-real-ip"), ["1.1.1.1"]);
        assert_eq!(values(&head, "x-request-id"), ["a b"]);
        let is_said = head.iter().any(|(name, _)| is_certificate_claim(name));
        assert!(!is_said, "of certificates nobody is believed");
    }

    #[test]
    fn a_proxy_that_speaks_forwarded_names_the_client() {
        let forwarded = "for=\"[2001:db8::1]:99\";proto=https, For=10.0.0.7";
        let head = all(head("/", &[("Forwarded", forwarded)]), "[fd00::1]:1");
        assert_eq!(values(&head, "x-forwarded-for"), ["2001:db8::1, fd00::1"]);
        assert_eq!(values(&head, "forwarded"), [forwarded, "for=\"[fd00::1]\""]);
    }

    #[test]
    fn the_host_of_an_absolute_target_counts() {
        let head = all(head("http://b:81/x", &[("Host", "a")]), "192.0.2.1:1");
        assert_eq!(values(&head, "x-forwarded-host"), ["b:81"]);
    }

    #[test]
    fn a_host_of_any_length_is_passed_on() {
        let long = "a.".repeat(300);
        let head = all(head("/", &[("Host", &long)]), "192.0.2.1:1");
        assert_eq!(values(&head, "x-forwarded-host"), [long]);
        let none = all(self::head("/", &[]), "192.0.2.1:1");
        assert!(values(&none, "x-forwarded-host").is_empty());
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        let xff = "X-Forwarded-For";
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case<'_>; 12] = [
            ("192.0.2.1:5", &[(xff, "1.1.1.1")], "192.0.2.1:5"),
            ("10.0.0.1:5", &[], "10.0.0.1:5"),
            ("10.0.0.1:5", &[(xff, "1.1.1.1")], "1.1.1.1:0"),
            ("10.0.0.1:5", &[(xff, "9.9.9.9, 1.1.1.1, 10.0.0.2")], "1.1.1.1:0"),
            ("10.0.0.1:5", &[(xff, "9.9.9.9"), (xff, "1.1.1.1")], "1.1.1.1:0"),
            ("10.0.0.1:5", &[(xff, "10.0.0.3, 10.0.0.2")], "10.0.0.3:0"),
            ("10.0.0.1:5", &[(xff, "9.9.9.9, unknown, 10.0.0.2")], "10.0.0.2:0"),
            ("10.0.0.1:5", &[(xff, "garbage")], "10.0.0.1:5"),
            ("10.0.0.1:5", &[(xff, "1.1.1.1:88")], "1.1.1.1:88"),
            ("10.0.0.1:5", &[(xff, "1.1.1.1"), ("Forwarded", "for=2.2.2.2")], "1.1.1.1:0"),
            ("10.0.0.1:5", &[("Forwarded", "by=\"a,b\";for=2.2.2.2, for=10.0.0.2")], "2.2.2.2:0"),
            ("10.0.0.1:5", &[("Forwarded", "proto=http")], "10.0.0.1:5"),
        ];
        for (from, fields, client) in cases {
            let head = head("/", fields);
            let found = client_address(&head, peer(from), &trusted());
            assert_eq!(found, Some(client.parse().unwrap()), "{from} {fields:?}");
        }
        assert_eq!(client_address(&head("/", &[(xff, "1.1.1.1")]), Peer::Unix, &trusted()), None);
    }

    #[test]
    fn a_peer_by_unix_socket_is_not_believed() {
        let mut head = head("/", &[("X-Forwarded-For", "1.1.1.1")]);
        forwarded(
            &mut head,
            &Origin::new(Arrival::plain(Peer::Unix)),
            &trusted(),
            "http",
            &Via::new(VIA),
        )
        .unwrap();
        assert!(values(&head, "x-forwarded-for").is_empty());
    }

    #[test]
    fn the_third_return_is_a_loop() {
        let mut head = head("/", &[("Via", "1.1 other, 1.0 evenkeel-000000")]);
        for round in 0..ROUNDS {
            assert_eq!(rounds(&head, VIA), round);
            forwarded(
                &mut head,
                &Origin::new(Arrival::plain(peer("192.0.2.1:1"))),
                &[],
                "http",
                &Via::new(VIA),
            )
            .unwrap();
        }
        let before = values(&head, "via");
        assert_eq!(
            forwarded(
                &mut head,
                &Origin::new(Arrival::plain(peer("192.0.2.1:1"))),
                &[],
                "http",
                &Via::new(VIA)
            ),
            Err(Loop)
        );
        assert_eq!(values(&head, "via"), before);
        let joined = format!("1.1 {VIA}, 1.1 {VIA},1.1 {VIA}");
        assert_eq!(rounds(&self::head("/", &[("Via", &joined)]), VIA), 3);
    }

    #[test]
    fn via_says_the_version_received() {
        let mut head = Head::new();
        head.start_request(b"GET", b"/", Version::Http10).unwrap();
        push_via(&mut head, &Via::new(VIA));
        assert_eq!(values(&head, "via"), [format!("1.0 {VIA}")]);
    }
}
