//! A bar on a terminal for what takes longer than a second.
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is done faster than this needs no bar.
const AFTER: Duration = Duration::from_secs(1);
const WIDE: usize = 30;

/// Shows how much of something is left.
#[derive(Debug)]
pub(super) struct Progress {
    what: String,
    most: u64,
    begun: Instant,
    /// Whether standard error is a terminal.
    terminal: bool,
    shown: bool,
}

impl Progress {
    pub(super) fn new(what: &str, most: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { what: what.into(), most, begun: Instant::now(), terminal, shown: false }
    }

    /// So much is left; `ends`: when the rest is cut.
    pub(super) fn show(&mut self, left: u64, ends: Option<&str>) {
        self.most = self.most.max(left);
        if !self.terminal || self.begun.elapsed() < AFTER {
            return;
        }
        self.shown = true;
        eprint!("\r\u{1b}[K{}", bar(&self.what, left, self.most, ends));
        let _ = std::io::stderr().flush();
    }

    /// Takes the bar away.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\u{1b}[K");
        }
    }
}

fn bar(what: &str, left: u64, most: u64, ends: Option<&str>) -> String {
    let done = (most - left.min(most)) as usize * WIDE / (most.max(1) as usize);
    let ends = ends.map_or_else(String::new, |at| format!(", cut at {at}"));
    format!("{what} [{}{}] {left} of {most} left{ends}", "#".repeat(done), ".".repeat(WIDE - done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_as_it_empties() {
        let at = |left, most| bar("x", left, most, None);
        assert_eq!(at(0, 0), format!("x [{}] 0 of 0 left", ".".repeat(30)));
        assert_eq!(at(5, 10), format!("x [{}{}] 5 of 10 left", "#".repeat(15), ".".repeat(15)));
        assert!(bar("x", 1, 2, Some("12:00")).ends_with("1 of 2 left, cut at 12:00"));
    }
}
