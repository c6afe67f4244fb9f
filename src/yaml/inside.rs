//! Places inside a string: where the n-th character of a value stands in the file, whatever style it is written in.

use super::{Node, Yaml};
use crate::fault::Place;

impl Node {
    /// Whether a comment follows an unquoted value on its line: perhaps its writer meant the ` #` to belong to it.
    #[must_use]
    pub fn has_comment(&self) -> bool {
        let line = self.place.source.text.lines().nth(self.place.line.saturating_sub(1) as usize).unwrap_or_default();
        let mut here = line.chars().skip(self.place.column.saturating_sub(1) as usize).peekable();
        let unquoted = !matches!(here.peek(), None | Some('"' | '\'' | '|' | '>'));
        unquoted && here.collect::<String>().contains(" #")
    }

    /// The place of a character of a string value (`offset` counts characters from 0); the value's own place where
    /// the spelling in the file cannot be followed (an alias, say).
    #[must_use]
    pub fn place_of(&self, offset: usize) -> Place {
        match &self.value {
            Yaml::Text(value) => follow(&self.place, value, offset).unwrap_or_else(|| self.place.clone()),
            _ => self.place.clone(),
        }
    }
}

/// A cursor over the file's text that knows line and column.
struct Cursor<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
    column: u32,
}

impl Cursor<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    /// Skips a line break with the blanks around it.
    fn skip_break(&mut self) {
        while self.peek().is_some_and(|c| matches!(c, ' ' | '\t' | '\r')) {
            self.next();
        }
        while self.peek().is_some_and(|c| matches!(c, '\n' | ' ' | '\t' | '\r')) {
            self.next();
        }
    }
}

fn follow(place: &Place, value: &str, offset: usize) -> Option<Place> {
    if place.line == 0 {
        return None;
    }
    let text = place.source.text.strip_prefix('\u{feff}').unwrap_or(&place.source.text);
    let line_start = text.split_inclusive('\n').take(place.line as usize - 1).map(str::len).sum::<usize>();
    let line = &text[line_start..];
    let start = line_start + line.char_indices().nth(place.column.max(1) as usize - 1)?.0;
    let mut cursor = Cursor { rest: text[start..].chars().peekable(), line: place.line, column: place.column.max(1) };
    match cursor.peek()? {
        quote @ ('"' | '\'') => {
            cursor.next();
            quoted(&mut cursor, quote, value, offset)?;
        }
        '|' | '>' => {
            // The header's line, then the text as it stands, each line behind its indentation.
            while cursor.next()? != '\n' {}
            plain(&mut cursor, value, offset)?;
        }
        _ => plain(&mut cursor, value, offset)?,
    }
    Some(Place { source: place.source.clone(), line: cursor.line, column: cursor.column, length: 0 })
}

/// Moves over the first `offset` characters of an unquoted or block value.
fn plain(cursor: &mut Cursor<'_>, value: &str, offset: usize) -> Option<()> {
    if cursor.column == 1 {
        skip_indentation(cursor, value.chars().next()?);
    }
    let mut previous_break = false;
    for c in value.chars().take(offset) {
        let found = cursor.peek()?;
        if found == c && c != '\n' {
            cursor.next();
            previous_break = false;
            continue;
        }
        // A line break in the file is a space or a break in the value; several may follow each other.
        if (c != ' ' && c != '\n') || !(previous_break || matches!(found, '\n' | '\r' | ' ' | '\t')) {
            return None;
        }
        cursor.skip_break();
        previous_break = true;
    }
    if cursor.peek() == Some('\n') && value.chars().nth(offset).is_some() {
        cursor.skip_break();
    }
    Some(())
}

fn skip_indentation(cursor: &mut Cursor<'_>, first: char) {
    while cursor.peek().is_some_and(|c| c != first && matches!(c, ' ' | '\n' | '\r')) {
        cursor.next();
    }
}

/// Moves over the first `offset` characters of a quoted value; the opening quote is behind the cursor.
fn quoted(cursor: &mut Cursor<'_>, quote: char, value: &str, offset: usize) -> Option<()> {
    let mut previous_break = false;
    for c in value.chars().take(offset) {
        let found = cursor.peek()?;
        match found {
            '\'' if quote == '\'' => {
                cursor.next();
                cursor.next();
            }
            '\\' if quote == '"' => {
                cursor.next();
                let digits = match cursor.next()? {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                for _ in 0..digits {
                    cursor.next();
                }
            }
            _ if found == c && c != '\n' => {
                cursor.next();
            }
            '\n' | '\r' | ' ' | '\t' => cursor.skip_break(),
            _ if previous_break => {}
            _ => return None,
        }
        previous_break = matches!(found, '\n' | '\r');
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use crate::fault::SourceText;
    use crate::yaml::parse;

    /// The value under `k` holds one `^`; its place must be where the file has it.
    #[test]
    fn a_character_of_a_value_is_found_in_the_file() {
        for text in [
            "k: abc ^ d\n",
            "é: 1\nk: 'it''s ^ d'\n",
            "k: \"a\\\"\\u00e9\\n ^ d\"\n",
            "k: |\n  a\n   b ^\n  c\n",
            "k: |\n  ^\n",
            "k: |-\n  a &&\n  ^\n",
            "k: >\n  a &&\n  b ^\n",
            "k: a\n  b ^ c\n",
            "k: 'a\n  b ^ c'\n",
            "k: \"a\n  b ^ c\"\n",
            "k: [x, \"y^\"]\n",
            "\u{feff}k: é^\n",
        ] {
            let nodes = parse(&Arc::new(SourceText { path: PathBuf::from("t.yaml"), text: text.to_owned() })).expect(text);
            let node = nodes[0].get("k").expect("k");
            let node = node.as_list().map_or(node, |list| &list[1]);
            let offset = node.as_text().expect("text").chars().position(|c| c == '^').expect("a mark");
            let place = node.place_of(offset);
            let line = text.trim_start_matches('\u{feff}').lines().nth(place.line as usize - 1).expect("a line");
            assert_eq!(line.chars().nth(place.column as usize - 1), Some('^'), "{text:?}: {}:{}", place.line, place.column);
        }
    }

    #[test]
    fn an_alias_keeps_its_own_place() {
        let nodes = parse(&Arc::new(SourceText { path: PathBuf::from("t.yaml"), text: "a: &x hello\nb: *x\n".to_owned() })).expect("reads");
        let place = nodes[0].get("b").expect("b").place_of(3);
        assert!(place.line == 2 || place.line == 1);
    }
}
