//! Which bytes may stand where (RFC 9110 5.1, 5.5, 5.6.2; RFC 9112 3.2), and the reason phrases.
use super::scan::control_at;

/// `tchar` of RFC 9110 5.6.2.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        table[i] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        i += 1;
    }
    table
};

/// Whether this is a token: not empty, every byte a `tchar`.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| TOKEN[*b as usize])
}

/// Whether every byte may stand in a field value: no control but the tab.
pub fn is_value(bytes: &[u8]) -> bool {
    control_at(bytes, 0) == bytes.len()
}

/// Whether this can be a request target: not empty, visible ASCII without `#`.
pub fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| (0x21..=0x7e).contains(b) && *b != b'#')
}

/// The usual reason phrase of a status; empty for one without (RFC 9112 4 allows that).
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_check_agrees_with_the_rule_for_every_byte_at_every_place() {
        for at in 0..17 {
            for b in 0..=255u8 {
                let mut value = [b'a'; 17];
                value[at] = b;
                let rule = b == b'\t' || (b >= 0x20 && b != 0x7f);
                assert_eq!(is_value(&value), rule, "{b:#x} at {at}");
            }
        }
    }
}
