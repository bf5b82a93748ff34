//! Columns for a terminal.
use std::fmt;

/// Rows of text below a head, each column as wide as its widest.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(head: &[&'static str; N]) -> Self {
        Self { head: *head, rows: Vec::new() }
    }
    pub(super) fn row(&mut self, row: [String; N]) {
        self.rows.push(row);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut wide = self.head.map(str::len);
        for row in &self.rows {
            for (wide, cell) in wide.iter_mut().zip(row) {
                *wide = (*wide).max(cell.chars().count());
            }
        }
        let mut line = |cells: &[&str]| {
            let mut out = String::new();
            for (cell, wide) in cells.iter().zip(wide) {
                let pad = wide.saturating_sub(cell.chars().count()) + 2;
                out += cell;
                out.extend(std::iter::repeat_n(' ', pad));
            }
            writeln!(f, "{}", out.trim_end())
        };
        line(&self.head)?;
        self.rows.iter().try_for_each(|row| line(&row.each_ref().map(String::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row(["ü".into(), "1".into()]);
        table.row(["longer".into(), "22".into()]);
        assert_eq!(table.to_string(), "NAME    N\nü       1\nlonger  22\n");
    }
}
