//! The terminal: every key at once, the whole of it to draw on, and as it was when this is dropped.
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
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let screen = Self { before };
        // The other screen, without a cursor.
        write!(io::stdout(), "\u{1b}[?1049h\u{1b}[?25l")?;
        let (tell, keys) = mpsc::channel(KEYS);
        // Ends with the process: a read of a terminal cannot be given up.
        std::thread::Builder::new().name("keys".into()).spawn(move || {
            let mut bytes = [0; 8];
            while let Ok(n @ 1..) = io::stdin().read(&mut bytes) {
                if read(&bytes[..n]).is_some_and(|key| tell.blocking_send(key).is_err()) {
                    return;
                }
            }
        })?;
        Ok((screen, keys))
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
        let _ = write!(io::stdout(), "\u{1b}[?25h\u{1b}[?1049l");
        let _ = io::stdout().flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The key of what a terminal sends for it.
fn read(bytes: &[u8]) -> Option<Key> {
    Some(match bytes {
        b"\x1b[A" | b"\x1bOA" | b"k" => Key::Up,
        b"\x1b[B" | b"\x1bOB" | b"j" => Key::Down,
        b"d" => Key::Drain,
        b"u" => Key::Undrain,
        b"q" | b"\x03" | b"\x1b" => Key::Quit,
        _ => return None,
    })
}
