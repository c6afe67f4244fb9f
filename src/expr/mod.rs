//! CEL behind our own small face, and `${…}` templates over it. The rest of the program knows nothing of the `cel` crate.

use serde_json::Value;

/// Why a text is no expression. `offset` counts characters from the beginning of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong, in words for people.
    pub message: String,
    /// Where in the text, in characters from 0.
    pub offset: usize,
    /// How to mend it, where known.
    pub help: Option<String>,
}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A field that is not there; in `when`/`if` that is "no match".
    #[error("`{path}` is missing")]
    Missing {
        /// The path as written.
        path: String,
    },
    /// Operands that do not fit.
    #[error("{message}")]
    Type {
        /// What does not fit.
        message: String,
        /// `double(…)`, quoting, …
        help: Option<String>,
    },
    /// One of the limits of this module was met.
    #[error("the expression is over a limit: {limit}")]
    Limit {
        /// Which one, with its number.
        limit: String,
    },
}

/// The names an evaluation sees. Values are borrowed and read lazily: nothing is converted before it is asked for.
#[derive(Clone, Default)]
pub struct Scope<'a> {
    names: Vec<(&'static str, &'a Value)>,
    now: Option<crate::time::Timestamp>,
}

impl<'a> Scope<'a> {
    /// An empty scope.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds `name` (`data`, `item`, `steps`, …).
    #[must_use]
    pub fn bind(mut self, name: &'static str, value: &'a Value) -> Self {
        self.names.push((name, value));
        self
    }

    /// Binds `now`, a CEL timestamp.
    #[must_use]
    pub fn at(mut self, now: crate::time::Timestamp) -> Self {
        self.now = Some(now);
        self
    }
}

/// A compiled CEL expression.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
}

impl Expression {
    /// Compiles within the limits of this module.
    ///
    /// # Errors
    /// The first syntax fault with its place.
    pub fn compile(text: &str) -> Result<Self, SyntaxError> {
        let _ = text;
        todo!()
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// A missing field, a type that does not fit, a limit.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        let _ = scope;
        todo!()
    }

    /// The value as a condition: it must be true or false.
    ///
    /// # Errors
    /// As [`Expression::eval`]; any other value is a type error.
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        let _ = scope;
        todo!()
    }

    /// The dotted paths it refers to, as far as they are plain (`steps.item.Id`): for `check`.
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        todo!()
    }
}

/// A text with `${…}` in it, or a plain one.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
}

impl Template {
    /// Finds and compiles the `${…}` parts; `$${` is a literal `${`.
    ///
    /// # Errors
    /// An unclosed brace or a syntax fault inside; the offset is within the whole text.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let _ = text;
        todo!()
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text itself when nothing in it is to be evaluated (`$${` already undone).
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        todo!()
    }

    /// Renders: one lone `${…}` keeps the value's type, anything else is a string. Values are never expanded again.
    ///
    /// # Errors
    /// As [`Expression::eval`]; the output is bounded.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        let _ = scope;
        todo!()
    }

    /// As [`Expression::references`], over all parts.
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        todo!()
    }
}
