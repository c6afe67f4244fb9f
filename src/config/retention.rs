//! `retention`: how long the journal keeps what.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::settings::Retention;
use super::shapes::RETENTION;
use crate::fault::{Fault, Faults};
use crate::time::DURATION_MAX;
use crate::yaml::Fields;

/// What ages may be.
const AGE: RangeInclusive<Duration> = Duration::from_secs(60)..=DURATION_MAX;
/// What the size may be. Less would not hold what is being written.
const SIZE: RangeInclusive<u64> = 16 << 20..=1 << 50;

/// The limits that are written, the standard ones for the rest.
pub(super) fn retention(fields: &Fields<'_>, faults: &mut Faults) -> Retention {
    let standard = Retention::default();
    let Some(node) = fields.get("retention") else { return standard };
    let Some(fields) = Fields::read(node, "`retention`", &RETENTION, faults) else { return standard };
    let age = fields.duration("age", AGE, faults).unwrap_or(standard.age);
    let size = fields.size("size", SIZE, faults).unwrap_or(standard.size);
    let dead = fields.duration("dead", AGE, faults);
    if let Some(dead) = dead
        && dead < age
    {
        let place = fields.get("dead").map_or(fields.place, |node| &node.place).clone();
        let fault = Fault::error("retention", place, "`dead` is shorter than `age`: dead runs would be kept no longer than others");
        faults.push(fault.help("let `dead` be at least `age`, or leave it out"));
    }
    Retention { age, size, dead: dead.unwrap_or(standard.dead).max(age) }
}
