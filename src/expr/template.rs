//! Texts with `${…}` in them.

use std::sync::Arc;

use serde_json::Value;

use super::text::{Part, parts};
use super::{EvalError, Expression, RESULT_MAX, Scope, SyntaxError};

/// A text with `${…}` in it, or a plain one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Template {
    text: Arc<str>,
    parts: Arc<[Part]>,
}

impl Template {
    /// Finds and compiles the `${…}` parts; `$${` is a literal `${`.
    ///
    /// # Errors
    /// An unclosed brace or a syntax fault inside; the offset is within the whole text.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Ok(Self { parts: parts(text)?.into(), text: Arc::from(text) })
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text itself when nothing in it is to be evaluated (`$${` already undone).
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text in front of the first `${…}`.
    #[must_use]
    pub fn leading_text(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Renders: one lone `${…}` keeps the value's type, anything else is a string. Values are never expanded again.
    ///
    /// # Errors
    /// As [`Expression::eval`]; the output is bounded.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        if let [Part::Value(expression)] = &*self.parts {
            return expression.eval(scope);
        }
        self.render_text(scope, |_, value| value).map(Value::String)
    }

    /// Renders to text; `place` gets the text so far and the text of a value, and answers what is to stand there.
    ///
    /// # Errors
    /// As [`Template::render`]; a null has no text and counts as missing.
    pub fn render_text(&self, scope: &Scope<'_>, place: impl Fn(&str, String) -> String) -> Result<String, EvalError> {
        let mut out = String::new();
        for part in &*self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(expression) => {
                    let value = in_text(expression, scope)?;
                    let value = place(&out, value);
                    out.push_str(&value);
                }
            }
            if out.len() > RESULT_MAX {
                return Err(EvalError::Limit { limit: format!("a text of {RESULT_MAX} bytes") });
            }
        }
        Ok(out)
    }

    /// As [`Expression::references`], over all parts.
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        let mut all = Vec::new();
        for part in &*self.parts {
            if let Part::Value(expression) = part {
                all.extend(expression.references());
            }
        }
        all
    }
}

fn in_text(expression: &Expression, scope: &Scope<'_>) -> Result<String, EvalError> {
    match expression.eval(scope)? {
        Value::String(text) => Ok(text),
        Value::Null => Err(EvalError::Missing { path: expression.text().trim().to_owned() }),
        other => Ok(other.to_string()),
    }
}
