//! Texts that strangers wrote, made harmless for terminals and logs: what moves the cursor, ends a line or turns the
//! direction of writing is written out.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character does something other than being seen.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line that shows every character: `\n`, `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let written = text.chars().map(|c| if acts(c) { c.escape_default().to_string() } else { c.to_string() });
    Cow::Owned(written.collect())
}

/// The same for a text of several lines. Further lines are set in, so that none of them looks like a first one.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    Cow::Owned(lines.join("\n    "))
}

/// The same JSON with such characters escaped. JSON escapes most of them by itself; what is left of them is in strings.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let left = |c: char| acts(c) && c >= '\u{7f}';
    if !json.contains(left) {
        return Cow::Borrowed(json);
    }
    let mut written = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if left(c) {
            // Writing into a string does not fail.
            write!(written, "\\u{:04x}", u32::from(c)).ok();
        } else {
            written.push(c);
        }
    }
    Cow::Owned(written)
}

/// The most characters of a name that becomes the label of a metric.
pub const LABEL_MAX: usize = 128;

/// A name that strangers chose, as the label of a metric.
#[must_use]
pub fn label(name: &str) -> Cow<'_, str> {
    if name.len() <= LABEL_MAX {
        return printable(name);
    }
    let end = name.char_indices().nth(LABEL_MAX).map_or(name.len(), |(at, _)| at);
    Cow::Owned(printable(&name[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_is_written_out() {
        let table = [
            ("plain, grün, 漢字 🙂", "plain, grün, 漢字 🙂"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{1b}[31mred\u{7f}", "\\u{1b}[31mred\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gpj.exe\u{2028}", "\\u{202e}gpj.exe\\u{2028}"),
        ];
        for (text, expected) in table {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable_lines("one\ntwo\u{1b}\n{\"level\"}"), "one\n    two\\u{1b}\n    {\"level\"}");
    }

    #[test]
    fn labels_are_short_and_of_one_line() {
        assert_eq!(label("queueItem.added"), "queueItem.added");
        assert_eq!(label("a\nb"), "a\\nb");
        assert_eq!(label(&"é".repeat(1_000_000)), "é".repeat(LABEL_MAX));
    }

    proptest! {
        #[test]
        fn nothing_acts_any_more_and_json_stays_the_same(text in "\\PC*|[\\x00-\\x1f\\x7f-\\u{9f}\\u{2020}-\\u{2070}a\"\\\\]{0,20}") {
            prop_assert!(!printable(&text).contains(acts));
            prop_assert!(printable_lines(&text).lines().all(|line| !line.contains(acts)));
            let value = serde_json::json!({ "key": text });
            let json = value.to_string();
            let harmless = printable_json(&json);
            prop_assert!(!harmless.contains(acts));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&harmless).expect("still JSON"), value);
        }
    }
}
