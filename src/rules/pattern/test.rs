//! One alternative of a condition: a question to a single value.

use std::net::IpAddr;

use super::address::{self, Block};
use super::number::{Number, Range};
use super::text::{AnyCase, Wildcard};
use crate::event::{Json, View};

/// A question to a value. Objects and arrays are no values: a walk asks about what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// This string.
    Text(Box<str>),
    /// This number, by value.
    Number(Number),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// This address in any spelling: what a string that looks like one means.
    Address(IpAddr),
    /// A string that begins so.
    Prefix(Box<str>),
    /// A string that ends so.
    Suffix(Box<str>),
    /// This string in any case.
    AnyCase(AnyCase),
    /// A string that begins so in any case.
    PrefixAnyCase(AnyCase),
    /// A string that ends so in any case.
    SuffixAnyCase(AnyCase),
    /// A string with `*` in it.
    Wildcard(Wildcard),
    /// A number in a range.
    Range(Range),
    /// An address in a block.
    Block(Block),
    /// Any value that is none of these. A value of another type is none of them.
    AnythingBut(Vec<Self>),
    /// Any value at all.
    Exists,
    /// No value: asked of a path, never of a value.
    Absent,
}

impl Test {
    /// Whether a value passes.
    #[must_use]
    pub fn passes(&self, value: &impl Json) -> bool {
        match (self, value.view()) {
            (_, View::Object | View::List(_)) | (Self::Absent, _) => false,
            (Self::Exists, _) => true,
            (Self::AnythingBut(tests), _) => !tests.iter().any(|test| test.passes(value)),
            (Self::Null, value) => matches!(value, View::Null),
            (Self::Bool(expected), View::Bool(found)) => *expected == found,
            (Self::Number(expected), View::Number(found)) => *expected == Number::of(found),
            (Self::Range(range), View::Number(found)) => Number::of(found).double().is_some_and(|n| range.contains(n)),
            (test, View::Text(text)) => test.passes_text(text),
            _ => false,
        }
    }

    fn passes_text(&self, text: &str) -> bool {
        match self {
            Self::Text(expected) => **expected == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::AnyCase(expected) => expected.is(text),
            Self::PrefixAnyCase(prefix) => prefix.begins(text),
            Self::SuffixAnyCase(suffix) => suffix.ends(text),
            Self::Wildcard(wildcard) => wildcard.fits(text),
            Self::Address(expected) => address::parse(text) == Some(*expected),
            Self::Block(block) => address::parse(text).is_some_and(|address| block.contains(address)),
            _ => false,
        }
    }
}
