//! Who may send now: permits over all and per target, a queue before each target, and the targets' breakers.
//!
//! A breaker guards a target; a refusal that is configuration (a queue that is not there, a folder without the right)
//! says nothing about the target's other queues and opens the breaker of that part only.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::kept::Open;
use super::labels::Labels;
use crate::event::RunId;
use crate::metric;
use crate::runs::{Breaker, Cause, Class, Failure};
use crate::time::Timestamp;

/// Requests in flight over all targets.
pub(super) const IN_FLIGHT_MAX: usize = 512;
/// Requests in flight to one target.
pub(super) const PER_TARGET: usize = 16;
/// Parts of a target that have a breaker of their own; further ones share the target's.
const PARTS_MAX: usize = 256;
/// Gates that nothing passes are forgotten above this many.
const GATES_MAX: usize = 1_000;
/// The shortest and the longest time that a run is put back when there is no room before its target.
const PUT_BACK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Runs that an open breaker keeps waiting come back so far apart: each costs as much as one that may go, and those of other targets
/// stand behind them.
const TURNS_APART: Duration = Duration::from_millis(4);
/// Turns are given for so long ahead; then they begin at the front again, between those that were given.
const TURNS_MAX: Duration = Duration::from_secs(1_800);

/// How often breakers are looked for that nothing waits for.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Where a request goes, as far as permits and breakers care.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The orchestrator's name, or scheme, host and port.
    pub(super) target: Arc<str>,
    /// The queue, process or step whose configuration may be wrong by itself.
    pub(super) part: Option<String>,
    /// Requests in flight at once.
    pub(super) permits: usize,
}

/// What happens to a run that comes to a gate.
#[derive(Debug, PartialEq)]
pub(super) enum Entry {
    /// It goes through and holds a permit until it leaves.
    Go,
    /// It stands in the queue; [`Gates::pop`] will name it.
    Parked,
    /// The queue is full: it is to come back after this long.
    PutBack(Duration),
    /// The breaker is open: its turn comes then.
    Refused(Timestamp, Cause),
}

/// Until when a breaker is open, and how often it opened.
type Mark = Option<(Timestamp, u32)>;

#[derive(Debug)]
struct Gate {
    label: Arc<str>,
    permits: usize,
    in_flight: usize,
    parked: VecDeque<RunId>,
    breaker: Breaker,
    parts: HashMap<String, Breaker>,
    /// Runs that were put back and did not come again yet.
    put_back: u32,
    /// The latest turn that was given to a run that waits for the breaker.
    last_turn: Timestamp,
    /// How long an attempt takes, a moving average in seconds.
    pace: f64,
    /// What the gauge says.
    shown_open: bool,
}

/// The gates of all targets.
#[derive(Debug, Default)]
pub(super) struct Gates {
    gates: HashMap<Arc<str>, Gate>,
    in_flight: usize,
    labels: Labels,
    /// Breakers that opened, stay open longer, or closed since they were last asked for.
    changed: Vec<Changed>,
    /// When stale breakers are looked for next.
    forget_at: Option<Timestamp>,
}

/// A breaker that changed: its target, the part of it, and how it is open now.
pub(super) type Changed = (Arc<str>, Option<String>, Option<Open>);

impl Gates {
    /// Puts back a breaker that was open when the process ended.
    pub(super) fn restore(&mut self, open: &Open, now: Timestamp) {
        let place = Place { target: Arc::from(open.target.as_str()), part: open.part.clone(), permits: PER_TARGET };
        let gate = self.gate(&place);
        let breaker = open.breaker(now);
        match &open.part {
            Some(part) if gate.parts.len() < PARTS_MAX => drop(gate.parts.insert(part.clone(), breaker)),
            Some(_) => {}
            None => gate.breaker = breaker,
        }
        gate.show(&place.target);
        self.changed.push((place.target, place.part, Some(open.clone())));
    }

    /// Closes breakers that nobody has probed for long: the runs that met them have given up, and an alarm would stay for ever.
    pub(super) fn forget(&mut self, now: Timestamp) {
        if self.forget_at.is_some_and(|at| now < at) {
            return;
        }
        self.forget_at = Some(now.plus(FORGET_EVERY));
        for (target, gate) in &mut self.gates {
            if gate.breaker.is_stale(now) {
                gate.breaker = Breaker::default();
                self.changed.push((target.clone(), None, None));
            }
            for (part, _) in gate.parts.extract_if(|_, breaker| breaker.is_stale(now)) {
                self.changed.push((target.clone(), Some(part), None));
            }
            gate.show(target);
        }
    }

    /// What changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> Vec<Changed> {
        std::mem::take(&mut self.changed)
    }
    /// A run wants to send. `room` is how many more may queue before this gate; `again`: it was put back before.
    pub(super) fn enter(&mut self, place: &Place, run: RunId, room: usize, again: bool, now: Timestamp) -> Entry {
        let free = self.in_flight < IN_FLIGHT_MAX;
        let gate = self.gate(place);
        gate.put_back = gate.put_back.saturating_sub(u32::from(again));
        if let Err((until, cause)) = gate.admits(place, now) {
            return Entry::Refused(gate.turn(until), cause);
        }
        if free && gate.in_flight < gate.permits && gate.parked.is_empty() {
            gate.begin(place, now);
            self.in_flight += 1;
            return Entry::Go;
        }
        if gate.parked.len() < room.max(gate.permits) {
            gate.parked.push_back(run);
            return Entry::Parked;
        }
        gate.put_back = gate.put_back.saturating_add(1);
        let ahead = gate.parked.len() as f64 + f64::from(gate.put_back);
        // Half of what the queue takes at its pace: a target that gets faster must not stand idle while its runs sleep.
        let wait = Duration::from_secs_f64((ahead * gate.pace / gate.permits.max(1) as f64 / 2.0).clamp(0.0, PUT_BACK.1.as_secs_f64()));
        Entry::PutBack(wait.max(PUT_BACK.0))
    }

    /// A run that was refused wants to send: whether it is refused again.
    pub(super) fn refuses(&mut self, place: &Place, now: Timestamp) -> Option<(Timestamp, Cause)> {
        let gate = self.gates.get_mut(&place.target)?;
        let (until, cause) = gate.admits(place, now).err()?;
        Some((gate.turn(until), cause))
    }

    /// The next run that stands before a gate with a free permit, this target's first.
    pub(super) fn pop(&mut self, target: &str) -> Option<RunId> {
        if self.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        if let Some(run) = self.gates.get_mut(target).and_then(Gate::pop) {
            return Some(run);
        }
        // Others wait in front of a free gate only because all permits were taken.
        if self.in_flight + 1 == IN_FLIGHT_MAX { self.gates.values_mut().find_map(Gate::pop) } else { None }
    }

    /// A run that was named by [`Gates::pop`] goes through, unless the breaker opened meanwhile.
    pub(super) fn start(&mut self, place: &Place, now: Timestamp) -> Result<(), (Timestamp, Cause)> {
        let gate = self.gate(place);
        gate.admits(place, now).map_err(|(until, cause)| (gate.turn(until), cause))?;
        gate.begin(place, now);
        self.in_flight += 1;
        Ok(())
    }

    /// Whether the breaker that a request would meet is open or half open.
    pub(super) fn is_open(&self, place: &Place) -> bool {
        self.gates.get(&place.target).is_some_and(|gate| gate.breaker.is_open() || gate.part(place).is_some_and(Breaker::is_open))
    }

    /// A request ended: gives the permit back, counts the outcome and says under which label.
    pub(super) fn leave(&mut self, place: &Place, failure: Option<&Failure>, took: Duration, now: Timestamp) -> Arc<str> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let gate = self.gate(place);
        gate.in_flight = gate.in_flight.saturating_sub(1);
        gate.pace = gate.pace.mul_add(0.9, took.as_secs_f64() * 0.1);
        let before = gate.marks(place);
        gate.count(place, failure, now);
        gate.show(&place.target);
        let label = gate.label.clone();
        let after = gate.marks(place);
        let whole = (before.0 != after.0).then(|| (None, Open::of(&place.target, None, &gate.breaker)));
        let part = (before.1 != after.1).then(|| {
            let open = gate.part(place).and_then(|part| Open::of(&place.target, place.part.as_deref(), part));
            (place.part.clone(), open)
        });
        self.changed.extend([whole, part].into_iter().flatten().map(|(part, open)| (place.target.clone(), part, open)));
        label
    }

    /// A request was lost (its task died): gives the permit back and says nothing of the target.
    pub(super) fn abandon(&mut self, place: &Place) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let gate = self.gate(place);
        gate.in_flight = gate.in_flight.saturating_sub(1);
    }

    fn gate(&mut self, place: &Place) -> &mut Gate {
        if self.gates.len() >= GATES_MAX && !self.gates.contains_key(&place.target) {
            self.gates.retain(|_, gate| gate.in_flight > 0 || !gate.parked.is_empty() || gate.is_open() || gate.put_back > 0);
        }
        self.gates.entry(place.target.clone()).or_insert_with(|| {
            // The scheme tells gates apart, people know the target by its host.
            let name = place.target.split_once("://").map_or_else(|| place.target.clone(), |(_, authority)| Arc::from(authority));
            let label = self.labels.label(&name);
            metrics::gauge!(metric::BREAKER_OPEN, "target" => label.to_string()).set(0.0);
            Gate {
                label,
                permits: place.permits,
                in_flight: 0,
                parked: VecDeque::new(),
                breaker: Breaker::default(),
                parts: HashMap::new(),
                put_back: 0,
                last_turn: Timestamp::EPOCH,
                pace: 0.0,
                shown_open: false,
            }
        })
    }
}

impl Gate {
    fn pop(&mut self) -> Option<RunId> {
        if self.in_flight < self.permits { self.parked.pop_front() } else { None }
    }

    fn admits(&self, place: &Place, now: Timestamp) -> Result<(), (Timestamp, Cause)> {
        self.breaker.admits(now)?;
        self.part(place).map_or(Ok(()), |part| part.admits(now))
    }

    /// When a run comes back that may not go before `until`: after those that wait already.
    fn turn(&mut self, until: Timestamp) -> Timestamp {
        let behind = self.last_turn.plus(TURNS_APART);
        self.last_turn = if behind.since(until) < TURNS_MAX { behind.max(until) } else { until };
        self.last_turn
    }

    fn part(&self, place: &Place) -> Option<&Breaker> {
        place.part.as_ref().and_then(|name| self.parts.get(name))
    }

    fn begin(&mut self, place: &Place, now: Timestamp) {
        self.in_flight += 1;
        self.breaker.begin(now);
        if let Some(part) = place.part.as_ref().and_then(|name| self.parts.get_mut(name)) {
            part.begin(now);
        }
    }

    fn count(&mut self, place: &Place, failure: Option<&Failure>, now: Timestamp) {
        let configuration = failure.is_some_and(|f| f.class == Class::Configuration);
        match &place.part {
            Some(name) if self.parts.contains_key(name) || (configuration && self.parts.len() < PARTS_MAX) => {
                let part = self.parts.entry(name.clone()).or_default();
                // What fails otherwise is the target's trouble and decides nothing about the part, but its probe is over.
                if configuration || failure.is_none() {
                    part.count(failure, now);
                } else {
                    part.probe = None;
                }
                if !part.is_open() {
                    self.parts.remove(name);
                }
                // A target that explains what is wrong with one part is alive.
                self.breaker.count(failure.filter(|_| !configuration), now);
            }
            _ => self.breaker.count(failure, now),
        }
    }

    /// What of both breakers is kept, as far as telling a change needs it.
    fn marks(&self, place: &Place) -> (Mark, Mark) {
        let mark = |breaker: &Breaker| {
            let open = breaker.open.as_ref().map(|(until, _)| (*until, breaker.openings));
            open.or_else(|| breaker.held.map(|until| (until, 0)))
        };
        (mark(&self.breaker), self.part(place).and_then(mark))
    }

    fn is_open(&self) -> bool {
        self.breaker.is_open() || self.parts.values().any(Breaker::is_open)
    }

    fn show(&mut self, target: &str) {
        let open = self.is_open();
        if open == self.shown_open {
            return;
        }
        self.shown_open = open;
        metrics::gauge!(metric::BREAKER_OPEN, "target" => self.label.to_string()).set(if open { 1.0 } else { 0.0 });
        if open {
            let of_part = || self.parts.iter().find_map(|(name, part)| part.open.as_ref().map(|open| (Some(name.as_str()), open)));
            let opened = self.breaker.open.as_ref().map(|open| (None, open)).or_else(of_part);
            if let Some((part, (until, cause))) = opened {
                let (cause, why) = (cause.code.as_str(), cause.message.as_str());
                tracing::warn!(target_name = target, part, cause, why, %until, "the breaker of a target opens; its runs wait");
            }
        } else {
            tracing::info!(target_name = target, "the breaker of a target closes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;

    fn place(target: &str, part: &str) -> Place {
        Place { target: Arc::from(target), part: Some(part.to_owned()), permits: PER_TARGET }
    }

    fn run(n: usize) -> RunId {
        RunId::of(EventId(n as u128), "rule")
    }

    fn failure(class: Class) -> Failure {
        Failure { class, status: None, message: "no".to_owned(), retry_after: None }
    }

    const NOW: Timestamp = Timestamp::EPOCH;
    const TOOK: Duration = Duration::from_millis(10);

    #[test]
    fn a_full_target_queues_and_then_puts_back_while_others_go() {
        let mut gates = Gates::default();
        let slow = place("slow", "q");
        for n in 0..PER_TARGET {
            assert_eq!(gates.enter(&slow, run(n), 20, false, NOW), Entry::Go);
        }
        for n in 0..20 {
            assert_eq!(gates.enter(&slow, run(100 + n), 20, false, NOW), Entry::Parked);
        }
        assert!(matches!(gates.enter(&slow, run(999), 20, false, NOW), Entry::PutBack(_)));
        assert_eq!(gates.enter(&place("fast", "q"), run(5), 20, false, NOW), Entry::Go);
        assert_eq!(gates.pop("slow"), None);
        gates.leave(&slow, None, TOOK, NOW);
        assert_eq!(gates.pop("slow"), Some(run(100)), "first come, first served");
        assert_eq!(gates.start(&slow, NOW), Ok(()));
        assert_eq!(gates.pop("slow"), None);
    }

    #[test]
    fn runs_are_put_back_for_half_as_long_as_the_queue_takes() {
        let mut gates = Gates::default();
        let slow = place("slow", "q");
        (0..PER_TARGET).for_each(|n| assert_eq!(gates.enter(&slow, run(n), 0, false, NOW), Entry::Go));
        for _ in 0..200 {
            gates.leave(&slow, None, Duration::from_secs(16), NOW);
            gates.start(&slow, NOW).expect("closed");
        }
        let mut longest = Duration::ZERO;
        let mut first = None;
        for n in 0..1_000 {
            if let Entry::PutBack(wait) = gates.enter(&slow, run(100 + n), 0, false, NOW) {
                assert!(wait >= longest && wait <= PUT_BACK.1);
                longest = wait;
                first.get_or_insert(wait);
            }
        }
        assert_eq!(longest, PUT_BACK.1);
        let first = first.expect("one was put back");
        assert!(first > Duration::from_secs(8) && first < Duration::from_secs(9), "17 are ahead, 16 at a time, 16 s each: {first:?}");
    }

    #[test]
    fn all_permits_together_are_bounded_and_none_is_lost() {
        let mut gates = Gates::default();
        let places: Vec<_> = (0..IN_FLIGHT_MAX / PER_TARGET + 1).map(|n| place(&format!("t{n}"), "q")).collect();
        let mut gone = Vec::new();
        for n in 0..places.len() * PER_TARGET {
            let place = &places[n / PER_TARGET];
            if gates.enter(place, run(n), 1_000, false, NOW) == Entry::Go {
                gone.push(place.clone());
            }
        }
        assert_eq!(gone.len(), IN_FLIGHT_MAX);
        let mut waiting = PER_TARGET;
        for place in gone {
            gates.leave(&place, None, TOOK, NOW);
            if let Some(_next) = gates.pop(&place.target) {
                waiting -= 1;
                gates.start(places.last().expect("places"), NOW).expect("closed");
            }
        }
        assert_eq!((waiting, gates.in_flight), (0, PER_TARGET));
    }

    #[test]
    fn a_wrong_queue_stops_its_own_runs_only() {
        let mut gates = Gates::default();
        let (wrong, right) = (place("prod", "Typo"), place("prod", "Invoices"));
        gates.enter(&wrong, run(1), 0, false, NOW);
        gates.leave(&wrong, Some(&failure(Class::Configuration)), TOOK, NOW);
        assert!(matches!(gates.enter(&wrong, run(2), 0, false, NOW), Entry::Refused(_, cause) if cause.code == "configuration"));
        assert_eq!(gates.enter(&right, run(3), 0, false, NOW), Entry::Go);
        assert!(gates.gates["prod"].shown_open);
        let later = NOW.plus(Duration::from_secs(61));
        assert_eq!(gates.enter(&wrong, run(4), 0, false, later), Entry::Go);
        assert!(matches!(gates.enter(&wrong, run(5), 0, false, later), Entry::Refused(..)), "one probe at a time");
        gates.leave(&wrong, None, TOOK, later);
        assert!(!gates.gates["prod"].shown_open && gates.gates["prod"].parts.is_empty());
    }

    #[test]
    fn a_breaker_that_nobody_probes_is_forgotten() {
        let mut gates = Gates::default();
        let wrong = place("prod", "Typo");
        gates.enter(&wrong, run(1), 0, false, NOW);
        gates.leave(&wrong, Some(&failure(Class::Configuration)), TOOK, NOW);
        gates.take_changed();
        gates.forget(NOW.plus(Duration::from_secs(3_000)));
        assert!(gates.take_changed().is_empty() && gates.gates["prod"].shown_open);
        gates.forget(NOW.plus(Duration::from_secs(3_700)));
        assert!(matches!(gates.take_changed().as_slice(), [(_, Some(part), None)] if part == "Typo"));
        assert!(!gates.gates["prod"].shown_open);
    }

    #[test]
    fn what_opens_and_closes_is_told_and_may_be_put_back() {
        let mut gates = Gates::default();
        let wrong = place("prod", "Typo");
        gates.enter(&wrong, run(1), 0, false, NOW);
        gates.leave(&wrong, Some(&failure(Class::Configuration)), TOOK, NOW);
        let told = gates.take_changed();
        assert!(
            matches!(told.as_slice(), [(target, Some(part), Some(open))] if &**target == "prod" && part == "Typo" && open.openings == 1),
            "{told:?}"
        );
        assert!(gates.take_changed().is_empty());

        let mut again = Gates::default();
        again.restore(told[0].2.as_ref().expect("open"), NOW);
        assert!(again.gates["prod"].shown_open);
        assert!(matches!(again.enter(&wrong, run(2), 0, false, NOW), Entry::Refused(..)));
        assert_eq!(again.enter(&place("prod", "Invoices"), run(3), 0, false, NOW), Entry::Go);
        let later = NOW.plus(Duration::from_secs(61));
        assert_eq!(again.enter(&wrong, run(4), 0, false, later), Entry::Go, "the probe");
        again.take_changed();
        again.leave(&wrong, None, TOOK, later);
        let told = again.take_changed();
        assert!(matches!(told.as_slice(), [(_, Some(_), None)]), "{told:?}");

        // A whole target, likewise.
        for n in 0..5 {
            gates.enter(&place("other", "A"), run(n), 0, false, NOW);
            gates.leave(&place("other", "A"), Some(&failure(Class::Connect)), TOOK, NOW);
        }
        let told = gates.take_changed();
        assert!(matches!(told.as_slice(), [(_, None, Some(_))]), "{told:?}");
    }

    /// A million that came back together would keep the runs of other targets waiting.
    #[test]
    fn those_who_wait_for_a_breaker_come_back_one_after_another() {
        let mut gates = Gates::default();
        let down = place("down", "A");
        for n in 0..5 {
            gates.enter(&down, run(n), 0, false, NOW);
            gates.leave(&down, Some(&failure(Class::Connect)), TOOK, NOW);
        }
        let mut turn = |now: Timestamp| match gates.enter(&down, run(9), 0, false, now) {
            Entry::Refused(until, _) => until.since(NOW),
            other => panic!("{other:?}"),
        };
        let first = turn(NOW);
        assert_eq!((first, turn(NOW), turn(NOW)), (Duration::from_secs(5), first + TURNS_APART, first + 2 * TURNS_APART));
        let later = NOW.plus(Duration::from_secs(1));
        let turns = (TURNS_MAX.as_millis() / TURNS_APART.as_millis()) as usize;
        let all: Vec<_> = (0..turns).map(|_| turn(later)).collect();
        assert!(all.iter().all(|turn| *turn >= first && *turn < first + TURNS_MAX));
        assert!(all.contains(&first), "no turn is later than the longest: they begin at the front again");
    }

    #[test]
    fn a_target_that_is_down_stops_all_its_parts() {
        let mut gates = Gates::default();
        for n in 0..5 {
            gates.enter(&place("prod", "A"), run(n), 0, false, NOW);
            gates.leave(&place("prod", "A"), Some(&failure(Class::Connect)), TOOK, NOW);
        }
        assert!(matches!(gates.enter(&place("prod", "B"), run(9), 0, false, NOW), Entry::Refused(..)));
    }
}
