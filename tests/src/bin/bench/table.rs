//! Plain tables on standard output.

/// Rows of text under a heading; the first column is left-aligned, the others right-aligned.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table under these column headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it, with an empty line after it.
    pub(crate) fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.rows {
            let line: String = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(
                    |(index, (cell, &width))| {
                        if index == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") }
                    },
                )
                .collect::<Vec<_>>()
                .concat();
            println!("{}", line.trim_end());
        }
        println!();
    }
}
