//! What makes two sights of a change the same change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Timestamp;

/// Stamps of one change may differ by this much: answers round the same instant differently, and folder copies
/// are made moments apart.
pub const STAMP_TOLERANCE: Duration = Duration::from_secs(5);

/// A body without any id of its own is the same as an equal one for this long.
pub const UNKEYED_TOLERANCE: Duration = Duration::from_secs(600);

/// How a key tells apart changes of one thing that happened within the tolerance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Apart {
    /// By its text.
    #[default]
    Text,
    /// By the last part of its text: what the change set, as it was told at once.
    Value,
    /// By the last part of its text: the row of a change feed. Whoever reads the row later does not know any more what the
    /// change set.
    Row,
}

/// The key of a change: a text, and a stamp where the text alone does not tell two changes apart.
/// Two keys are the same when their texts are equal and their stamps are at most `tolerance` apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `<tenant>|<kind>|<id>|<type>|<occurrence>`.
    pub text: Arc<str>,
    /// The moment that is part of the occurrence.
    pub stamp: Option<Timestamp>,
    /// How far apart stamps of the same change may be; [`STAMP_TOLERANCE`] or [`UNKEYED_TOLERANCE`].
    pub tolerance: Duration,
    /// How it tells changes of about one moment apart.
    pub apart: Apart,
}

impl Key {
    /// A key that is its text.
    #[must_use]
    pub fn exact(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), stamp: None, tolerance: STAMP_TOLERANCE, apart: Apart::Text }
    }

    /// A key with a moment, compared with [`STAMP_TOLERANCE`].
    #[must_use]
    pub fn stamped(text: impl Into<Arc<str>>, stamp: Option<Timestamp>) -> Self {
        Self { text: text.into(), stamp, tolerance: STAMP_TOLERANCE, apart: Apart::Text }
    }

    /// Its text without the last part: what all sights of a change agree on, whatever tells it apart from others.
    #[must_use]
    pub fn base(&self) -> &str {
        let end = self.text.rfind('|').map_or(0, |at| at + 1);
        self.text.get(..end).unwrap_or_default()
    }

    /// Whether one may be the sight of a row, and the other what was told at once, of the same change.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        matches!((self.apart, other.apart), (Apart::Value, Apart::Row) | (Apart::Row, Apart::Value))
            && self.base() == other.base()
            && self.distance(other).is_some_and(|distance| distance <= self.tolerance.max(other.tolerance))
    }

    /// How far apart the stamps of both are; `None` where one has none.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Option<Duration> {
        self.stamp.zip(other.stamp).map(|(a, b)| a.distance(b))
    }

    /// Whether both name the same change.
    #[must_use]
    pub fn same_change(&self, other: &Self) -> bool {
        self.text == other.text
            && match (self.stamp, other.stamp) {
                (None, None) => true,
                (Some(a), Some(b)) => a.distance(b) <= self.tolerance.max(other.tolerance),
                (None, Some(_)) | (Some(_), None) => false,
            }
    }

    /// The slot of the stamp on a grid of `tolerance`: two stamps of one change lie in the same or neighbouring
    /// slots, and two different changes never share one. `None` without a stamp.
    #[must_use]
    pub fn slot(&self) -> Option<i64> {
        let width = i128::try_from(self.tolerance.as_nanos()).unwrap_or(i128::MAX).max(1);
        self.stamp.map(|s| i64::try_from(s.as_nanos().div_euclid(width)).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.stamp {
            Some(stamp) => write!(f, "@{stamp}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_within_the_tolerance_are_one_change() {
        let at = |ms| Key::stamped("t|q|1|x", Some(Timestamp::from_millis(ms)));
        assert!(at(10_000).same_change(&at(14_999)));
        assert!(!at(10_000).same_change(&at(15_001)));
        assert!(!at(10_000).same_change(&Key::exact("t|q|1|x")));
        assert!((at(10_000).slot().expect("stamped") - at(14_999).slot().expect("stamped")).abs() <= 1);
    }
}
