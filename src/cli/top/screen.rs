//! The terminal: every key at once, the whole of it to draw on, and as it was when this is dropped.
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, Read, Write};
use tokio::sync::mpsc;

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Drain,
    Undrain,
    /// Ctrl-Z.
    Stop,
    Quit,
}

/// Keys that wait to be heard: nobody types faster.
const KEYS: usize = 16;

/// A terminal that is drawn on.
pub(super) struct Screen {
    before: Termios,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> io::Result<(Self, mpsc::Receiver<Key>)> {
        let screen = Self { before: tcgetattr(io::stdin())? };
        screen.take()?;
        let (tell, keys) = mpsc::channel(KEYS);
        // Ends with the process: a read of a terminal cannot be given up.
        std::thread::Builder::new().name("keys".into()).spawn(move || {
            let mut bytes = [0; 8];
            while let Ok(n @ 1..) = io::stdin().read(&mut bytes) {
                if read(&bytes[..n]).into_iter().any(|key| tell.blocking_send(key).is_err()) {
                    return;
                }
            }
        })?;
        Ok((screen, keys))
    }

    /// Takes it, again where somebody else had it in the meantime.
    pub(super) fn take(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        // The other screen, without a cursor.
        write!(io::stdout(), "\u{1b}[?1049h\u{1b}[?25l")
    }

    fn give_back(&self) {
        let _ = write!(io::stdout(), "\u{1b}[?25h\u{1b}[?1049l");
        let _ = io::stdout().flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }

    /// Stops the process, the terminal as it was, until it is told to go on.
    pub(super) fn stop(&self) -> io::Result<()> {
        self.give_back();
        kill_process(getpid(), Signal::STOP)?;
        self.take()
    }

    /// Draws lines for its width and height.
    pub(super) fn draw(
        &mut self,
        lines: impl FnOnce(usize, usize) -> Vec<String>,
    ) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout())?;
        // A terminal that does not know its size is one of the old.
        let or = |n: u16, usual: usize| if n == 0 { usual } else { usize::from(n) };
        let (wide, high) = (or(size.ws_col, 80), or(size.ws_row, 24));
        let mut out = String::from("\u{1b}[H");
        for (n, line) in lines(wide, high).iter().take(high).enumerate() {
            out += if n == 0 { "" } else { "\r\n" };
            out += line;
            out += "\u{1b}[K";
        }
        out += "\u{1b}[J";
        io::stdout().write_all(out.as_bytes())?;
        io::stdout().flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The keys of what a terminal sends: several where somebody types fast.
fn read(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    loop {
        let key;
        (key, bytes) = match bytes {
            [0x1b, b'[' | b'O', b'A', rest @ ..] | [b'k', rest @ ..] => (Key::Up, rest),
            [0x1b, b'[' | b'O', b'B', rest @ ..] | [b'j', rest @ ..] => (Key::Down, rest),
            [b'd', rest @ ..] => (Key::Drain, rest),
            [b'u', rest @ ..] => (Key::Undrain, rest),
            [0x1a, rest @ ..] => (Key::Stop, rest),
            [b'q' | 0x03, ..] | [0x1b] => (Key::Quit, &[][..]),
            // Another key that sends more than one byte.
            [0x1b, ..] | [] => return keys,
            [_, rest @ ..] => {
                bytes = rest;
                continue;
            }
        };
        keys.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_however_fast_they_come() {
        assert_eq!(read(b"\x1b[A\x1bOBkj"), [Key::Up, Key::Down, Key::Up, Key::Down]);
        assert_eq!(read(b"xd u\x1a"), [Key::Drain, Key::Undrain, Key::Stop]);
        for quit in [&b"q"[..], b"\x03", b"\x1b", b"qd"] {
            assert_eq!(read(quit), [Key::Quit]);
        }
        assert_eq!(read(b"\x1b[5~dd"), [], "what is not known is not guessed");
    }
}
