//! A look at a text before the parser gets it: lengths, nesting, where strings and `${…}` end.

use super::{DEPTH_MAX, OPERATORS_MAX, SyntaxError, TEXT_MAX};

/// How much stack an expression may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The deepest nesting.
    pub(super) depth: usize,
    /// Operators, dots and commas.
    pub(super) operators: usize,
}

impl Shape {
    /// Whether a normal stack of 2 MiB may be too small for it, without optimisation and with a wide margin.
    pub(super) fn is_deep(self) -> bool {
        self.depth * 6 + self.operators > 24
    }
}

/// Measures an expression.
pub(super) fn measure(text: &str) -> Result<Shape, SyntaxError> {
    let chars: Vec<char> = text.chars().take(TEXT_MAX + 1).collect();
    if chars.len() > TEXT_MAX {
        return Err(SyntaxError::new(format!("the expression is longer than {TEXT_MAX} characters"), TEXT_MAX));
    }
    if chars.iter().all(|c| c.is_whitespace()) {
        return Err(SyntaxError::new("the expression is empty", 0));
    }
    let mut shape = Shape { depth: 0, operators: 0 };
    let (mut open, mut conditionals, mut at) = (0_usize, 0_usize, 0_usize);
    while at < chars.len() {
        if let Some(end) = skip_quoted(&chars, at) {
            at = end.ok_or_else(|| SyntaxError::new("the string is not closed", at).help("add the closing quote"))?;
            continue;
        }
        match chars[at] {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            // `.?` and `[?` are selections, not conditionals.
            '?' if at == 0 || !matches!(chars[at - 1], '.' | '[') => conditionals += 1,
            _ => {}
        }
        if "+-*/%<>=!&|?:.,([{".contains(chars[at]) || starts_word(&chars, at, "in") {
            shape.operators += 1;
        }
        shape.depth = shape.depth.max(open + conditionals);
        if shape.depth > DEPTH_MAX {
            return Err(
                SyntaxError::new(format!("the expression is nested deeper than {DEPTH_MAX}"), at).help("split it over `vars` or steps")
            );
        }
        if shape.operators > OPERATORS_MAX {
            let message = format!("the expression has more than {OPERATORS_MAX} operators");
            return Err(SyntaxError::new(message, at).help("split it, or compare with a list: x in [\"a\", \"b\"]"));
        }
        at += 1;
    }
    Ok(shape)
}

fn starts_word(chars: &[char], at: usize, word: &str) -> bool {
    let boundary = |index: Option<usize>| index.and_then(|i| chars.get(i)).is_none_or(|c| !c.is_alphanumeric() && *c != '_');
    word.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c)) && boundary(at.checked_sub(1)) && boundary(Some(at + word.len()))
}

/// When a string literal or comment begins at `at`: where it ends (just behind it), or `Some(None)` when it does not.
pub(super) fn skip_quoted(chars: &[char], at: usize) -> Option<Option<usize>> {
    let quote = chars[at];
    if quote == '/' && chars.get(at + 1) == Some(&'/') {
        return Some(Some(chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)));
    }
    if quote != '"' && quote != '\'' {
        return None;
    }
    let raw = at > 0 && matches!(chars[at - 1], 'r' | 'R');
    let triple = chars.get(at + 1) == Some(&quote) && chars.get(at + 2) == Some(&quote);
    let width = if triple { 3 } else { 1 };
    let mut next = at + width;
    while next < chars.len() {
        if chars[next] == '\\' && !raw {
            next += 2;
            continue;
        }
        if (0..width).all(|i| chars.get(next + i) == Some(&quote)) {
            return Some(Some(next + width));
        }
        if !triple && chars[next] == '\n' {
            return Some(None);
        }
        next += 1;
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hide_their_content() {
        for (text, operators) in
            [("a == '((((' ", 2), (r#"a + "\"(((" "#, 1), ("r'\\' + b", 1), ("'''a'b((''' + c", 1), ("a // ((((\n+ b", 1)]
        {
            let shape = measure(text).expect(text);
            assert_eq!((shape.depth, shape.operators), (0, operators), "{text}");
        }
        assert!(measure("a == 'x").is_err());
    }

    #[test]
    fn nesting_and_chains_are_bounded() {
        assert!(measure(&format!("{}1{}", "(".repeat(64), ")".repeat(64))).is_ok());
        assert_eq!(measure(&format!("{}1{}", "(".repeat(65), ")".repeat(65))).expect_err("deep").offset, 64);
        assert!(measure(&"a?b:".repeat(65)).is_err());
        assert!(measure(&"!".repeat(513)).is_err());
        assert!(measure(&format!("a{}", ".b".repeat(513))).is_err());
        assert!(measure(&"x".repeat(4097)).is_err());
        assert!(measure("  ").is_err());
    }
}
