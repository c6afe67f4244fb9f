//! Which version of the API answers, as far as its answers tell, and what is sent only to those that know it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use crate::config::Edition;
use crate::http::client::Answer;
use crate::time::Timestamp;

/// `ParentOperationId` is sent to API versions from this one on. Versions up to 11 (2020.10) refuse bodies with it; 16 (May
/// 2023) is the first one known to tell new fields apart by version, so that it is the safe side of the unknown middle.
pub const PARENT_SINCE: u32 = 16;

/// Webhooks have a name and a description from this version on.
const NAMES_SINCE: u32 = 16;

/// How long `ParentOperationId` may be; a longer one is left out.
pub const PARENT_MAX: usize = 128;

/// No answer has told the time yet.
const NO_SKEW: i64 = i64::MIN;

/// What is known; shared by all calls.
#[derive(Debug)]
pub struct Version {
    /// The highest version that an answer named; 0 while none did.
    known: AtomicU32,
    /// Whether the product is new enough until an answer says more: the cloud is, and so is Automation Suite as a
    /// rule; standalone installations live long.
    assumed_new: bool,
    /// An answer said that it does not know the field, whatever its version.
    refused: AtomicBool,
    /// How many milliseconds its clock is ahead of ours, by the last answer; [`NO_SKEW`] while none told.
    skew: AtomicI64,
}

impl Version {
    /// Nothing is known but the product.
    pub fn of(edition: Edition) -> Self {
        Self {
            known: AtomicU32::new(0),
            assumed_new: edition != Edition::Standalone,
            refused: AtomicBool::new(false),
            skew: AtomicI64::new(NO_SKEW),
        }
    }

    /// Learns from an answer's `api-supported-versions`.
    pub fn learn(&self, answer: &Answer, now: Timestamp) {
        if let Some(date) = answer.header("date").and_then(Timestamp::parse_http_date) {
            self.skew.store(date.as_millis().saturating_sub(now.as_millis()), Ordering::Relaxed);
        }
        if let Some(highest) = answer.header("api-supported-versions").and_then(highest) {
            self.known.store(highest, Ordering::Relaxed);
        }
    }

    /// How far its clock is from ours, and whether it is ahead. A date of HTTP has whole seconds.
    pub fn skew(&self) -> Option<(Duration, bool)> {
        let millis = Some(self.skew.load(Ordering::Relaxed)).filter(|millis| *millis != NO_SKEW)?;
        Some((Duration::from_secs(millis.unsigned_abs() / 1000), millis > 0))
    }

    /// The highest version that an answer named.
    pub fn known(&self) -> Option<u32> {
        Some(self.known.load(Ordering::Relaxed)).filter(|known| *known != 0)
    }

    /// Whether an answer has told it.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed) != 0
    }

    /// Learns from a refusal that the field is not known.
    pub fn refuses_parent(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// What of `parent` a body may carry.
    pub fn parent<'a>(&self, parent: &'a str) -> Option<&'a str> {
        Some(parent).filter(|parent| self.has_parent() && parent.len() <= PARENT_MAX)
    }

    /// Whether webhooks have names and descriptions: required from [`NAMES_SINCE`] on, refused before.
    pub fn has_webhook_names(&self) -> bool {
        match self.known.load(Ordering::Relaxed) {
            0 => self.assumed_new,
            known => known >= NAMES_SINCE,
        }
    }

    /// Whether bodies may carry `ParentOperationId`.
    pub fn has_parent(&self) -> bool {
        match self.known.load(Ordering::Relaxed) {
            _ if self.refused.load(Ordering::Relaxed) => false,
            0 => self.assumed_new,
            known => known >= PARENT_SINCE,
        }
    }
}

/// The highest of `1.0, 11.0, 20.0`.
fn highest(header: &str) -> Option<u32> {
    header.split(',').filter_map(|version| version.trim().split('.').next()?.parse().ok()).filter(|version| *version > 0).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_fields_go_to_those_that_know_them() {
        let answer =
            |value: &str| Answer { status: 200, headers: vec![("api-supported-versions".into(), value.into())], body: Default::default() };
        for (edition, header, expected) in [
            (Edition::Cloud, None, true),
            (Edition::Suite, None, true),
            (Edition::Standalone, None, false),
            (Edition::Standalone, Some("1.0, 2.0, 20.0"), true),
            (Edition::Standalone, Some("16.0"), true),
            (Edition::Suite, Some("15.0"), false),
            (Edition::Suite, Some("11.0, 9.0"), false),
            (Edition::Cloud, Some("nonsense, -1, 0, 99999999999"), true),
            (Edition::Standalone, Some(""), false),
        ] {
            let version = Version::of(edition);
            if let Some(header) = header {
                version.learn(&answer(header), Timestamp::EPOCH);
            }
            assert_eq!(version.has_parent(), expected, "{edition:?} {header:?}");
        }
        let version = Version::of(Edition::Cloud);
        version.refuses_parent();
        version.learn(&answer("20.0"), Timestamp::EPOCH);
        assert!(!version.has_parent());
    }
}
