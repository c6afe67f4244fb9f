//! JSON as deliveries carry it, read strictly: what would silently lose something is said with its place.
//!
//! Duplicate keys are errors, one byte order mark is skipped, depth is bounded by the parser, UTF-16 is named. An
//! integer that no 64-bit number holds is kept as the nearest decimal and reported.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::event::{Fields, Problem, Tree};

/// How much of a key or number is repeated in a message, in characters.
const EXCERPT_MAX: usize = 48;

/// From here on a decimal may be an integer that was rounded: 2^63.
const MAYBE_ROUNDED: f64 = 9_223_372_036_854_775_808.0;

/// An object with this many fields has its names hashed, to find one that comes twice.
const HASHED_FROM: usize = 24;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
thread_local! {
    static READS: Cell<usize> = const { Cell::new(0) };
}

/// How many texts this thread has read.
#[cfg(test)]
pub(crate) fn reads() -> usize {
    READS.get()
}

/// Reads one JSON text. The second value says which integer was rounded, if one was.
pub(super) fn read(text: &[u8]) -> Result<(Tree<'_>, Option<Problem>), Problem> {
    #[cfg(test)]
    READS.set(READS.get() + 1);
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem { message: "the body is empty; expected a JSON object".to_owned(), line: 1, column: 1 });
    }
    if looks_like_utf16(text) {
        return Err(Problem { message: "the body is UTF-16; expected UTF-8".to_owned(), line: 1, column: 1 });
    }
    let rounded = Cell::new(false);
    let strict = Strict { rounded: &rounded };
    let tree = match std::str::from_utf8(text) {
        // Looked at once as a whole: the parser need not do it for every string.
        Ok(text) => tree(serde_json::Deserializer::from_str(text), strict),
        Err(_) => tree(serde_json::Deserializer::from_slice(text), strict),
    };
    let value = tree.map_err(|error| problem(text, &error))?;
    let problem = if rounded.get() { rounded_integer(text) } else { None };
    Ok((value, problem))
}

fn tree<'t, R: serde_json::de::Read<'t>>(
    mut parser: serde_json::Deserializer<R>,
    strict: Strict<'_>,
) -> Result<Tree<'t>, serde_json::Error> {
    let tree = strict.deserialize(&mut parser)?;
    parser.end().map(|()| tree)
}

/// That a value is no object, and where it begins.
pub(super) fn not_an_object(text: &[u8], value: &Tree<'_>) -> Problem {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let what = match value {
        Tree::Null => "null",
        Tree::Bool(_) => "true or false",
        Tree::Number(_) => "a number",
        Tree::Text(_) => "a string",
        Tree::List(_) => "an array",
        Tree::Object(_) => "an object",
    };
    let begin = text.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    let (line, column) = place(text, begin);
    Problem { message: format!("the body is {what}; expected an object"), line, column }
}

fn looks_like_utf16(text: &[u8]) -> bool {
    matches!(text, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'{' | b'[' | b'"', ..] | [b'{' | b'[' | b'"', 0, ..])
}

/// An error of the parser in our words and with columns in characters.
fn problem(text: &[u8], error: &serde_json::Error) -> Problem {
    let full = error.to_string();
    let message = full.rfind(" at line ").map_or(full.as_str(), |cut| &full[..cut]).to_owned();
    let line_start = text.split(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(|line| line.len() + 1).sum::<usize>();
    // Column 0 means the line break before it.
    let mut at = (line_start + error.column()).saturating_sub(1).min(text.len());
    if message.starts_with("duplicate key") {
        at = begin_of_string(text, at);
    }
    let (line, column) = place(text, at);
    Problem { message, line, column }
}

/// The opening quote of the string whose closing quote is at or before `end`.
fn begin_of_string(text: &[u8], end: usize) -> usize {
    let Some(close) = text[..(end + 1).min(text.len())].iter().rposition(|b| *b == b'"') else { return end };
    let escaped = |at: usize| text[..at].iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1;
    (0..close).rev().find(|at| text[*at] == b'"' && !escaped(*at)).unwrap_or(end)
}

/// Line and column of a byte, both from 1, columns in characters.
fn place(text: &[u8], at: usize) -> (u32, u32) {
    let before = &text[..at.min(text.len())];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before[line_start..].iter().filter(|b| **b & 0xc0 != 0x80).count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Finds the first integer in a valid text that became another number.
fn rounded_integer(text: &[u8]) -> Option<Problem> {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => {
                at += 1;
                while at < text.len() && text[at] != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let end = text[at..].iter().position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
                let token = std::str::from_utf8(&text[at..end.map_or(text.len(), |n| at + n)]).unwrap_or_default();
                if is_rounded(token) {
                    let (line, column) = place(text, at);
                    let message = format!(
                        "the integer `{}` has more digits than 64 bits hold; rules see the nearest decimal instead",
                        excerpt(token)
                    );
                    return Some(Problem { message, line, column });
                }
                at += token.len().max(1);
            }
            _ => at += 1,
        }
    }
    None
}

fn is_rounded(token: &str) -> bool {
    let integer = !token.contains(['.', 'e', 'E']);
    integer
        && token.parse::<i64>().is_err()
        && token.parse::<u64>().is_err()
        && token.parse::<f64>().is_ok_and(|nearest| format!("{nearest:.0}") != token)
}

fn excerpt(text: &str) -> String {
    let mut cut: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(EXCERPT_MAX).collect();
    if text.chars().nth(EXCERPT_MAX).is_some() {
        cut.push('…');
    }
    cut
}

/// Builds a [`Tree`] and refuses a key that an object has already.
#[derive(Clone, Copy)]
struct Strict<'a> {
    rounded: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Tree<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Tree<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Tree<'de>, E> {
        Ok(Tree::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Tree<'de>, E> {
        Ok(Tree::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Tree<'de>, E> {
        Ok(Tree::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Tree<'de>, E> {
        Ok(Tree::Number(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Tree<'de>, E> {
        if value.abs() >= MAYBE_ROUNDED {
            self.rounded.set(true);
        }
        Number::from_f64(value).map(Tree::Number).ok_or_else(|| E::custom("number out of range"))
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Tree<'de>, E> {
        Ok(Tree::Text(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Tree<'de>, E> {
        Ok(Tree::Text(Cow::Owned(value.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree<'de>, A::Error> {
        let mut fields = Fields::default();
        // Few names are compared one by one; many are hashed, so that their number does not count twice.
        let mut names: Option<HashSet<Cow<'de, str>>> = None;
        while let Some(name) = entries.next_key_seed(Name)? {
            if names.is_none() && fields.iter().len() >= HASHED_FROM {
                names = Some(fields.iter().map(|(name, _)| name.clone()).collect());
            }
            let known = match &mut names {
                None => fields.get(&name).is_some(),
                Some(names) => !names.insert(name.clone()),
            };
            if known {
                return Err(A::Error::custom(format_args!("duplicate key `{}`", excerpt(&name))));
            }
            fields.push(name, entries.next_value_seed(self)?);
        }
        Ok(Tree::Object(fields))
    }
}

/// Reads the name of a field without copying it, unless it is escaped.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }
    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem_of(text: &str) -> (String, u32, u32) {
        let problem = read(text.as_bytes()).expect_err(text);
        (problem.message, problem.line, problem.column)
    }

    #[test]
    fn what_is_no_json_is_said_with_its_place() {
        for text in [
            "hello",
            "{\"a\":1",
            "{} {}",
            "{\"a\":1,}",
            "{\"a\":1 // x\n}",
            "{'a':1}",
            "{\"a\":NaN}",
            "{\"a\":0x1}",
            "{\"a\":01}",
            "[1,]",
            "\"\\ud800\"",
            "1e400",
            "{\"a\":\"\n\"}",
            "",
        ] {
            let (message, line, column) = problem_of(text);
            assert!(!message.is_empty() && !message.contains(" at line "), "{text}: {message}");
            assert!(line >= 1 && column >= 1, "{text}: {line}:{column}");
        }
        assert_eq!(problem_of("{\n  \"a\": tru\n}"), ("expected ident".to_owned(), 2, 11));
        assert_eq!(problem_of("{\"é\": x}").2, 7, "columns count characters");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_an_error_and_utf16_is_named() {
        assert!(read(b"{\"a\":\"\xff\"}").is_err());
        let sixteen: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(read(&sixteen).expect_err("utf-16").message.contains("UTF-16"));
        let marked: Vec<u8> = std::iter::once(0xfeff).chain("{}".encode_utf16()).flat_map(u16::to_be_bytes).collect();
        assert!(read(&marked).expect_err("utf-16").message.contains("UTF-16"));
    }

    #[test]
    fn one_byte_order_mark_is_skipped_and_a_second_is_an_error() {
        assert_eq!(read("\u{feff}{\"a\":1}".as_bytes()).expect("parses").0.into_value(), serde_json::json!({"a": 1}));
        assert!(read("\u{feff}\u{feff}{}".as_bytes()).is_err());
    }

    #[test]
    fn a_duplicate_key_is_an_error_at_the_second_one() {
        assert_eq!(problem_of("{\n \"a\": 1,\n \"b\": {\"x\": 1, \"x\" : 2}}"), ("duplicate key `x`".to_owned(), 3, 16));
        assert_eq!(problem_of(r#"{"q\"":1,"q\"":2}"#), ("duplicate key `q\"`".to_owned(), 1, 10));
        assert_eq!(problem_of(r#"{"a":1,"\u0061":2}"#).0, "duplicate key `a`", "compared after unescaping");
    }

    #[test]
    fn depth_is_bounded_without_recursion_trouble() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(nested(127).as_bytes()).is_ok());
        assert!(problem_of(&nested(129)).0.contains("recursion limit"));
        assert!(problem_of(&"[".repeat(1 << 20)).0.contains("recursion limit"));
    }

    #[test]
    fn integers_are_exact_or_reported() {
        for exact in ["9007199254740993", "18446744073709551615", "-9223372036854775808", "-0", "1e-400", "1e20", "18446744073709551616"] {
            assert_eq!(read(exact.as_bytes()).expect(exact).1, None, "{exact}");
        }
        assert_eq!(read(b"9007199254740993").expect("an integer").0.as_i64(), Some(9_007_199_254_740_993));
        let (value, problem) = read(b"{\"s\":\"123456789012345678901234567890\",\n\"n\":123456789012345678901234567890}").expect("parses");
        let problem = problem.expect("reported");
        assert_eq!((problem.line, problem.column), (2, 5));
        assert!(value.into_value()["n"].is_f64());
    }

    #[test]
    fn a_wide_object_is_read_in_one_pass() {
        let body = format!("{{{}}}", (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(","));
        let (value, _) = read(body.as_bytes()).expect("parses");
        assert_eq!(value.into_value().as_object().map(serde_json::Map::len), Some(100_000));
        let twice = body.replacen('}', ",\"k99998\":0}", 1);
        assert_eq!(problem_of(&twice).0, "duplicate key `k99998`");
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let read = read(&bytes);
            prop_assert!(read.is_ok() || read.is_err_and(|problem| !problem.message.is_empty()));
        }

        #[test]
        fn any_text_near_json_gets_an_answer(text in "[\\[\\]{}\",:0-9a-e\\\\ \n.é-]{0,40}") {
            if let Err(problem) = read(text.as_bytes()) {
                prop_assert!(problem.line >= 1 && problem.column >= 1);
            }
        }
    }
}
