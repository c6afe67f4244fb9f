//! Under what a test can be filed, and what finding it that way costs.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::rules::pattern::{Number, PathId, Test};

/// What a range costs more than a value: about half of the ranges of a path hold any number.
const RANGE: u64 = 2;

/// What filing under the path costs: every event that has the field asks for verification.
const PATH: u64 = 1_000;

/// The most tests of one condition that are filed one by one; beyond, the path is cheaper in memory.
const TESTS_MAX: usize = 10_000;

/// Under what a test is filed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Text(Box<str>),
    Number(Number),
    Bool(bool),
    Null,
    Address(IpAddr),
    /// A string in any case, folded.
    Folded(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    FoldedPrefix(Box<str>),
    FoldedSuffix(Box<str>),
    Range,
    Block,
    /// Nothing about the value helps.
    Path,
}

impl Access {
    pub(super) fn of(test: &Test) -> Self {
        match test {
            Test::Text(text) => Self::Text(text.clone()),
            Test::Number(number) => Self::Number(*number),
            Test::Bool(b) => Self::Bool(*b),
            Test::Null => Self::Null,
            Test::Address(address) => Self::Address(*address),
            Test::AnyCase(text) => Self::Folded(text.folded().into()),
            Test::Prefix(text) if !text.is_empty() => Self::Prefix(text.clone()),
            Test::Suffix(text) if !text.is_empty() => Self::Suffix(text.clone()),
            Test::PrefixAnyCase(text) if !text.folded().is_empty() => Self::FoldedPrefix(text.folded().into()),
            Test::SuffixAnyCase(text) if !text.folded().is_empty() => Self::FoldedSuffix(text.folded().into()),
            Test::Wildcard(wildcard) if wildcard.is_literal() => Self::Text(wildcard.head().into()),
            Test::Wildcard(wildcard) => match (wildcard.head(), wildcard.tail()) {
                ("", "") => Self::Path,
                (head, tail) if head.len() >= tail.len() => Self::Prefix(head.into()),
                (_, tail) => Self::Suffix(tail.into()),
            },
            Test::Range(_) => Self::Range,
            Test::Block(_) => Self::Block,
            Test::Prefix(_) | Test::Suffix(_) | Test::PrefixAnyCase(_) | Test::SuffixAnyCase(_) => Self::Path,
            Test::AnythingBut(_) | Test::Exists | Test::Absent => Self::Path,
        }
    }

    /// Whether every value that this leads from passes the test it was made of: then the test need not be asked again.
    pub(super) fn proves(&self, test: &Test) -> bool {
        match self {
            Self::Text(_) | Self::Number(_) | Self::Bool(_) | Self::Null | Self::Address(_) | Self::Range => true,
            Self::Prefix(_) => matches!(test, Test::Prefix(_)),
            Self::Suffix(_) => matches!(test, Test::Suffix(_)),
            // Texts that fold to the same are not always one text in two cases.
            Self::Folded(_) | Self::FoldedPrefix(_) | Self::FoldedSuffix(_) | Self::Block | Self::Path => false,
        }
    }
}

/// How many tests of a rule set share each access: the fewer, the better it tells branches apart.
#[derive(Debug, Default)]
pub(super) struct Frequencies(HashMap<(PathId, Access), u64>);

impl Frequencies {
    pub(super) fn count(&mut self, path: PathId, test: &Test) {
        *self.0.entry((path, Access::of(test))).or_default() += 1;
    }

    /// What filing a condition costs: how many branches its values bring along.
    pub(super) fn cost(&self, path: PathId, tests: &[Test]) -> u64 {
        if tests.len() > TESTS_MAX {
            return u64::MAX;
        }
        let cost = |test| {
            let access = Access::of(test);
            let weight = match access {
                Access::Path => PATH,
                Access::Range | Access::Block => RANGE,
                _ => 1,
            };
            self.0.get(&(path, access)).copied().unwrap_or(1).saturating_mul(weight)
        };
        tests.iter().map(cost).fold(0, u64::saturating_add)
    }
}
