//! Tables in Markdown, and how numbers are written in them.

use std::fmt;

use crate::measure::{Series, ratio};

/// What stands where there is no number.
const NOTHING: &str = "-";

pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    /// How the columns behind the first are aligned.
    alignment: &'static str,
}

impl Table {
    /// The first column is of words, the others are of numbers.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Table { columns, rows: Vec::new(), alignment: "---:|" }
    }

    /// All columns are of words.
    pub(crate) fn of_words(columns: &[&str]) -> Self {
        Table { alignment: "---|", ..Table::new(columns) }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |", self.columns.join(" | "))?;
        writeln!(f, "|---|{}", self.alignment.repeat(self.columns.len().saturating_sub(1)))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

/// Each contestant against each of the references: median, middle half, and ratios.
pub(crate) fn compared(series: &[Series], references: &[(&str, &str)], show: fn(f64) -> String) -> Table {
    let mut columns = vec!["", "median", "middle half"];
    columns.extend(references.iter().map(|(column, _)| *column));
    let mut table = Table::new(&columns);
    for one in series.iter().filter(|one| one.median().is_some()) {
        let middle = one.quartiles().map(|(low, high)| format!("{} to {}", show(low), show(high)));
        let mut cells = vec![one.name.clone(), or_nothing(one.median().map(show)), or_nothing(middle)];
        for (_, reference) in references {
            cells.push(or_nothing(ratio(series, &one.name, reference).map(times)));
        }
        table.row(cells);
    }
    table
}

/// A line for each that has no number.
pub(crate) fn failures(series: &[Series]) -> Vec<String> {
    series.iter().filter_map(Series::failure).collect()
}

pub(crate) fn or_nothing(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| NOTHING.to_owned())
}

/// Seconds, in microseconds.
pub(crate) fn micros(seconds: f64) -> String {
    format!("{} µs", short(seconds * 1e6))
}

/// Seconds, in nanoseconds.
pub(crate) fn nanos(seconds: f64) -> String {
    format!("{} ns", short(seconds * 1e9))
}

/// A ratio.
pub(crate) fn times(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

/// Three digits or more.
fn short(number: f64) -> String {
    match number {
        number if number < 10.0 => format!("{number:.2}"),
        number if number < 100.0 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, micros, nanos, times};

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["", "a", "b"]);
        table.row(vec!["x".to_owned(), "1".to_owned(), "2".to_owned()]);
        assert_eq!(table.to_string(), "|  | a | b |\n|---|---:|---:|\n| x | 1 | 2 |\n");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([micros(45.6e-6), nanos(1.234e-9), times(1234.4)], ["45.6 µs", "1.23 ns", "1234"]);
    }
}
