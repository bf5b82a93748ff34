//! Columns for a width: names get what is left, and what matters least goes first. Pure.
use super::seen::cut;

/// A column beside that of the names.
struct Column {
    title: &'static str,
    wide: usize,
    is_left: bool,
    /// Who goes first where there is too little room; 0 never goes.
    goes: u8,
}

const fn column(title: &'static str, wide: usize, goes: u8) -> Column {
    Column { title, wide, is_left: false, goes }
}

const COLUMNS: [Column; 7] = [
    Column { is_left: true, ..column("STATE", 12, 5) },
    column("WEIGHT", 6, 1),
    column("ACTIVE", 6, 2),
    column("REQ/S", 8, 4),
    column("ERRORS", 6, 3),
    column("P50 MS", 7, 0),
    column("P99 MS", 7, 0),
];

/// What stands before each line.
const MARK: usize = 2;
/// Names are not cut shorter while a column may still go.
const LEAST: usize = 12;

/// Which columns there are, and how wide names may be.
pub(super) struct Layout {
    name: usize,
    columns: Vec<usize>,
}

impl Layout {
    /// For a width and the longest name.
    pub(super) fn new(wide: usize, longest: usize) -> Self {
        let name = longest.max("BACKEND".len());
        let mut columns: Vec<usize> = (0..COLUMNS.len()).collect();
        let taken = |columns: &[usize]| {
            MARK + columns.iter().map(|at| COLUMNS[*at].wide + 1).sum::<usize>()
        };
        let goes = |at: &usize| COLUMNS[*at].goes;
        while taken(&columns).saturating_add(name.min(LEAST)) > wide
            && let Some(next) = columns.iter().map(goes).filter(|goes| *goes > 0).min()
        {
            columns.retain(|at| goes(at) != next);
        }
        let left = wide.saturating_sub(taken(&columns));
        Self { name: name.min(left.max(1)), columns }
    }

    pub(super) fn title(&self) -> String {
        self.line(' ', "BACKEND", &COLUMNS.each_ref().map(|column| column.title.to_string()))
    }

    /// A line of cells in the order of `COLUMNS`.
    pub(super) fn line(&self, mark: char, name: &str, cells: &[String; COLUMNS.len()]) -> String {
        let mut line = format!("{mark} {:<1$}", self.short(name), self.name);
        for at in &self.columns {
            let (Column { wide, is_left, .. }, cell) = (&COLUMNS[*at], &cells[*at]);
            line += &match is_left {
                true => format!(" {cell:<wide$}"),
                false => format!(" {cell:>wide$}"),
            };
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// A name that is too long ends with an ellipsis.
    fn short(&self, name: &str) -> String {
        let whole = cut(name, usize::MAX);
        if whole.chars().count() <= self.name {
            return whole;
        }
        let kept: String = whole.chars().take(self.name - 1).collect();
        format!("{kept}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells() -> [String; COLUMNS.len()] {
        ["slow_start", "1000", "12345", "123456", "100.0%", "12345", "12345"].map(Into::into)
    }

    #[test]
    fn eighty_columns_have_all_of_it_and_each_width_what_is_asked_first() {
        for (wide, gone) in [
            (80, vec![]),
            (75, vec![]),
            (66, vec!["WEIGHT"]),
            (60, vec!["WEIGHT", "ACTIVE"]),
            (53, vec!["WEIGHT", "ACTIVE", "ERRORS"]),
            (45, vec!["WEIGHT", "ACTIVE", "ERRORS", "REQ/S"]),
            (34, vec!["WEIGHT", "ACTIVE", "ERRORS", "REQ/S", "STATE"]),
        ] {
            let layout = Layout::new(wide, 60);
            let title = layout.title();
            assert_eq!(title.chars().count(), wide, "{title}");
            for Column { title: word, .. } in &COLUMNS {
                assert_eq!(title.contains(word), !gone.contains(word), "{wide}: {title}");
            }
            let line = layout.line('>', &"n".repeat(60), &cells());
            assert_eq!(line.chars().count(), wide, "{line}");
            assert!(line.contains("n…") && line.ends_with("12345   12345"), "{line}");
        }
    }

    #[test]
    fn short_names_take_no_more_room_than_they_need() {
        let layout = Layout::new(80, 5);
        assert_eq!(
            layout.line(' ', "  app", &cells()),
            "    app   slow_start     1000  12345   123456 100.0%   12345   12345"
        );
        let whole = Layout::new(usize::MAX, 100);
        assert!(whole.line(' ', &"n".repeat(100), &cells()).contains(&"n".repeat(100)));
    }

    #[test]
    fn no_width_is_too_small() {
        for wide in 0..40 {
            let layout = Layout::new(wide, 10);
            assert!(layout.title().contains("P99 MS"), "{wide}: whoever draws it cuts it");
            assert!(layout.line(' ', "  name", &cells()).contains("12345"));
        }
    }
}
