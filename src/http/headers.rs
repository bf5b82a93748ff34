//! What is taken out of heads, put in, and made of them between client and backend.
use super::reply::Reply;
use crate::config::HeaderRules;
use crate::http1::hop_by_hop;
use crate::message::{Fields, Head, Known, Method};
use crate::net::Peer;
use ipnet::IpNet;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Our own pseudonym so often in `Via` is a loop.
const ROUNDS: usize = 3;

/// A route's rules on fields, both ways.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    request: HeaderRules,
    response: HeaderRules,
}

impl Rules {
    /// From what the config says, which was checked there.
    pub fn new(request: &HeaderRules, response: &HeaderRules) -> Self {
        Self { request: request.clone(), response: response.clone() }
    }
}

/// In the order remove, set, add.
fn apply(rules: &HeaderRules, fields: &mut Fields) {
    for name in &rules.remove {
        fields.remove_named(name.as_bytes());
    }
    // Names and values were checked by the config: an error cannot happen and would change nothing.
    for (name, value) in &rules.set {
        let _ = fields.set(name, value.as_bytes());
    }
    for (name, value) in &rules.add {
        let _ = fields.append(name, value.as_bytes());
    }
}

/// What this process calls itself in `Via`: random, so that two proxies of one site differ.
pub fn pseudonym() -> Arc<str> {
    format!("evenkeel-{:06x}", fastrand::u32(..1 << 24)).into()
}

/// TRACE would show what the proxy added, CONNECT would make it an open proxy.
pub fn method_allowed(method: Method) -> bool {
    !matches!(method, Method::Trace | Method::Connect)
}

/// Makes a request head ready for a backend: hop-by-hop fields out, the route's rules applied.
pub fn request_ready(rules: &Rules, head: &mut Head, upgrade: bool) {
    hop_by_hop(head);
    if upgrade {
        head.push(Known::Upgrade, &[b"websocket"]);
    }
    apply(&rules.request, head);
}

/// Makes an answer's head ready for the client.
pub fn response_ready(rules: &Rules, answer: &mut Head, switched: bool, via: &str) {
    let upgrade = switched.then(|| answer.get(Known::Upgrade).map(<[u8]>::to_vec)).flatten();
    hop_by_hop(answer);
    if let Some(protocol) = upgrade {
        answer.push(Known::Upgrade, &[&protocol]);
    }
    answer.push(Known::Via, &[b"1.1 ", via.as_bytes()]);
    apply(&rules.response, answer);
}

/// Applies a route's rules to its own answer.
pub fn answer_ready(rules: &Rules, mut reply: Reply) -> Reply {
    apply(&rules.response, reply.fields());
    reply
}

/// Makes an interim answer ready for the client.
pub fn interim_ready(answer: &mut Head) {
    hop_by_hop(answer);
    answer.remove(Known::ContentLength);
}

fn is_trusted(peer: Peer, trusted: &[IpNet]) -> bool {
    match peer {
        Peer::Ip(addr) => trusted.iter().any(|net| net.contains(&addr.ip().to_canonical())),
        Peer::Unix => false,
    }
}

/// The client in force: the rightmost address of the chain that is not trusted, else the peer.
pub fn client_address(head: &Head, peer: Peer, trusted: &[IpNet]) -> Option<SocketAddr> {
    let Peer::Ip(own) = peer else { return None };
    if trusted.is_empty() || !is_trusted(peer, trusted) {
        return Some(own);
    }
    let chain: Vec<&[u8]> =
        head.all(Known::XForwardedFor).flat_map(|v| v.split(|b| *b == b',')).collect();
    let mut client = own;
    for part in chain.into_iter().rev() {
        let parsed = std::str::from_utf8(part.trim_ascii())
            .ok()
            .and_then(|text| text.parse::<IpAddr>().ok());
        let Some(ip) = parsed else { break };
        client = SocketAddr::new(ip, 0);
        if !is_trusted(Peer::Ip(client), trusted) {
            break;
        }
    }
    Some(client)
}

/// A request that has been here too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop;

/// Says who the client is: `X-Forwarded-For`, `-Proto`, `-Host`, `Via` and `X-Request-Id`. What a
/// peer that is not trusted said of these is replaced.
///
/// # Errors
///
/// [`Loop`]
pub fn forwarded(
    head: &mut Head,
    peer: Peer,
    trusted: &[IpNet],
    scheme: &str,
    via: &str,
) -> Result<(), Loop> {
    let believed = is_trusted(peer, trusted);
    if head.has(Known::Via) {
        let mine = |v: &[u8]| memchr::memmem::find_iter(v, via.as_bytes()).count();
        if head.all(Known::Via).map(mine).sum::<usize>() >= ROUNDS {
            return Err(Loop);
        }
    }
    if !believed {
        for name in
            [Known::Forwarded, Known::XRealIp, Known::XForwardedHost, Known::XForwardedProto]
        {
            head.remove(name);
        }
        remove_client_cert(head);
    }
    forwarded_for(head, peer, believed);
    if !head.has(Known::XForwardedProto) {
        head.push(Known::XForwardedProto, &[scheme.as_bytes()]);
    }
    if !head.has(Known::XForwardedHost) {
        let host = head.authority().or_else(|| head.get(Known::Host)).unwrap_or(b"");
        let mut copy = [0; 256];
        if let Some(copy) = copy.get_mut(..host.len()).filter(|copy| !copy.is_empty()) {
            copy.copy_from_slice(host);
            head.push(Known::XForwardedHost, &[copy]);
        }
    }
    head.push(Known::Via, &[b"1.1 ", via.as_bytes()]);
    request_id(head, believed);
    Ok(())
}

fn forwarded_for(head: &mut Head, peer: Peer, believed: bool) {
    let mut chain: Vec<u8> = Vec::new();
    if believed {
        for value in head.all(Known::XForwardedFor) {
            chain.extend_from_slice(value);
            chain.extend_from_slice(b", ");
        }
    }
    head.remove(Known::XForwardedFor);
    let Peer::Ip(addr) = peer else { return };
    let mut text = [0; 64];
    let room = text.len();
    let mut rest = &mut text[..];
    // 45 bytes are the longest address.
    let _ = write!(rest, "{}", addr.ip().to_canonical());
    let len = room - rest.len();
    head.push(Known::XForwardedFor, &[&chain, &text[..len]]);
}

fn remove_client_cert(head: &mut Head) {
    const PREFIX: &[u8] = b"x-client-cert-";
    let is_meant = |name: &[u8]| {
        name.len() > PREFIX.len() && name[..PREFIX.len()].eq_ignore_ascii_case(PREFIX)
    };
    let named: Vec<Vec<u8>> =
        head.iter().map(|(name, _)| name).filter(|n| is_meant(n)).map(<[u8]>::to_vec).collect();
    named.iter().for_each(|name| head.remove_named(name));
}

/// Keeps a request's id, or makes one: 32 hexadecimal digits that begin with the time in
/// milliseconds (as UUIDv7 does, RFC 9562 5.7).
fn request_id(head: &mut Head, believed: bool) {
    let is_plain = |id: &[u8]| {
        (1..=64).contains(&id.len())
            && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    match head.get(Known::XRequestId) {
        Some(_) if believed => return,
        Some(id) if is_plain(id) && head.all(Known::XRequestId).count() == 1 => return,
        Some(_) => head.remove(Known::XRequestId),
        None => {}
    }
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let id = millis << 80 | fastrand::u128(..) >> 48;
    let mut text = [0; 32];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(id >> (124 - 4 * at)) as usize & 15];
    }
    head.push(Known::XRequestId, &[&text]);
}
