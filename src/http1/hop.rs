//! Takes out of a head what ends at this hop (RFC 9110 7.6.1).
use crate::message::{Fields, Known};

const HOP: u64 = Known::Connection.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::Te.bit()
    | Known::TransferEncoding.bit()
    | Known::Upgrade.bit();

/// Names that `Connection` cannot take out: removing them on a client's word would change what the
/// message means or who sent it.
const PROTECTED: u64 = Known::Host.bit()
    | Known::ContentLength.bit()
    | Known::TransferEncoding.bit()
    | Known::XForwardedFor.bit()
    | Known::XForwardedProto.bit()
    | Known::XForwardedHost.bit()
    | Known::Forwarded.bit()
    | Known::XRealIp.bit()
    | Known::XRequestId.bit()
    | Known::Via.bit()
    | Known::Authorization.bit()
    | Known::ProxyAuthorization.bit()
    | Known::Cookie.bit()
    | Known::SetCookie.bit()
    | Known::ContentType.bit()
    | Known::ContentRange.bit()
    | Known::Range.bit()
    | Known::CacheControl.bit()
    | Known::Expect.bit()
    | Known::Date.bit()
    | Known::Location.bit();

/// Removes the hop-by-hop fields and those named by `Connection` that may be.
pub fn hop_by_hop(fields: &mut Fields) {
    // Nearly always it is there once and names no field.
    let plain = match fields.sole(Known::Connection) {
        Some((value, once)) => once && is_about_connection(value),
        None => true,
    };
    if !plain {
        let named: Vec<Vec<u8>> = fields
            .all(Known::Connection)
            .flat_map(|v| v.split(|b| *b == b','))
            .map(|name| name.trim_ascii().to_vec())
            .filter(|name| !is_protected(name))
            .collect();
        for name in named {
            fields.remove_named(&name);
        }
    }
    fields.remove_set(HOP);
}

/// Whether a `Connection` names no field.
fn is_about_connection(value: &[u8]) -> bool {
    // Most write it like this, and that is compared at once.
    matches!(value, b"keep-alive" | b"close")
        || value.eq_ignore_ascii_case(b"keep-alive")
        || value.eq_ignore_ascii_case(b"close")
}

fn is_protected(name: &[u8]) -> bool {
    let client_cert = b"x-client-cert-";
    Known::of(name).is_some_and(|known| PROTECTED & known.bit() != 0)
        || (name.len() >= client_cert.len()
            && name[..client_cert.len()].eq_ignore_ascii_case(client_cert))
}
