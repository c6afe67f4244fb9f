//! What stands beside the rows of runs in the checkpoints, so that an open need not read them all: when runs are due, in
//! order, what they await, and sums over them.
//!
//! Always exactly what the stored rows say: a batch that changes the row of a run looks at what was stored before, and
//! changes both. So a batch that was the last one before a crash leaves nothing half counted.

use std::collections::BTreeMap;
use std::io;

use crate::event::{RuleName, RunId};
use crate::journal::awaits::{AWAITS, await_key, await_of_key};
use crate::journal::checkpoints::Checkpoints;
use crate::journal::codec::{Take, Undecodable};
use crate::journal::rows::{Row, RunHead, run_head, run_of_key};
use crate::journal::scan::is_damage;
use crate::runs::RunState;

/// How the keys of due times begin.
pub(super) const DUE: u8 = b'd';
/// How the keys of sums begin.
pub(super) const SUM: u8 = b'o';

/// Stored keys that are read at once.
const PAGE_ROWS: usize = 256;

/// When a run is due in milliseconds, and its id, packed: the smallest form that sorts.
pub(super) type Due = (i64, [u8; 26]);

/// The stored key of a due time: it sorts as the pair does.
pub(super) fn due_key((due, id): &Due) -> Vec<u8> {
    let mut key = Vec::with_capacity(35);
    key.push(DUE);
    key.extend_from_slice(&ordered(*due));
    key.extend_from_slice(id);
    key
}

/// A stored key read again.
pub(super) fn due_of_key(key: &[u8]) -> Option<Due> {
    let (time, id) = key.strip_prefix(&[DUE])?.split_first_chunk::<8>()?;
    Some((number(*time), id.try_into().ok()?))
}

/// A number so that its bytes sort as it does.
fn ordered(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn number(ordered: [u8; 8]) -> i64 {
    (u64::from_be_bytes(ordered) ^ (1 << 63)).cast_signed()
}

/// Something that is counted over runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sum {
    /// Runs that are not settled.
    Open,
    /// Those of them that were created in this second.
    Age(i64),
    /// Dead runs of a rule.
    Dead(RuleName),
    /// Runs that are not finished and were planned with this rule generation.
    Needs(u64),
}

impl Sum {
    /// Everything that a run counts for.
    pub(super) fn of(head: &RunHead) -> impl Iterator<Item = Self> {
        let open = (!head.state.is_settled()).then(|| [Self::Open, Self::Age(head.created.div_euclid(1000))]);
        let needs = (!head.state.is_finished()).then_some(Self::Needs(head.generation));
        let dead = (head.state == RunState::Dead).then(|| Self::Dead(head.rule.clone()));
        open.into_iter().flatten().chain(needs).chain(dead)
    }

    fn key(&self) -> Vec<u8> {
        let mut key = vec![SUM];
        match self {
            Self::Open => key.push(b'o'),
            Self::Age(second) => {
                key.push(b'a');
                key.extend_from_slice(&ordered(*second));
            }
            Self::Dead(rule) => {
                key.push(b'd');
                key.extend_from_slice(rule.as_bytes());
            }
            Self::Needs(generation) => {
                key.push(b'g');
                key.extend_from_slice(&generation.to_be_bytes());
            }
        }
        key
    }

    fn of_key(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.strip_prefix(&[SUM])?.split_first()?;
        Some(match kind {
            b'o' if rest.is_empty() => Self::Open,
            b'a' => Self::Age(number(rest.try_into().ok()?)),
            b'd' => Self::Dead(std::str::from_utf8(rest).ok()?.into()),
            b'g' => Self::Needs(u64::from_be_bytes(rest.try_into().ok()?)),
            _ => return None,
        })
    }
}

/// What one batch changes beside the rows of its runs. A batch holds a run once.
#[derive(Default)]
pub(super) struct Beside(BTreeMap<Sum, i64>);

impl Beside {
    /// The row of a run is written or removed with `batch`.
    pub(super) fn run(&mut self, stored: &Checkpoints, batch: &mut sled::Batch, id: RunId, row: &Row) -> io::Result<()> {
        let before = stored.run_head(id)?;
        let after = match row {
            Row::Run(row) => Some(RunHead::of(&row.run)),
            _ => None,
        };
        let due = |head: &Option<RunHead>| head.as_ref().and_then(|head| head.due).map(|due| due_key(&(due, id.to_bytes())));
        let (was, is) = (due(&before), due(&after));
        if was != is {
            if let Some(was) = was {
                batch.remove(was);
            }
            if let Some(is) = is {
                batch.insert(is, &[]);
            }
        }
        let awaits = |head: &Option<RunHead>| head.as_ref().map_or_else(Vec::new, |head| head.awaited.clone());
        let (was, is) = (awaits(&before), awaits(&after));
        was.iter().filter(|key| !is.contains(key)).for_each(|key| batch.remove(await_key(&(*key, id.to_bytes()))));
        is.iter().filter(|key| !was.contains(key)).for_each(|key| batch.insert(await_key(&(*key, id.to_bytes())), &[]));
        for (head, change) in [(before, -1), (after, 1)] {
            head.iter().flat_map(Sum::of).for_each(|sum| *self.0.entry(sum).or_default() += change);
        }
        Ok(())
    }

    /// Puts the sums into the batch.
    pub(super) fn finish(self, stored: &Checkpoints, batch: &mut sled::Batch) -> io::Result<()> {
        for (sum, change) in self.0.into_iter().filter(|(_, change)| *change != 0) {
            let key = sum.key();
            match stored.sum(&key)?.saturating_add_signed(change) {
                0 => batch.remove(key),
                count => batch.insert(key, &count.to_le_bytes()),
            }
        }
        Ok(())
    }
}

/// A stored sum.
pub(super) fn count(value: &[u8]) -> Result<u64, Undecodable> {
    Take(value).u64()
}

/// Hands every stored sum to `visit`.
pub(super) fn sums_each(stored: &Checkpoints, visit: &mut dyn FnMut(Sum, u64)) -> io::Result<()> {
    pages(stored, SUM, &mut |key, value| {
        visit(Sum::of_key(key).ok_or(Undecodable)?, count(value)?);
        Ok(())
    })
}

/// What is done with a stored key and its value.
type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<()> + 'a;

fn pages(stored: &Checkpoints, prefix: u8, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = stored.after(prefix, after.as_deref(), PAGE_ROWS)?;
        for (key, value) in &rows {
            visit(key, value)?;
        }
        match rows.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// What stands beside the stored rows of runs and is not what they say: its keys.
pub(super) fn wrong(stored: &Checkpoints) -> io::Result<Vec<Vec<u8>>> {
    let mut wrong = Vec::new();
    // One that does not decode is found below, among the rows.
    let head_of = |id| match stored.run_head(id) {
        Err(error) if is_damage(&error) => Ok(None),
        head => head,
    };
    let mut sums: BTreeMap<Sum, u64> = BTreeMap::new();
    pages(stored, b'r', &mut |key, value| {
        if let Some((id, 0)) = run_of_key(key) {
            let Ok((_, head)) = run_head(value) else {
                wrong.push(key.to_vec());
                return Ok(());
            };
            if let Some(time) = head.due {
                let key = due_key(&(time, id.to_bytes()));
                if !stored.holds(&key)? {
                    wrong.push(key);
                }
            }
            for awaited in &head.awaited {
                let key = await_key(&(*awaited, id.to_bytes()));
                if !stored.holds(&key)? {
                    wrong.push(key);
                }
            }
            Sum::of(&head).for_each(|sum| *sums.entry(sum).or_default() += 1);
        }
        Ok(())
    })?;
    pages(stored, DUE, &mut |key, _| {
        let run = due_of_key(key).map(|(time, id)| (time, RunId::from_bytes(&id)));
        let found = run.map(|(time, id)| Ok::<_, io::Error>((time, head_of(id)?))).transpose()?;
        if found.is_none_or(|(time, head)| head.and_then(|head| head.due) != Some(time)) {
            wrong.push(key.to_vec());
        }
        Ok(())
    })?;
    pages(stored, AWAITS, &mut |key, _| {
        let found = match await_of_key(key) {
            Some((awaited, id)) => head_of(RunId::from_bytes(&id))?.filter(|head| head.awaited.contains(&awaited)),
            None => None,
        };
        if found.is_none() {
            wrong.push(key.to_vec());
        }
        Ok(())
    })?;
    let mut stored_sums = BTreeMap::new();
    sums_each(stored, &mut |sum, count| {
        stored_sums.insert(sum, count);
    })?;
    let differs = |a: &BTreeMap<Sum, u64>, b: &BTreeMap<Sum, u64>| -> Vec<Vec<u8>> {
        a.iter().filter(|(sum, count)| b.get(*sum) != Some(*count)).map(|(sum, _)| sum.key()).collect()
    };
    wrong.extend(differs(&sums, &stored_sums));
    wrong.extend(differs(&stored_sums, &sums));
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::EventId;
    use crate::journal::checkpoints::Pace;
    use crate::journal::fold::RunRow;
    use crate::journal::format::Position;
    use crate::journal::rows::RowKey;
    use crate::runs::{NewRun, Run};
    use crate::time::Timestamp;

    #[test]
    fn keys_sort_as_what_they_stand_for_and_are_read_again() {
        let dues: Vec<Due> =
            [i64::MIN + 1, -1, 0, 1, 255, 256, i64::MAX].into_iter().flat_map(|due| [(due, [0; 26]), (due, [255; 26])]).collect();
        let keys: Vec<_> = dues.iter().map(due_key).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys.iter().map(|key| due_of_key(key)).collect::<Option<Vec<_>>>(), Some(dues));
        for sum in [Sum::Open, Sum::Age(-7), Sum::Age(i64::MAX), Sum::Dead("a rule".into()), Sum::Needs(u64::MAX)] {
            assert_eq!(Sum::of_key(&sum.key()), Some(sum));
        }
        assert_eq!((Sum::of_key(b"ox"), Sum::of_key(b"oa12"), due_of_key(b"d1")), (None, None, None));
    }

    fn row(number: u8, state: RunState, due: Option<u8>) -> (RowKey, Row) {
        let id = RunId::of(EventId(u128::from(number % 12)), "r");
        let created = Timestamp::from_millis(i64::from(number % 3) * 1000);
        let rule = format!("rule-{}", number % 2).into();
        let planned = NewRun { id, rule, generation: u64::from(number % 2), ..NewRun::plain(id.event, "r", created) };
        let mut run = Run::new(planned);
        run.state = state;
        run.next_at = due.map(|due| Timestamp::from_millis(i64::from(due)));
        let at = Position { segment: 1, offset: u32::from(number) };
        (RowKey::Run(id), Row::Run(Box::new(RunRow { run, at, base: at, values: Vec::new(), recorded: Vec::new(), would: None })))
    }

    fn changes() -> impl Strategy<Value = Vec<(u8, u8, Option<u8>, bool)>> {
        prop::collection::vec((0..12_u8, 0..RunState::ALL.len() as u8, proptest::option::of(0..9_u8), prop::bool::weighted(0.2)), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn index_and_sums_are_what_the_rows_say_after_every_batch(batches in prop::collection::vec(changes(), 1..12)) {
            let dir = tempfile::tempdir().expect("a folder");
            let stored = Checkpoints::open(dir.path()).expect("opens");
            let mut pace = Pace::default();
            for batch in batches {
                let rows: BTreeMap<RowKey, Row> = batch
                    .into_iter()
                    .map(|(number, state, due, gone)| {
                        let (key, row) = row(number, RunState::ALL[usize::from(state)], due);
                        (key, if gone { Row::Gone } else { row })
                    })
                    .collect();
                stored.apply(rows.iter(), None, &mut pace).expect("writes");
                prop_assert_eq!(wrong(&stored).expect("reads"), Vec::<Vec<u8>>::new());
            }
        }
    }

    #[test]
    fn what_is_not_what_the_rows_say_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let stored = Checkpoints::open(dir.path()).expect("opens");
        let (key, row) = row(1, RunState::Waiting, Some(7));
        stored.apply([(&key, &row)].into_iter(), None, &mut Pace::default()).expect("writes");
        assert_eq!(wrong(&stored).expect("reads"), Vec::<Vec<u8>>::new());
        let RowKey::Run(id) = key else { panic!("a run") };
        let (due, other) = (due_key(&(7, id.to_bytes())), due_key(&(8, id.to_bytes())));
        stored.tamper(&due, None);
        stored.tamper(&other, Some(&[]));
        stored.tamper(&Sum::Open.key(), Some(&2_u64.to_le_bytes()));
        let mut found = wrong(&stored).expect("reads");
        found.sort();
        found.dedup();
        assert_eq!(found, [due, other, Sum::Open.key()]);
    }
}
