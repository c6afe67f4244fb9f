//! Reading `retry`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::RetryPolicy;
use super::shapes::RETRY;
use crate::fault::{Fault, Faults};
use crate::time::format_duration;
use crate::yaml::{Fields, Node, Yaml};

const FIRST_WAIT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
const MAX_WAIT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(7 * 24 * 3600);
const GIVE_UP_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(90 * 24 * 3600);
pub(super) const FACTOR: RangeInclusive<f64> = 1.0..=100.0;
pub(super) const ATTEMPTS: RangeInclusive<u64> = 1..=1_000;

/// Reads a policy; what is not written stands as in `base`.
pub(super) fn read(node: &Node, base: &RetryPolicy, faults: &mut Faults) -> Option<RetryPolicy> {
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
    let policy = RetryPolicy {
        first_wait: fields.duration("first_wait", FIRST_WAIT, faults).unwrap_or(base.first_wait),
        factor: factor.unwrap_or(base.factor),
        max_wait: fields.duration("max_wait", MAX_WAIT, faults).unwrap_or(base.max_wait),
        give_up_after: fields.duration("give_up_after", GIVE_UP_AFTER, faults).unwrap_or(base.give_up_after),
        attempts: fields.integer("attempts", ATTEMPTS, faults).and_then(|n| u32::try_from(n).ok()).or(base.attempts),
    };
    if policy.first_wait > policy.max_wait {
        let place = ["first_wait", "max_wait"].iter().find_map(|name| fields.get(name)).map_or(fields.place, |n| &n.place);
        let (first, max) = (format_duration(policy.first_wait), format_duration(policy.max_wait));
        let message = format!("`first_wait` ({first}) is longer than `max_wait` ({max})");
        faults.push(Fault::error("out-of-range", place.clone(), message).help("set both"));
    }
    Some(policy)
}
