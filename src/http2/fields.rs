//! Fields as they come by HTTP/2, as strictly as those of HTTP/1, and as they go; trailers both ways.
use super::hpack::{Encoder, Judged, Keep, Stop};
use crate::http1::{Refusal, Rule, may_trail};
use crate::message::{Fields, HIGH, Known, ONES, all_words, control_at};

/// Fields that say something of an HTTP/1 connection: HTTP/2 has none of them (RFC 9113 8.2.2).
pub(super) const CONNECTION: u64 = Known::Connection.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::TransferEncoding.bit()
    | Known::Upgrade.bit();

/// Secrets that are kept out of the table which all requests of a connection share (RFC 7541 7.1).
const SECRET: u64 =
    Known::Authorization.bit() | Known::ProxyAuthorization.bit() | Known::Cookie.bit();

/// What hardly any other message says again.
const UNIQUE: u64 = Known::XRequestId.bit()
    | Known::ContentLength.bit()
    | Known::ContentRange.bit()
    | Known::SetCookie.bit()
    | Known::Location.bit();

/// What a line of HTTP/1 has besides its name and its value.
pub(super) const LINE: usize = ": \r\n".len();

/// Whoever is told of the fields of a block.
pub trait Listen {
    /// The next field, and what was found of it before.
    ///
    /// # Errors
    ///
    /// [`Stop`]: it is enough.
    fn field(&mut self, name: &[u8], value: &[u8], judged: &mut Judged) -> Result<(), Stop>;
}

/// Counts what a list of fields is (RFC 9113 6.5.2), of whatever kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound(pub(super) usize);

impl Bound {
    /// What a field counts for besides its name and value.
    const FIELD: usize = 32;

    /// One more.
    #[inline]
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Stop> {
        self.0 = self.0.checked_sub(name.len() + value.len() + Self::FIELD).ok_or(Stop)?;
        Ok(())
    }
}

/// Of a list that nobody wants.
impl Listen for Bound {
    fn field(&mut self, name: &[u8], value: &[u8], _: &mut Judged) -> Result<(), Stop> {
        Bound::field(self, name, value)
    }
}

/// What may stand in a name: a token without capitals (RFC 9113 8.2.1).
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        table[i] = b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || matches!(b, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
            || matches!(b, b'^' | b'_' | b'`' | b'|' | b'~');
        i += 1;
    }
    table
};

/// Whether these are small letters and dashes, as most names are. `false` where that is not known at a
/// glance.
#[inline]
fn is_plain(name: &[u8]) -> bool {
    all_words(name, |word| {
        // No byte has its highest bit, so that no sum reaches into the next one.
        let from_a = word.wrapping_add((0x80 - u64::from(b'a')) * ONES);
        let above_z = word.wrapping_add((0x7f - u64::from(b'z')) * ONES);
        let other = word ^ (u64::from(b'-') * ONES);
        let is_dash = !(other.wrapping_add(0x7f * ONES) | other);
        word & HIGH == 0 && ((from_a & !above_z) | is_dash) & HIGH == HIGH
    })
}

/// Whether no byte is a control, not even a tab. `false` where that is not known at a glance.
#[inline]
fn has_no_control(value: &[u8]) -> bool {
    all_words(value, |word| {
        let below = word.wrapping_sub(0x20 * ONES) & !word;
        let delete = word ^ (0x7f * ONES);
        let delete = delete.wrapping_sub(ONES) & !delete;
        (below | delete) & HIGH == 0
    })
}

/// Whether a field may be there; the number of its name. What was found good before is not looked at
/// again.
#[inline]
pub(super) fn check(name: &[u8], value: &[u8], judged: &mut Judged) -> Result<u8, Rule> {
    let known = match judged.name {
        Some(known) => known,
        None => *judged.name.insert(check_name(name)?),
    };
    if !judged.value {
        check_value(value)?;
        judged.value = true;
    }
    const TE: u64 = Known::Te.bit();
    if (CONNECTION | TE) & (1 << known) != 0 && (known != Known::Te as u8 || value != b"trailers") {
        return Err(Rule::ConnectionField);
    }
    Ok(known)
}

fn check_name(name: &[u8]) -> Result<u8, Rule> {
    let good = is_plain(name) || name.iter().all(|b| NAME[usize::from(*b)]);
    if name.is_empty() || !good || name.len() > usize::from(u16::MAX) {
        return Err(Rule::FieldName);
    }
    Ok(Known::number(name))
}

/// Space around a value may not be there (RFC 9113 8.2.1).
fn check_value(value: &[u8]) -> Result<(), Rule> {
    let is_space = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    let clean = has_no_control(value) || control_at(value, 0) == value.len();
    if !clean || is_space(value.first()) || is_space(value.last()) {
        return Err(Rule::FieldValue);
    }
    Ok(())
}

/// Trailers as they come.
#[derive(Debug)]
pub(super) struct Trailing {
    pub(super) fields: Fields,
    pub(super) refused: Option<Refusal>,
    pub(super) bound: Bound,
}

impl Trailing {
    pub(super) fn new(bound: Bound) -> Self {
        Self { fields: Fields::new(), refused: None, bound }
    }
}

impl Listen for Trailing {
    fn field(&mut self, name: &[u8], value: &[u8], judged: &mut Judged) -> Result<(), Stop> {
        self.bound.field(name, value)?;
        match check(name, value, judged) {
            Ok(known) => self.fields.push_checked(name, known, value),
            Err(rule) => drop(self.refused.get_or_insert(rule.into())),
        }
        Ok(())
    }
}

/// Judges trailers that came: `most` bytes, counted as lines of HTTP/1, and `count` fields at the
/// most.
///
/// # Errors
///
/// [`Refusal`] for too many.
pub fn trailers_fit(fields: &Fields, most: usize, count: usize) -> Result<(), Refusal> {
    if fields.bytes().len() > most {
        return Err(Rule::TrailersTooLarge.into());
    }
    if fields.len() > count { Err(Rule::TooManyFields.into()) } else { Ok(()) }
}

/// Whether a trailer goes on, to a client or to a backend.
fn passes(name: &[u8], known: Option<Known>) -> bool {
    known.is_none_or(|known| CONNECTION & known.bit() == 0) && may_trail(name, known)
}

/// Those trailers that may go on; `None` where none may.
pub fn passing(trailers: Option<&Fields>) -> Option<&Fields> {
    trailers.filter(|fields| fields.lines().any(|(name, known, _)| passes(name, known)))
}

/// Writes trailers as they go on.
pub fn trailers(fields: &Fields, out: &mut Encoder) {
    for (name, known, value) in fields.lines() {
        if passes(name, known) {
            field(name, known, &fields.bytes()[value], out);
        }
    }
}

/// Writes every field but those of `skip` (a set of [`Known::bit`]s), in order.
pub(super) fn all(fields: &Fields, skip: u64, out: &mut Encoder) {
    for (name, known, value) in fields.lines() {
        if known.is_none_or(|known| skip & known.bit() == 0) {
            field(name, known, &fields.bytes()[value], out);
        }
    }
}

#[inline]
fn field(name: &[u8], known: Option<Known>, value: &[u8], out: &mut Encoder) {
    let bit = known.map_or(0, Known::bit);
    let keep = match bit {
        _ if (SECRET | UNIQUE) & bit == 0 => Keep::Again,
        _ if SECRET & bit != 0 => Keep::Secret,
        _ => Keep::Never,
    };
    out.field(name, known, value, keep);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_judged_the_same_wherever_it_stands() {
        for len in 1..20 {
            for at in 0..len {
                for byte in 0..=255u8 {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    let is_name = NAME[usize::from(byte)];
                    let good = |name: &[u8], value: &[u8]| {
                        check(name, value, &mut Judged::default()).is_ok()
                    };
                    assert_eq!(good(&text, b"1"), is_name, "{byte:#x} at {at} of {len}");
                    let inside = 0 < at && at < len - 1;
                    let space = matches!(byte, b' ' | b'\t') && inside;
                    let is_value = space || (byte > 0x20 && byte != 0x7f);
                    assert_eq!(good(b"x-a", &text), is_value, "{byte:#x} at {at} of {len}");
                }
            }
        }
    }
}
