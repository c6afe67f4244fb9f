//! Cutting a template's text into what stands and what is evaluated.

use super::scan::skip_quoted;
use super::{Expression, SyntaxError, TEMPLATE_MAX};

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// As it stands; `$${` is already `${`.
    Text(String),
    /// To be evaluated.
    Value(Expression),
}

/// Cuts and compiles.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, SyntaxError> {
    // Most strings have nothing in them.
    if !text.contains("${") {
        return Ok(vec![Part::Text(text.to_owned())]);
    }
    let chars: Vec<char> = text.chars().take(TEMPLATE_MAX + 1).collect();
    if chars.len() > TEMPLATE_MAX {
        return Err(SyntaxError::new(format!("the text is longer than {TEMPLATE_MAX} characters"), TEMPLATE_MAX));
    }
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while at < chars.len() {
        if chars[at..].starts_with(&['$', '$', '{']) {
            plain.push_str("${");
            at += 3;
        } else if chars[at..].starts_with(&['$', '{']) {
            let end = closing(&chars, at + 2)
                .ok_or_else(|| SyntaxError::new("`${` is not closed", at).help("add `}`; for a literal `${` write `$${`"))?;
            let inner: String = chars[at + 2..end].iter().collect();
            let expression = Expression::compile(&inner).map_err(|error| SyntaxError { offset: at + 2 + error.offset, ..error })?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Value(expression));
            at = end + 1;
        } else {
            plain.push(chars[at]);
            at += 1;
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// The `}` that closes the expression beginning at `from`.
fn closing(chars: &[char], from: usize) -> Option<usize> {
    let mut open = 0_usize;
    let mut at = from;
    while at < chars.len() {
        // A string that does not end leaves the expression unclosed as well.
        if let Some(end) = skip_quoted(chars, at) {
            at = end?;
            continue;
        }
        match chars[at] {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}
