//! Aligned columns for people. A cell is one line and cannot paint the terminal, whoever chose
//! its text: control characters are shown escaped.

use super::output;

/// Prints rows below a header; without rows, a sentence with the next command instead.
pub(crate) fn print(header: &[&str], rows: &[Vec<String>], empty: &str) {
    if rows.is_empty() {
        output::note(empty);
    } else {
        output::bytes(layout(header, rows).as_bytes());
    }
}

fn layout(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| visible(cell)).collect())
        .collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            std::iter::once(&header)
                .chain(&rows)
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&header).chain(&rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn visible(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for character in cell.chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["tienda".to_owned(), "v1".to_owned()],
            vec!["añil".to_owned(), String::new()],
        ];
        assert_eq!(
            layout(&["APP", "RELEASE"], &rows),
            "APP     RELEASE\ntienda  v1\nañil\n"
        );
    }

    #[test]
    fn a_cell_is_one_line() {
        let rows = [vec!["a\nb\u{1b}[2J".to_owned(), "it's".to_owned()]];
        assert_eq!(
            layout(&["NAME", "VALUE"], &rows),
            "NAME           VALUE\na\\nb\\u{1b}[2J  it's\n"
        );
    }
}
