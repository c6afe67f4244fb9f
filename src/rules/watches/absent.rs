//! Events that do not come.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rules::index::TypePattern;
use crate::rules::pattern::Pattern;
use crate::time::{Daily, Timestamp};

/// Moments of which it is remembered what came before them.
const MOMENTS_KEPT: usize = 8;

/// What happened in time may come late: polling asks every few seconds. At most so long is waited for it.
const GRACE_MAX: Duration = Duration::from_secs(30);

/// And after a start, when what happened meanwhile is still to be read.
const GRACE_AFTER_START: Duration = Duration::from_secs(60);

/// What should have come.
#[derive(Clone, Debug)]
pub struct Absent {
    /// Types as written.
    pub events: Vec<String>,
    /// The same, in lower case.
    pub types: Vec<TypePattern>,
    /// What their data must be.
    pub pattern: Option<Pattern>,
    /// In how long.
    pub within: Duration,
    /// When it is looked.
    pub when: When,
}

/// When it is looked whether something came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Once a day.
    At(Daily),
    /// Again and again, at whole multiples since the epoch.
    Every(Duration),
    /// Whenever nothing came for so long; once until something comes again.
    Silence,
}

/// What came, by the moment at which it is looked next. Newest last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen(pub Vec<(Timestamp, Timestamp)>);

impl Seen {
    /// The last one up to a moment.
    #[must_use]
    pub fn until(&self, moment: Timestamp) -> Option<Timestamp> {
        self.0.iter().filter(|(next, _)| *next <= moment).map(|(_, seen)| *seen).max()
    }

    /// The last one of all.
    #[must_use]
    pub fn last(&self) -> Option<Timestamp> {
        self.0.iter().map(|(_, seen)| *seen).max()
    }
}

impl When {
    /// The first moment at or after `time`.
    fn next(self, time: Timestamp) -> Timestamp {
        match self {
            Self::At(daily) => daily.after(Timestamp::from_nanos(time.as_nanos().saturating_sub(1))),
            Self::Every(every) => {
                let width = i128::try_from(every.as_nanos()).unwrap_or(i128::MAX).max(1);
                let floor = time.as_nanos().div_euclid(width) * width;
                Timestamp::from_nanos(if floor == time.as_nanos() { floor } else { floor + width })
            }
            // One moment that never comes: only the last one counts.
            Self::Silence => Timestamp::from_millis(i64::MAX),
        }
    }

    /// The last moment at or before `now`.
    fn last(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(daily) => Some(daily.before(now)),
            Self::Every(every) => {
                let width = i128::try_from(every.as_nanos()).unwrap_or(i128::MAX).max(1);
                Some(Timestamp::from_nanos(now.as_nanos().div_euclid(width) * width))
            }
            Self::Silence => None,
        }
    }
}

impl Absent {
    /// What is remembered after one came at `time`; `None` when that is next to nothing new.
    #[must_use]
    pub fn after(&self, seen: &Seen, time: Timestamp) -> Option<Seen> {
        let next = self.when.next(time);
        let mut all = seen.clone();
        match all.0.iter_mut().find(|(moment, _)| *moment == next) {
            Some((_, last)) if time <= last.plus(Duration::from_secs(1).min(self.within / 20)) => return None,
            Some((_, last)) => *last = time,
            None => {
                all.0.push((next, time));
                all.0.sort_unstable();
                let surplus = all.0.len().saturating_sub(MOMENTS_KEPT);
                all.0.drain(..surplus);
            }
        }
        Some(all)
    }

    /// The moment whose absence is to be told at `now`; the same one again until it was told. `begun` is since when it is
    /// watched, `started` since when this process runs: a moment that passed before is looked at a little later.
    #[must_use]
    pub fn absence(&self, seen: &Seen, begun: Timestamp, started: Timestamp, told: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let grace = GRACE_MAX.min(self.within / 10);
        let moment = match self.when.last(now.minus(grace)) {
            Some(moment) => {
                // Nobody knows what came before it was watched.
                if moment.minus(self.within) < begun {
                    return None;
                }
                if seen.until(moment).is_some_and(|last| last > moment.minus(self.within)) {
                    return None;
                }
                moment
            }
            None => {
                let silent = seen.last().map_or(begun, |last| last.max(begun)).plus(self.within);
                if now < silent.plus(grace) {
                    return None;
                }
                silent
            }
        };
        let settled = moment >= started || now >= started.plus(GRACE_AFTER_START.min(self.within / 2));
        (settled && told.is_none_or(|told| told < moment)).then_some(moment)
    }
}
