//! CEL behind our own small face, and `${…}` templates over it. The rest of the program knows nothing of the `cel` crate.
//!
//! Promises: no text and no data makes it panic, overflow the stack, or run or grow without bound; event data is read
//! in place. Differs from plain CEL where JSON of Orchestrator would bite: integers and decimals mix in arithmetic,
//! a null is as good as missing where a value is needed, and `"5" == 5` is an error instead of a silent `false`.
//! Knows nothing of rules or events: names are bound by the caller.

mod at;
mod budget;
mod compile;
mod eval;
mod failure;
mod functions;
#[cfg(test)]
mod fuzz;
mod helpers;
mod moments;
mod parts;
mod result;
mod scan;
mod stack;
mod template;
mod text;
mod tree;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

pub use at::{At, ExpressionFault, explain};
pub use eval::size;
pub use template::Template;
pub use tree::Tree;

use crate::time::Timestamp;

/// The longest text of one expression, in characters.
pub const TEXT_MAX: usize = 4096;
/// The deepest nesting of parentheses, brackets, braces and conditionals.
pub const DEPTH_MAX: usize = 64;
/// The most operators (dots included) of one expression: long chains nest as deep as parentheses do.
pub const OPERATORS_MAX: usize = 512;
/// The most steps of one evaluation: elements visited times the size of what is done with each.
pub const STEPS_MAX: u64 = 1_000_000;
/// The most bytes of text and lists that one evaluation may build on its way.
pub const BUILT_MAX: u64 = 16 << 20;
/// The largest result of one evaluation or rendered template, in bytes.
pub const RESULT_MAX: usize = 1 << 20;
/// The longest text of one template, in characters.
pub const TEMPLATE_MAX: usize = 64 << 10;
/// The largest regular expression, compiled, in bytes.
pub const REGEX_MAX: usize = 1 << 20;

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

impl SyntaxError {
    fn new(message: impl Into<String>, offset: usize) -> Self {
        Self { message: message.into(), offset, help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A field that is not there, or null where a value is needed; in `when`/`if` that is "no match".
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

impl EvalError {
    fn of_type(message: impl Into<String>) -> Self {
        Self::Type { message: message.into(), help: None }
    }
}

/// The names an evaluation sees. Values are borrowed and read lazily: nothing is converted before it is asked for.
#[derive(Clone, Default)]
pub struct Scope<'a> {
    names: Vec<(&'a str, &'a Value)>,
    now: Option<Timestamp>,
}

impl<'a> Scope<'a> {
    /// An empty scope.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds `name` (`data`, `item`, `steps`, …).
    #[must_use]
    pub fn bind(mut self, name: &'a str, value: &'a Value) -> Self {
        self.names.push((name, value));
        self
    }

    /// Binds `now`, a CEL timestamp.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }

    /// The value under a name.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.names.iter().find(|(bound, _)| *bound == name).map(|(_, value)| *value)
    }
}

/// A compiled CEL expression. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Arc<str>,
    code: compile::Code,
}

impl Expression {
    /// Compiles within the limits of this module.
    ///
    /// # Errors
    /// The first syntax fault with its place.
    pub fn compile(text: &str) -> Result<Self, SyntaxError> {
        Ok(Self { code: compile::compile(text)?, text: Arc::from(text) })
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
        eval::value(&self.code, &self.text, scope)
    }

    /// The value as a condition: it must be true or false.
    ///
    /// # Errors
    /// As [`Expression::eval`]; any other value is a type error.
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        eval::condition(&self.code, &self.text, scope)
    }

    /// The dotted paths it refers to, as far as they are plain (`steps.item.Id`): for `check`. Each once, in the
    /// order of the text.
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        compile::references(&self.code)
    }

    /// The conditions that all have to hold: what `&&` joins. For `explain`.
    #[must_use]
    pub fn conditions(&self) -> Vec<Self> {
        parts::conditions(&self.text)
    }

    /// The two sides and the operator, where it is one comparison. For `explain`.
    #[must_use]
    pub fn comparison(&self) -> Option<(Self, &'static str, Self)> {
        parts::comparison(&self.text)
    }

    /// A path that is compared with two different literals at once: the condition never holds. For `check`.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        compile::contradiction(&self.code)
    }
}
