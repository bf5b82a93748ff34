//! The gRPC check: `grpc.health.v1.Health/Check`, of which SERVING alone is good. The two messages
//! are so small that they are written and read by hand.
use super::http2::{ask, request};
use crate::message::Fields;
use crate::net::Stream;
use bytes::{BufMut, Bytes, BytesMut};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// An answer has a few bytes; what is longer is none.
const MOST: usize = 4 << 10;
/// `HealthCheckResponse.ServingStatus`
const SERVING: u64 = 1;

pub(super) async fn check(
    stream: Stream,
    service: &str,
    host: &str,
    is_tls: bool,
) -> Result<(), String> {
    let mut asked = request("POST", host, PATH)?;
    // A name and a value that are valid.
    let _ = asked.append("content-type", b"application/grpc");
    let question = question(service).to_vec();
    ask(stream, (asked, is_tls), Some(question), async |head, mut body| {
        if head.status() != 200 {
            return Err(format!("status {}, expected 200", head.status()));
        }
        // An answer without a message says its status in its head.
        said(&head)?;
        let mut seen = Vec::new();
        while let Some(piece) = body.piece().await? {
            seen.extend_from_slice(&piece);
            if seen.len() > MOST {
                return Err("its answer is too long for one".into());
            }
        }
        said(&body.trailers().ok_or("it ended without a grpc-status")?)?;
        judge(serving(&seen))
    })
    .await
}

/// `HealthCheckRequest { string service = 1; }` in one frame of gRPC: a flag, its length, itself.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut left = service.len();
        while left >= 0x80 {
            message.put_u8(left as u8 | 0x80);
            left >>= 7;
        }
        message.put_u8(left as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put(message);
    frame.freeze()
}

/// A status that is not OK is the verdict.
fn said(fields: &Fields) -> Result<(), String> {
    let Some(status) = fields.find("grpc-status").filter(|status| *status != b"0") else {
        return Ok(());
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let more = fields.find("grpc-message").map(|message| format!(" ({})", text(message)));
    Err(format!("grpc-status {}{}", text(status), more.unwrap_or_default()))
}

/// `HealthCheckResponse { ServingStatus status = 1; }`: `None` where it is none. A field that is
/// absent is 0; unknown fields are passed over.
fn serving(frame: &[u8]) -> Option<u64> {
    let (head, mut message) = frame.split_first_chunk::<5>()?;
    let [flag, length @ ..] = *head;
    if flag != 0 || u32::from_be_bytes(length) as usize != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 5) => message = message.get(4..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn judge(status: Option<u64>) -> Result<(), String> {
    match status {
        Some(SERVING) => Ok(()),
        Some(0) => Err("it says UNKNOWN, expected SERVING".into()),
        Some(2) => Err("it says NOT_SERVING, expected SERVING".into()),
        Some(3) => Err("it says SERVICE_UNKNOWN, expected SERVING".into()),
        Some(other) => Err(format!("it says {other}, expected SERVING (1)")),
        None => Err("its answer is no HealthCheckResponse".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_frame() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "x".repeat(300);
        let frame = question(&long);
        assert_eq!(frame[..8], [0, 0, 0, 0x01, 0x2f, 0x0a, 0xac, 0x02]);
        assert_eq!(frame.len(), 308);
    }

    #[test]
    fn only_serving_is_good() {
        for (frame, status) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\x02\x08\x02", Some(2)),
            (b"\0\0\0\0\0", Some(0)),
            // Fields that are not known: a text, a fixed number, and once more the status.
            (b"\0\0\0\0\x0b\x12\x02hi\x1d\0\0\0\0\x08\x01", Some(1)),
            (b"\0\0\0\0\x03\x08\x80\x01", Some(128)),
            // Compressed, cut, too long, no varint, a group.
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x01\x08\x01", None),
            (b"\0\0\0\0\x02\x08\x80", None),
            (b"\0\0\0\0\x01\x0b", None),
            (b"\0\0\0\0\x03\x12\x7fa", None),
            (b"", None),
        ] {
            assert_eq!(serving(frame), status, "{frame:?}");
        }
        assert!(judge(Some(1)).is_ok());
        for bad in [Some(0), Some(2), Some(3), Some(9), None] {
            assert!(judge(bad).is_err());
        }
    }
}
