//! How failed steps are tried again, as files say it: `retry` of rules, steps and connectors.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::fault::{Fault, Faults};
use crate::time::format_duration;
use crate::yaml::shape::{Form, Shape, key};
use crate::yaml::{Fields, Node, Yaml};

const FIRST_WAIT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
const MAX_WAIT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(7 * 24 * 3600);
const GIVE_UP_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(90 * 24 * 3600);
const FACTOR: RangeInclusive<f64> = 1.0..=100.0;
const ATTEMPTS: RangeInclusive<u64> = 1..=1_000;

/// `retry`.
pub static RETRY: Shape = Shape {
    name: "retry",
    about: "How failed steps are tried again.",
    keys: &[
        key("first_wait", Form::Duration, "The first wait; 2s by default."),
        key("factor", Form::Number(FACTOR), "Each wait is this much longer; 2 by default."),
        key("max_wait", Form::Duration, "The longest wait; 15m by default."),
        key("give_up_after", Form::Duration, "From the step's first attempt on; 24h by default."),
        key("attempts", Form::Integer(ATTEMPTS), "At most this many attempts."),
    ],
    ..Shape::EMPTY
};

/// How a failed step is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The first wait; 2 s by default.
    pub first_wait: Duration,
    /// Each wait is this much longer; 2 by default.
    pub factor: f64,
    /// The longest wait; 15 min by default.
    pub max_wait: Duration,
    /// From the step's first attempt on; 24 h by default.
    pub give_up_after: Duration,
    /// At most this many attempts, where written.
    pub attempts: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(2),
            factor: 2.0,
            max_wait: Duration::from_secs(15 * 60),
            give_up_after: Duration::from_secs(24 * 3600),
            attempts: None,
        }
    }
}

/// The words of a `retry`, as far as they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetryWords {
    /// The first wait.
    pub first_wait: Option<Duration>,
    /// Each wait is this much longer.
    pub factor: Option<f64>,
    /// The longest wait.
    pub max_wait: Option<Duration>,
    /// From the step's first attempt on.
    pub give_up_after: Option<Duration>,
    /// At most this many attempts.
    pub attempts: Option<u32>,
}

impl RetryWords {
    /// Reads what is written.
    pub fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        let fields = Fields::read(node, "`retry`", &RETRY, faults)?;
        let factor = fields.get("factor").and_then(|node| {
            let factor = match &node.value {
                Yaml::Number(n) => n.as_f64(),
                _ => None,
            };
            if factor.is_none_or(|f| !FACTOR.contains(&f)) {
                let message = format!("`factor` is no number from {} to {}", FACTOR.start(), FACTOR.end());
                faults.push(Fault::error("out-of-range", node.place.clone(), message));
            }
            factor
        });
        Some(Self {
            first_wait: fields.duration("first_wait", FIRST_WAIT, faults),
            factor,
            max_wait: fields.duration("max_wait", MAX_WAIT, faults),
            give_up_after: fields.duration("give_up_after", GIVE_UP_AFTER, faults),
            attempts: fields.integer("attempts", ATTEMPTS, faults).and_then(|n| u32::try_from(n).ok()),
        })
    }

    /// These words where they are written, else those of `base`.
    #[must_use]
    pub fn over(&self, base: &RetryPolicy) -> RetryPolicy {
        RetryPolicy {
            first_wait: self.first_wait.unwrap_or(base.first_wait),
            factor: self.factor.unwrap_or(base.factor),
            max_wait: self.max_wait.unwrap_or(base.max_wait),
            give_up_after: self.give_up_after.unwrap_or(base.give_up_after),
            attempts: self.attempts.or(base.attempts),
        }
    }
}

impl RetryPolicy {
    /// Reads a policy; what is not written stands as in `base`.
    pub fn read(node: &Node, base: &Self, faults: &mut Faults) -> Option<Self> {
        let policy = RetryWords::read(node, faults)?.over(base);
        if policy.first_wait > policy.max_wait {
            let place = ["first_wait", "max_wait"].iter().find_map(|name| node.get(name)).map_or(&node.place, |n| &n.place);
            let (first, max) = (format_duration(policy.first_wait), format_duration(policy.max_wait));
            let message = format!("`first_wait` ({first}) is longer than `max_wait` ({max})");
            faults.push(Fault::error("out-of-range", place.clone(), message).help("set both"));
        }
        Some(policy)
    }
}
