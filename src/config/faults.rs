//! All problems of one load: bounded, none twice, in the order of the files and their lines.
use super::problem::{At, Problem};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Problems kept of one load; whoever has more has one fault many times.
const KEPT: usize = 1000;

/// Collects problems while the files are read.
#[derive(Debug, Default)]
pub(super) struct Faults {
    kept: Vec<Problem>,
    dropped: usize,
    /// Files in the order they were read, for the order of the problems.
    files: HashMap<Arc<str>, usize>,
    /// Lines with a fault of syntax: what was recovered of them is not worth a second problem.
    torn: HashSet<(Arc<str>, u32)>,
    /// Whether an included file is not there.
    lacking: bool,
    /// Whether a key that nobody asked for may be one that says where the proxy is.
    astray: bool,
}

impl Faults {
    /// A file that is read.
    pub(super) fn file(&mut self, name: &Arc<str>) {
        let next = self.files.len();
        self.files.entry(name.clone()).or_insert(next);
    }

    /// A fault of syntax: the document is no longer what was meant.
    pub(super) fn syntax(&mut self, problem: Problem) {
        self.torn.insert((problem.at.file.clone(), problem.at.line));
        self.keep(problem);
    }

    /// A fault of meaning.
    pub(super) fn push(&mut self, problem: Problem) {
        if !self.torn.contains(&(problem.at.file.clone(), problem.at.line)) {
            self.keep(problem);
        }
    }

    fn keep(&mut self, problem: Problem) {
        if self.kept.len() < KEPT { self.kept.push(problem) } else { self.dropped += 1 }
    }

    /// Whether a file has a fault of syntax, so that what is absent may only have been lost.
    pub(super) fn is_torn(&self) -> bool {
        !self.torn.is_empty()
    }

    /// An included file could not be read.
    pub(super) fn lacks_a_file(&mut self) {
        self.lacking = true;
    }

    /// A key that nobody asked for says, or may be meant to say, where the proxy is.
    pub(super) fn strays(&mut self) {
        self.astray = true;
    }

    /// Whether there is such a key, kept as a problem or not.
    pub(super) fn is_astray(&self) -> bool {
        self.astray
    }

    /// Whether every file was read, so that a name that is not there is nowhere.
    pub(super) fn is_whole(&self) -> bool {
        self.torn.is_empty() && !self.lacking
    }

    /// All of them in order; empty when there is none.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let place = |p: &Problem| {
            let file = self.files.get(&p.at.file).copied().unwrap_or(usize::MAX);
            (file, p.at.line, p.at.column)
        };
        self.kept.sort_by_key(place);
        // Places are always equal to `==`, so they are compared here.
        self.kept.dedup_by(|a, b| place(a) == place(b) && a == b);
        if self.dropped > 0 {
            let what = format!("and {} more problems", self.dropped);
            self.kept.push(Problem::new(&At::default(), "", what));
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_bounded_ordered_and_said_once() {
        let mut faults = Faults::default();
        let file: Arc<str> = "b".into();
        faults.file(&file);
        faults.file(&"a".into());
        for line in (0..2000).rev() {
            let at = At { file: file.clone(), line: line / 2 + 1, column: 1 };
            faults.push(Problem::new(&at, "k", "wrong"));
        }
        let all = faults.finish();
        assert_eq!(all.len(), 501);
        assert!(all[..500].windows(2).all(|w| w[0].at.line < w[1].at.line));
        assert_eq!(all[500].what, "and 1000 more problems");
    }
}
