//! Words of a `$filter`.

/// The longest filter that is read, in bytes.
pub(super) const FILTER_MAX: usize = 64 * 1024;

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name, a keyword, a path such as `QueueDefinition/Name`, or a value without quotes: number, GUID, date.
    Bare(String),
    /// A value in quotes; doubled quotes are undone.
    Quoted(String),
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
}

/// The words of `text`.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    if text.len() > FILTER_MAX {
        return Err(format!("the filter has {} bytes; at most {FILTER_MAX}", text.len()));
    }
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(&next) = rest.peek() {
        match next {
            ' ' | '\t' | '\r' | '\n' => {
                rest.next();
            }
            '(' | ')' | ',' => {
                rest.next();
                found.push(match next {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    _ => Token::Comma,
                });
            }
            '\'' => {
                rest.next();
                let mut value = String::new();
                loop {
                    match rest.next() {
                        Some('\'') if rest.peek() == Some(&'\'') => {
                            rest.next();
                            value.push('\'');
                        }
                        Some('\'') => break,
                        Some(other) => value.push(other),
                        None => return Err(format!("there is an unterminated string literal in '{text}'")),
                    }
                }
                found.push(Token::Quoted(value));
            }
            c if c.is_alphanumeric() || "_-+:./$@".contains(c) => {
                let mut word = String::new();
                while let Some(&c) = rest.peek() {
                    if !(c.is_alphanumeric() || "_-+:./$@".contains(c)) {
                        break;
                    }
                    word.push(c);
                    rest.next();
                }
                found.push(Token::Bare(word));
            }
            other => return Err(format!("syntax error: character '{other}' is not valid in '{text}'")),
        }
    }
    Ok(found)
}
