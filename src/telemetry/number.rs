//! Numbers, times and addresses as text, without `fmt`.
use super::room::Line;
use crate::message::ONES;
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

/// The eight digits of a number below 10^8, each a byte, the first one lowest: halves, pairs and
/// digits are parted side by side in one word, by a multiplication each.
#[inline(always)]
fn eight(number: u32) -> u64 {
    let halves = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | (halves - hundreds * 100) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - tens * 10) << 8
}

/// A number.
#[inline(always)]
pub(super) fn digits(number: u64, line: &mut Line<'_>) {
    match number {
        0..10 => line.put(&[b'0' + number as u8]),
        10..100_000_000 => {
            let digits = eight(number as u32);
            let zeros = digits.trailing_zeros() & !7;
            let text = (digits + 0x30 * ONES) >> zeros;
            line.put_first(8 - zeros as usize / 8, text.to_le_bytes());
        }
        _ => many(number, line),
    }
}

/// One of more digits.
#[cold]
fn many(number: u64, line: &mut Line<'_>) {
    digits(number / 100_000_000, line);
    let rest = eight((number % 100_000_000) as u32);
    line.put(&(rest + 0x30 * ONES).to_le_bytes());
}

/// Seconds with six digits behind the point.
#[inline(always)]
pub(super) fn seconds(time: Duration, line: &mut Line<'_>) {
    // As it is rounded to the next microsecond.
    let micros = (time.subsec_nanos() + 500) / 1000;
    let (second, micros) = (time.as_secs() + u64::from(micros / 1_000_000), micros % 1_000_000);
    let mut text = (eight(micros) + 0x30 * ONES).to_le_bytes();
    text[1] = b'.';
    if second < 10 {
        text[0] += second as u8;
        line.put(&text);
    } else {
        digits(second, line);
        line.put(&text[1..]);
    }
}

#[inline(always)]
pub(super) fn address(addr: SocketAddr, line: &mut Line<'_>) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            let (mut text, mut at) = ([0; 16], 0);
            for octet in ip.octets() {
                let (digits, len) = OCTETS[usize::from(octet)];
                text[at..at + 4].copy_from_slice(&digits);
                at += usize::from(len);
            }
            text[at - 1] = b':';
            line.put_first(at, text);
            digits(u64::from(addr.port()), line);
        }
        IpAddr::V6(_) => line.put(addr.to_string().as_bytes()),
    }
}

/// `2026-11-21T07:10:59.123Z`; times before 1970 are given as 1970, those after 9999 as its end.
pub fn rfc3339(time: SystemTime) -> String {
    let text = moment(time.duration_since(UNIX_EPOCH).unwrap_or_default());
    String::from_utf8_lossy(&text).into_owned()
}

/// The same of a time since 1970.
#[inline(always)]
pub(super) fn time(since: Duration, line: &mut Line<'_>) {
    line.put(&moment(since));
}

thread_local! {
    /// A second, and its text: that of the line before is nearly always that of this one.
    static SECOND: Cell<(u64, [u8; 24])> = const { Cell::new((u64::MAX, [0; 24])) };
}

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

#[inline(always)]
fn moment(since: Duration) -> [u8; 24] {
    let second = since.as_secs().min(LAST);
    let (known, mut text) = SECOND.get();
    if known != second {
        text = civil(second);
        SECOND.set((second, text));
    }
    let millis = u64::from(since.subsec_millis());
    text[20] = b'0' + (millis / 100) as u8;
    text[21..23].copy_from_slice(&two(millis));
    text
}

/// `2026-11-21T07:10:59.000Z`
#[cold]
fn civil(since: u64) -> [u8; 24] {
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
    let mut out = *b"0000-00-00T00:00:00.000Z";
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
