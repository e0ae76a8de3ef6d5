//! What goes to standard output: text in columns, JSON, YAML.

use std::io::{ErrorKind, Write as _};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

/// How a command that looks at something shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For programs
    Json,
    /// For programs that people read
    Yaml,
}

/// Shows `value` as `format` says, or else `text`.
pub fn show(format: Option<Format>, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
    match format {
        None => print(&text()),
        Some(Format::Json) => print(&(serde_json::to_string_pretty(value)? + "\n")),
        Some(Format::Yaml) => print(&serde_yaml::to_string(value)?),
    }
}

/// Writes to standard output. Who does not read to the end wanted no more.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Rows in columns, as kubectl sets them; the first row is the header.
pub fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let widths: Vec<usize> =
        (0..COLUMNS).map(|i| rows.iter().map(|row| row[i].width()).max().unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.width() + 3));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `text` broken at blanks into lines of at most `width` columns.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| line.width());
        if line > 0 && line + 1 + word.width() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// What stands for a figure that nobody knows.
pub const UNKNOWN: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_though_an_atsign_is_wide() {
        let rows =
            [["ATSIGN", "READY"], ["@🛠bob", "True"], ["@al", "False"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "ATSIGN   READY\n@🛠bob    True\n@al      False\n");
    }

    #[test]
    fn a_long_sentence_is_broken_at_blanks_only() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 4), ["unbreakable"]);
    }
}
