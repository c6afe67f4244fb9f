//! The parts of a condition, for people who ask why it does not hold: what `&&` joins, and what a comparison compares.
//!
//! Cut out of the text, so that a part reads as it was written.

use super::Expression;
use super::scan::skip_quoted;

/// How deep conditions in parentheses are taken apart.
const NESTED_MAX: usize = 16;

/// Comparisons, longest first.
const COMPARISONS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

/// The conditions that all have to hold: what `&&` joins, parentheses around it taken off. One where nothing is joined.
pub(super) fn conditions(text: &str) -> Vec<Expression> {
    let mut found = Vec::new();
    collect(text, 0, &mut found);
    // A part that does not compile was not cut where the parser would: the whole says less, but nothing wrong.
    let parts: Option<Vec<Expression>> = found.iter().map(|part| Expression::compile(part).ok()).collect();
    parts.or_else(|| Some(vec![Expression::compile(text).ok()?])).unwrap_or_default()
}

fn collect<'t>(text: &'t str, depth: usize, found: &mut Vec<&'t str>) {
    let inner = unwrapped(text);
    let parts = split(inner, "&&");
    if depth > NESTED_MAX || split(inner, "||").len() > 1 || split(inner, "?").len() > 1 {
        found.push(inner);
    } else if parts.len() > 1 {
        parts.iter().for_each(|part| collect(part, depth + 1, found));
    } else {
        found.push(inner);
    }
}

/// What is compared and how, where the condition is one comparison.
pub(super) fn comparison(text: &str) -> Option<(Expression, &'static str, Expression)> {
    let inner = unwrapped(text);
    if ["&&", "||", "?"].iter().any(|joint| split(inner, joint).len() > 1) {
        return None;
    }
    let operator = COMPARISONS.into_iter().find(|operator| split(inner, operator).len() == 2)?;
    match split(inner, operator).as_slice() {
        [left, right] => Some((Expression::compile(left.trim()).ok()?, operator, Expression::compile(right.trim()).ok()?)),
        _ => None,
    }
}

/// Without the space around it and the parentheses around all of it.
fn unwrapped(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        if !is_closed(inner) {
            break;
        }
        text = inner.trim();
    }
    text
}

/// Whether every bracket that opens in it closes in it, and the other way round.
fn is_closed(text: &str) -> bool {
    let mut open = 0_usize;
    let mut closed = true;
    walk(text, |c, _| match c {
        '(' | '[' | '{' => open += 1,
        ')' | ']' | '}' => match open.checked_sub(1) {
            Some(left) => open = left,
            None => closed = false,
        },
        _ => {}
    });
    closed && open == 0
}

/// The pieces between the occurrences of `joint` that stand outside of strings and brackets.
fn split<'t>(text: &'t str, joint: &str) -> Vec<&'t str> {
    let mut open = 0_usize;
    let mut cuts = Vec::new();
    walk(text, |c, byte| match c {
        '(' | '[' | '{' => open += 1,
        ')' | ']' | '}' => open = open.saturating_sub(1),
        _ if open == 0 && text[byte..].starts_with(joint) && stands_alone(text, byte, joint) => {
            cuts.push(byte);
        }
        _ => {}
    });
    let mut pieces = Vec::with_capacity(cuts.len() + 1);
    let mut from = 0;
    for cut in cuts {
        if cut >= from {
            pieces.push(&text[from..cut]);
            from = cut + joint.len();
        }
    }
    pieces.push(&text[from..]);
    pieces
}

/// `<` is not the beginning of `<=`, and the `?` of `a.?b` is no conditional.
fn stands_alone(text: &str, byte: usize, joint: &str) -> bool {
    let before = text[..byte].chars().next_back();
    let after = text[byte + joint.len()..].chars().next();
    match joint {
        "<" | ">" => after != Some('=') && before != Some('='),
        "?" => !matches!(before, Some('.' | '[')),
        _ => true,
    }
}

/// Calls `see` with each character outside of strings and comments and its place in bytes.
fn walk(text: &str, mut see: impl FnMut(char, usize)) {
    let chars: Vec<char> = text.chars().collect();
    let bytes: Vec<usize> = text.char_indices().map(|(byte, _)| byte).collect();
    let mut at = 0;
    while at < chars.len() {
        match skip_quoted(&chars, at) {
            Some(Some(end)) => at = end,
            Some(None) => return,
            None => {
                see(chars[at], bytes[at]);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(parts: &[Expression]) -> Vec<&str> {
        parts.iter().map(Expression::text).collect()
    }

    #[test]
    fn conditions_are_what_and_joins() {
        for (text, expected) in [
            ("a == 1", vec!["a == 1"]),
            ("a == 1 && b.c", vec!["a == 1", "b.c"]),
            ("(a && (b || c)) && !d", vec!["a", "b || c", "!d"]),
            ("a && b || c", vec!["a && b || c"]),
            ("a ? b : c && d", vec!["a ? b : c && d"]),
            ("a.?b.orValue(true) && c", vec!["a.?b.orValue(true)", "c"]),
            ("a == '&&' && b", vec!["a == '&&'", "b"]),
            ("(a) && (b)", vec!["a", "b"]),
            ("a.exists(x, x && b)", vec!["a.exists(x, x && b)"]),
        ] {
            assert_eq!(texts(&conditions(text)), expected, "{text}");
        }
    }

    #[test]
    fn comparisons_have_two_sides() {
        for (text, expected) in [
            ("a.b > 1000", Some(("a.b", ">", "1000"))),
            ("(size(x) <= 3)", Some(("size(x)", "<=", "3"))),
            ("a == 'x == y'", Some(("a", "==", "'x == y'"))),
            ("a != b", Some(("a", "!=", "b"))),
            ("a.exists(x, x > 1)", None),
            ("a > 1 && b > 2", None),
            ("a", None),
        ] {
            let found = comparison(text);
            assert_eq!(found.as_ref().map(|(l, o, r)| (l.text(), *o, r.text())), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-c&|?()<>=! '\"é.\\[\\]]{0,40}") {
            conditions(&text);
            comparison(&text);
        }
    }
}
