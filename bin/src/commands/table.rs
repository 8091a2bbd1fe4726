/// Rows of cells in columns, for a terminal. Columns only grow, so that a long table may be printed in parts.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    titles: [&'static str; N],
    widths: [usize; N],
    begun: bool,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(titles: [&'static str; N]) -> Self {
        Self { titles, widths: titles.map(|title| title.chars().count()), begun: false }
    }

    /// The text of these rows, under the titles if they are the first.
    pub(crate) fn part(&mut self, rows: &[[String; N]]) -> String {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            text.push_str(&self.line(&self.titles.map(str::to_owned)));
        }
        rows.iter().for_each(|row| text.push_str(&self.line(row)));
        text
    }

    fn line(&self, cells: &[String; N]) -> String {
        let padded = cells.iter().zip(self.widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_titles_from_part_to_part() {
        let mut table = Table::new(["NAME", "JOBS"]);
        let row = |name: &str, jobs: &str| [name.to_owned(), jobs.to_owned()];
        assert_eq!(table.part(&[row("mail", "7"), row("a", "12345")]), "NAME  JOBS\nmail  7\na     12345\n");
        assert_eq!(table.part(&[row("resize", "1"), row("é", "2")]), "resize  1\né       2\n");
    }
}
