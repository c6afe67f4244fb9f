//! What is printed: lines, JSON, tables; coloured on a terminal, plain elsewhere, and quiet when nobody reads any more.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::UNKNOWN;
use crate::printable::{printable, printable_json};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 32 << 10;

/// Good.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Bad.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// To be looked at.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// Of less weight.
pub(super) const DIM: Style = Style::new().dimmed();
/// Of more weight.
pub(super) const STRONG: Style = Style::new().bold();

/// Why a command ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody reads our output any more: `| head`.
    Closed,
    /// With an exit code and what to say on stderr; nothing more where the message is empty.
    With {
        /// The exit code.
        code: u8,
        /// For people.
        message: String,
    },
}

impl Stop {
    /// With exit code 2.
    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self::With { code: UNKNOWN, message: message.into() }
    }

    /// With exit code 1.
    pub(super) fn no(message: impl Into<String>) -> Self {
        Self::With { code: super::NO, message: message.into() }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::unknown(format!("cannot write: {error}")),
        }
    }
}

/// Standard output.
pub(super) struct Out {
    buffer: String,
    verbosity: i8,
    width: Option<usize>,
}

impl Out {
    /// For this process.
    pub(super) fn new(verbosity: i8) -> Self {
        let width = io::stdout().is_terminal().then(|| terminal_size::terminal_size().map(|(w, _)| usize::from(w.0))).flatten();
        Self { buffer: String::new(), verbosity, width }
    }

    /// Above zero with `-v`, below with `-q`.
    pub(super) fn verbosity(&self) -> i8 {
        self.verbosity
    }

    /// One line.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Stop> {
        self.text(line)?;
        self.text("\n")
    }

    /// A text as it stands; styles in it are left out where they would not be seen.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Stop> {
        self.buffer.push_str(text);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// One JSON object on one line.
    pub(super) fn json(&mut self, value: &Value) -> Result<(), Stop> {
        self.line(&printable_json(&value.to_string()))
    }

    /// One JSON object over several lines.
    pub(super) fn pretty_json(&mut self, value: &Value) -> Result<(), Stop> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Stop::unknown(error.to_string()))?;
        self.line(&printable_json(&text))
    }

    /// Writes what is gathered.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        let text = std::mem::take(&mut self.buffer);
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        Ok(())
    }

    /// Rows under a head, in columns. On a terminal a row that is too long takes two lines, and its last column is cut to
    /// what fits.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<Cell>]) -> Result<(), Stop> {
        let mut widths: Vec<usize> = head.iter().map(|name| name.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let head: Vec<Cell> = head.iter().map(|name| Cell::styled(*name, DIM)).collect();
        for row in std::iter::once(&head).chain(rows) {
            let line = row_line(row, &widths, self.width);
            self.line(&line)?;
        }
        Ok(())
    }
}

impl Out {
    /// One row with columns of at least these widths, for lists that have no end.
    pub(super) fn row(&mut self, row: &[Cell], widths: &[usize]) -> Result<(), Stop> {
        let width = |(index, cell): (usize, &Cell)| widths.get(index).copied().unwrap_or(0).max(cell.text.chars().count());
        let widths: Vec<usize> = row.iter().enumerate().map(width).collect();
        let line = row_line(row, &widths, self.width);
        self.line(&line)
    }
}

/// One cell of a table.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Plain text.
    pub(super) fn plain(text: impl AsRef<str>) -> Self {
        Self::styled(text, Style::new())
    }

    /// With a style.
    pub(super) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: clean(text.as_ref()), style }
    }
}

/// What the last column needs at least to stand beside the others.
const LAST_MIN: usize = 24;
/// How far columns of the second line are set in.
const INDENT: usize = 4;
/// Between columns.
const GAP: usize = 2;

/// How many columns stand in the first line; what does not fit goes into a second one, so that the end of a row, which
/// says why, is never lost in a narrow terminal.
fn in_first_line(widths: &[usize], terminal: Option<usize>) -> usize {
    let Some(terminal) = terminal else { return widths.len() };
    let mut used = 0;
    for (index, width) in widths.iter().enumerate() {
        let begin = if index == 0 { 0 } else { used + GAP };
        let least = if index + 1 == widths.len() { (*width).min(LAST_MIN) } else { *width };
        if begin + least > terminal {
            return index.max(1);
        }
        used = begin + width;
    }
    widths.len()
}

fn row_line(row: &[Cell], widths: &[usize], terminal: Option<usize>) -> String {
    let first = in_first_line(widths, terminal).min(row.len());
    let mut line = part_of_row(&row[..first], widths, terminal);
    let rest = part_of_row(&row[first..], &widths[first..], terminal.map(|terminal| terminal.saturating_sub(INDENT)));
    if !rest.is_empty() {
        line.push('\n');
        line.extend(std::iter::repeat_n(' ', INDENT));
        line.push_str(&rest);
    }
    line
}

/// Columns beside each other; the last one is cut to what fits.
fn part_of_row(row: &[Cell], widths: &[usize], terminal: Option<usize>) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        let last = index + 1 == row.len();
        if index > 0 {
            line.extend(std::iter::repeat_n(' ', GAP));
            used += GAP;
        }
        let length = cell.text.chars().count();
        let room = terminal.map_or(usize::MAX, |terminal| terminal.saturating_sub(used)).max(8);
        let text = if last && length > room { cut(&cell.text, room) } else { cell.text.clone() };
        line.push_str(&paint(cell.style, &text));
        if !last {
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(length)));
        }
        used += width;
    }
    line.trim_end().to_owned()
}

/// At most `max` characters, with an ellipsis where something is missing.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// A text in a style.
pub(super) fn paint(style: Style, text: &str) -> String {
    if style == Style::new() { text.to_owned() } else { format!("{style}{text}{style:#}") }
}

/// A text that came from outside, harmless for a terminal: control characters are written out.
pub(super) fn clean(text: &str) -> String {
    printable(text).into_owned()
}

/// Says what went wrong, on stderr. An empty message was said already.
pub(super) fn complain(message: &str) {
    if !message.is_empty() {
        say(&format!("{}: {message}", paint(BAD, "error")));
    }
}

/// A line on stderr, where it hinders no pipe. When stderr is closed nobody is left to be told.
pub(super) fn say(line: &str) {
    let mut stderr = anstream::stderr().lock();
    drop(writeln!(stderr, "{line}"));
}

/// `1 rule`, `2 rules`.
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_beside_goes_below() {
        let row: Vec<Cell> = ["an-id-of-16-char", "dead", "rule", "a cause that is longer than anything else"].map(Cell::plain).into();
        let widths = [16, 4, 10, 41];
        let lines = |terminal| row_line(&row, &widths, terminal);
        assert_eq!(lines(None), "an-id-of-16-char  dead  rule        a cause that is longer than anything else");
        assert_eq!(lines(Some(77)), lines(None), "it just fits");
        assert_eq!(lines(Some(60)), "an-id-of-16-char  dead  rule        a cause that is longer …");
        assert_eq!(lines(Some(59)), "an-id-of-16-char  dead  rule\n    a cause that is longer than anything else");
        assert_eq!(lines(Some(24)), "an-id-of-16-char  dead\n    rule        a cause…");
        assert_eq!(lines(Some(3)).lines().count(), 2, "never more, and no panic");
        assert_eq!(row_line(&row[..1], &widths[..1], Some(3)), "an-id-o…");
    }

    #[test]
    fn rows_stand_in_columns_and_fit_the_terminal() {
        let row = [Cell::plain("abc"), Cell::plain("a long last column, and more of it, and more")];
        assert_eq!(row_line(&row, &[5, 44], None), "abc    a long last column, and more of it, and more");
        assert_eq!(row_line(&row, &[5, 44], Some(40)), "abc    a long last column, and more of …");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(clean("grün"), "grün");
    }
}
