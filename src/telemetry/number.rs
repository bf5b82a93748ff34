//! Numbers, times and addresses as text, without `fmt`.
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `00` to `99`.
const TWO: [[u8; 2]; 100] = {
    let (mut all, mut n) = ([[b'0'; 2]; 100], 0);
    while n < 100 {
        all[n] = [b'0' + n as u8 / 10, b'0' + n as u8 % 10];
        n += 1;
    }
    all
};

/// `0.` to `255.`, and how long each is.
const OCTETS: [([u8; 4], u8); 256] = {
    let (mut all, mut n) = ([([b'.'; 4], 0); 256], 0);
    while n < 256 {
        let (text, len) = &mut all[n];
        let mut place = if n > 99 {
            100
        } else if n > 9 {
            10
        } else {
            1
        };
        while place > 0 {
            text[*len as usize] = b'0' + (n / place % 10) as u8;
            *len += 1;
            place /= 10;
        }
        *len += 1;
        n += 1;
    }
    all
};

/// The last two digits of a number.
#[inline(always)]
fn two(number: u64) -> [u8; 2] {
    TWO[(number % 100) as usize]
}

/// A number.
#[inline(always)]
pub(super) fn digits(number: u64, out: &mut Vec<u8>) {
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&two(number)),
        100..1000 => {
            let [b, c] = two(number);
            out.extend_from_slice(&[b'0' + (number / 100) as u8, b, c]);
        }
        _ => many(number, out),
    }
}

/// One of several digits.
fn many(mut number: u64, out: &mut Vec<u8>) {
    let (mut text, mut at) = ([0; 20], 20);
    while number > 9 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&two(number));
        number /= 100;
    }
    if number > 0 {
        at -= 1;
        text[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&text[at..]);
}

/// Seconds with six digits behind the point.
pub(super) fn seconds(time: Duration, out: &mut Vec<u8>) {
    // As it is rounded to the next microsecond.
    let micros = u64::from((time.subsec_nanos() + 500) / 1000);
    digits(time.as_secs() + micros / 1_000_000, out);
    let micros = micros % 1_000_000;
    let ([a, b], [c, d], [e, f]) = (two(micros / 10_000), two(micros / 100), two(micros));
    out.extend_from_slice(&[b'.', a, b, c, d, e, f]);
}

pub(super) fn address(addr: SocketAddr, out: &mut Vec<u8>) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            let (mut text, mut at) = ([0; 16], 0);
            for octet in ip.octets() {
                let (digits, len) = OCTETS[usize::from(octet)];
                text[at..at + 4].copy_from_slice(&digits);
                at += usize::from(len);
            }
            text[at - 1] = b':';
            out.extend_from_slice(&text[..at]);
            digits(u64::from(addr.port()), out);
        }
        IpAddr::V6(_) => out.extend_from_slice(addr.to_string().as_bytes()),
    }
}

/// `2026-11-21T07:10:59.123Z`; times before 1970 are given as 1970, those after 9999 as its end.
pub fn rfc3339(time: SystemTime) -> String {
    let mut out = Vec::with_capacity(24);
    push_rfc3339(time, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

thread_local! {
    /// A second, and what it is called: that of the line before is nearly always that of this one.
    static SECOND: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [0; 20])) };
}

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

pub(super) fn push_rfc3339(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs().min(LAST);
    let (mut known, mut text) = SECOND.get();
    if known != second {
        (known, text) = (second, civil(second));
        SECOND.set((known, text));
    }
    out.extend_from_slice(&text);
    let millis = u64::from(since.subsec_millis());
    let [b, c] = two(millis);
    out.extend_from_slice(&[b'0' + (millis / 100) as u8, b, c, b'Z']);
}

/// `2026-11-21T07:10:59.`
fn civil(since: u64) -> [u8; 20] {
    let (days, second) = ((since / 86_400) as i64, since % 86_400);
    // Days to a civil date (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = (yoe + era * 400 + i64::from(month <= 2)) as u64;
    let mut out = *b"0000-00-00T00:00:00.";
    for (at, number) in [
        (0, year / 100),
        (2, year),
        (5, month as u64),
        (8, day as u64),
        (11, second / 3600),
        (14, second / 60 % 60),
        (17, second % 60),
    ] {
        out[at..at + 2].copy_from_slice(&two(number));
    }
    out
}
