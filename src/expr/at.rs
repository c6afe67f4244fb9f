//! Where in a file something is rendered, for faults: built on the stack, written out only when needed.

use std::fmt;

use super::EvalError;

/// Something that was to be rendered and gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ExpressionFault {
    /// Where in the file: `when`, `steps[0].enqueue.content.Amount`.
    pub place: String,
    /// What happened, with a hint.
    pub message: String,
}

/// A place such as `steps[0].enqueue.content.Amount`.
#[derive(Clone, Copy)]
pub struct At<'a> {
    up: Option<&'a Self>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    /// The outermost part.
    #[must_use]
    pub fn root(name: &'a str) -> Self {
        Self { up: None, part: Part::Name(name) }
    }

    /// A key below.
    #[must_use]
    pub fn field<'b>(&'b self, name: &'b str) -> At<'b> {
        At { up: Some(self), part: Part::Name(name) }
    }

    /// An element below.
    pub fn index<'b>(&'b self, index: usize) -> At<'b> {
        At { up: Some(self), part: Part::Index(index) }
    }

    /// A fault here.
    #[must_use]
    pub fn fault(&self, message: impl Into<String>) -> ExpressionFault {
        ExpressionFault { place: self.to_string(), message: message.into() }
    }

    /// An evaluation that failed here.
    #[must_use]
    pub fn failed(&self, error: EvalError) -> ExpressionFault {
        self.fault(explain(error))
    }
}

/// An error of an evaluation with its remedy.
#[must_use]
pub fn explain(error: EvalError) -> String {
    match error {
        EvalError::Missing { path } => {
            let optional = match path.rsplit_once('.') {
                Some((owner, field)) if !field.contains(['?', '[', ' ']) => format!("; write {owner}.?{field}.orValue(…) where it may be"),
                _ => String::new(),
            };
            format!("`{path}` is missing{optional}")
        }
        EvalError::Type { message, help: Some(help) } => format!("{message}; {help}"),
        other => other.to_string(),
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(up) = self.up {
            fmt::Display::fmt(up, f)?;
        }
        match self.part {
            Part::Name(name) if self.up.is_none() => f.write_str(name),
            Part::Name(name) => write!(f, ".{name}"),
            Part::Index(index) => write!(f, "[{index}]"),
        }
    }
}
