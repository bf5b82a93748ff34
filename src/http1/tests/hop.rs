//! What ends at this hop, and what a peer cannot take out by naming it in `Connection`.
use super::http1::hop_by_hop;
use super::message::{Chunk, Fields, Known};

fn after(lines: &[(&str, &str)]) -> String {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.append(name, value.as_bytes()).unwrap();
    }
    hop_by_hop(&mut fields);
    let mut out = Chunk::none();
    fields.write_to(0, &mut out);
    String::from_utf8(out.data().to_vec()).unwrap()
}

#[test]
fn fields_of_this_hop_go_and_the_others_stay_in_order() {
    let went = after(&[
        ("Accept", "*/*"),
        ("connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("X", "1"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("Trailer", "X-Sum"),
        ("x", "2"),
    ]);
    assert_eq!(went, "Accept: */*\r\nX: 1\r\nTrailer: X-Sum\r\nx: 2\r\n");
}

#[test]
fn a_named_field_goes_wherever_it_stands_and_however_it_is_written() {
    let went = after(&[
        ("X-One", "1"),
        ("Connection", " , x-ONE ,,\tX-Two\t"),
        ("x-one", "again"),
        ("X-Two", "2"),
        ("X-Three", "3"),
        ("Connection", "close, x-three"),
        ("X-On", "stays"),
        ("Server", "named by nobody"),
    ]);
    assert_eq!(went, "X-On: stays\r\nServer: named by nobody\r\n");
}

#[test]
fn framing_routing_and_identity_cannot_be_taken_out() {
    let protected = [
        "Host",
        "Content-Length",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Real-IP",
        "X-Request-Id",
        "Via",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "Content-Range",
        "Range",
        "Cache-Control",
        "Expect",
        "Date",
        "Location",
        "X-Client-Cert-Subject",
        "x-client-CERT-",
    ];
    for name in protected {
        for named in [name.to_ascii_lowercase(), name.to_ascii_uppercase()] {
            let went = after(&[("Connection", &format!("a, {named} ,b")), (name, "v")]);
            assert_eq!(went, format!("{name}: v\r\n"));
        }
    }
    assert_eq!(after(&[("Connection", "x-client-cert"), ("X-Client-Cert", "v")]), "");
}

#[test]
fn every_known_name_is_either_gone_protected_or_may_be_named() {
    let gone =
        ["Connection", "TE", "Upgrade", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding"];
    for known in Known::ALL {
        let bare = after(&[(known.name(), "v")]);
        assert_eq!(bare.is_empty(), gone.contains(&known.name()), "{}", known.name());
        let mut fields = Fields::new();
        fields.append("Connection", known.name().as_bytes()).unwrap();
        fields.append(known.name(), b"v").unwrap();
        hop_by_hop(&mut fields);
        assert_eq!(fields.has(*known), fields.find(known.name()).is_some(), "{}", known.name());
    }
}
