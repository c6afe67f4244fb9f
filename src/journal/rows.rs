//! Rows of the checkpoints: keys and values, byte by byte.
//!
//! One sled tree; the first byte of a key says what the row is. Keys are big endian so that they sort as their ids do,
//! values little endian. No value is longer than [`VALUE_MAX`]: longer ones are cut into numbered parts.
//!
//! ```text
//! key                          value                                            lifetime
//! 'p'                          1 layout · 8 position behind the last group      always
//!                              folded · 8 next group · 16 newest event ·
//!                              16 newest routed · 8 events · 16 oldest event ·
//!                              4 first segment · 8 generation · 32 hash of its texts
//! 'r' 26 run · 1 part          run (below)                                      leaves with the segment of its first record
//! 'f' 16 event · 1 part        8 position · JSON of the copies                  leaves with its event
//! 'g' 8 generation             8 position of its texts                          as long as a run needs it
//! 'c' 16 event                 8 position where it was written again            leaves with the segment of that
//! 's' 4 segment                1 layout · summary of a sealed segment           leaves with the segment
//! 'i' 4 segment · 2 page       40 per block: 16 first event · 4 offset ·        leaves with the segment
//!                              8 + 8 smallest and largest `received` in ms · 4 events
//! 'n' 1 space · key · 0 ·      8 position · the value kept under that name      until it is forgotten
//!     1 part
//! 't' 16 order key             26 the run that has the turn                      until nobody has it
//! 't' 16 order key · 8 since · nothing: the run waits for the turn, since that   until it has it, or is over
//!     26 run                   position
//! 'd' 8 due in ms · 26 run     nothing: runs in the order in which they are due changes with the row of its run
//! 'w' 8 what is awaited ·      nothing: the run awaits it                        changes with the row of its run
//!     26 run
//! 'o' kind · what is counted   8 how many runs                                  changes with the rows of runs
//!
//! run    8 position · 8 position of its first record · 8 generation · 1 state · 8 due in ms (or the smallest number) · 8 created in ms · 4 length, rule ·
//!        1 count, 8 of each that it awaits ·
//!        4 count, 4 step + 8 position of each value that is in the journal ·
//!        4 count, 4 step + 4 attempt + 8 position of what is recorded of it · 8 position of `would` or 0 · JSON of the run
//! ```

use crate::event::{EventId, RuleName, RunId};
use crate::journal::codec::{Take, Undecodable};
use crate::journal::fold::{FoldRow, Heads, RunRow};
use crate::journal::format::Position;
use crate::journal::order::Place;
use crate::journal::words::Space;
use crate::runs::{Awaited, AwaitedKey, OrderKey, Run, RunState};
use crate::time::Timestamp;

/// The layout that this version writes; another one is rebuilt.
pub(super) const LAYOUT: u8 = 4;

/// The longest value of a row.
pub(super) const VALUE_MAX: usize = 4096;

/// The most things that one run awaits at once and is woken for: more than a list has elements under way.
pub(super) const AWAITED_MAX: usize = 64;

/// The most parts of one row, so that its number fits into a byte.
pub(super) const PARTS_MAX: usize = 256;

/// A row's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowKey {
    Run(RunId),
    Folded(EventId),
    Carried(EventId),
    Generation(u64),
    Segment(u32),
    Index(u32, u16),
    Kept(Space, String),
    /// Who has the turn of a key; with a place, who waits for it there.
    Turn(OrderKey, Option<Place>),
}

/// The key of the position row.
pub(super) const POSITION_KEY: &[u8] = b"p";

impl RowKey {
    /// The stored key; rows that may have parts end in the number of the part, which is 0 here.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(28);
        match self {
            Self::Run(id) => {
                key.push(b'r');
                key.extend_from_slice(&id.to_bytes());
                key.push(0);
            }
            Self::Folded(id) => {
                key.push(b'f');
                key.extend_from_slice(&id.to_bytes());
                key.push(0);
            }
            Self::Carried(id) => {
                key.push(b'c');
                key.extend_from_slice(&id.to_bytes());
            }
            Self::Generation(generation) => {
                key.push(b'g');
                key.extend_from_slice(&generation.to_be_bytes());
            }
            Self::Segment(segment) => {
                key.push(b's');
                key.extend_from_slice(&segment.to_be_bytes());
            }
            Self::Index(segment, page) => {
                key.push(b'i');
                key.extend_from_slice(&segment.to_be_bytes());
                key.extend_from_slice(&page.to_be_bytes());
            }
            Self::Kept(space, name) => {
                key.extend_from_slice(&kept_prefix(*space, name));
                key.extend_from_slice(&[0, 0]);
            }
            Self::Turn(order, place) => {
                key.push(b't');
                key.extend_from_slice(&order.0);
                if let Some((since, run)) = place {
                    key.extend_from_slice(&since.to_be_bytes());
                    key.extend_from_slice(&run.to_bytes());
                }
            }
        }
        key
    }

    /// A stored key of an event's copies, a carried event or a generation, read again; other keys, and further parts, are none.
    pub(super) fn parse(key: &[u8]) -> Option<Self> {
        let event = |bytes: &[u8]| Some(EventId::from_bytes(bytes.try_into().ok()?));
        match *key.first()? {
            b'f' if key.len() == 18 && key[17] == 0 => event(&key[1..17]).map(Self::Folded),
            b'c' => event(&key[1..]).map(Self::Carried),
            b'g' => Some(Self::Generation(u64::from_be_bytes(key[1..].try_into().ok()?))),
            _ => None,
        }
    }

    /// The stored key of the first part of the row that a stored key belongs to.
    pub(super) fn first_part(key: &[u8]) -> Vec<u8> {
        let mut key = key.to_vec();
        if let (Some(b'r' | b'f' | b'n'), Some(part)) = (key.first().copied(), key.last_mut()) {
            *part = 0;
        }
        key
    }

    /// Whether the row may be cut into parts.
    pub(super) fn has_parts(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Folded(_) | Self::Kept(..))
    }
}

/// A row's content.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Row {
    Run(Box<RunRow>),
    Folded(FoldRow),
    /// Pages, and everything else that is written once and read as it is.
    Bytes(Vec<u8>),
    /// The row is no more.
    Gone,
}

impl Row {
    /// The stored value, before it is cut into parts.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Run(row) => run_bytes(row),
            Self::Folded(row) => {
                let mut out = row.at.packed().to_le_bytes().to_vec();
                serde_json::to_writer(&mut out, &row.folded)?;
                Ok(out)
            }
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Gone => Ok(Vec::new()),
        }
    }
}

/// What lists and timers need of a run, without its JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunHead {
    pub(super) state: RunState,
    /// When it is due in milliseconds, rounded up.
    pub(super) due: Option<i64>,
    pub(super) created: i64,
    /// The rule generation that it was planned with.
    pub(super) generation: u64,
    pub(super) rule: RuleName,
    /// What it awaits, at most [`AWAITED_MAX`].
    pub(super) awaited: Vec<AwaitedKey>,
}

impl RunHead {
    pub(super) fn of(run: &Run) -> Self {
        Self {
            state: run.state,
            due: due_of(run),
            created: run.planned.created.as_millis(),
            generation: run.planned.generation,
            rule: run.planned.rule.clone(),
            awaited: awaited_of(run),
        }
    }
}

fn awaited_of(run: &Run) -> Vec<AwaitedKey> {
    let mut keys: Vec<_> = run.awaited().take(AWAITED_MAX).map(Awaited::key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// When a run is due in milliseconds, rounded up.
pub(super) fn due_of(run: &Run) -> Option<i64> {
    run.next_at.filter(|_| !run.state.is_settled() && run.state != RunState::Blocked).map(ceil_millis)
}

/// The first millisecond that is not before `time`.
pub(super) fn ceil_millis(time: Timestamp) -> i64 {
    let millis = time.as_millis();
    if Timestamp::from_millis(millis) < time { millis + 1 } else { millis }
}

fn run_bytes(row: &RunRow) -> serde_json::Result<Vec<u8>> {
    let head = RunHead::of(&row.run);
    let mut out = row.at.packed().to_le_bytes().to_vec();
    out.extend_from_slice(&row.base.packed().to_le_bytes());
    out.extend_from_slice(&head.generation.to_le_bytes());
    out.push(RunState::ALL.iter().position(|s| *s == head.state).unwrap_or(0) as u8);
    out.extend_from_slice(&head.due.unwrap_or(i64::MIN).to_le_bytes());
    out.extend_from_slice(&head.created.to_le_bytes());
    out.extend_from_slice(&(head.rule.len() as u32).to_le_bytes());
    out.extend_from_slice(head.rule.as_bytes());
    out.push(head.awaited.len() as u8);
    head.awaited.iter().for_each(|key| out.extend_from_slice(&key.0.to_le_bytes()));
    out.extend_from_slice(&(row.values.len() as u32).to_le_bytes());
    for (step, at) in &row.values {
        out.extend_from_slice(&step.to_le_bytes());
        out.extend_from_slice(&at.packed().to_le_bytes());
    }
    out.extend_from_slice(&(row.recorded.len() as u32).to_le_bytes());
    for (key, number, at) in &row.recorded {
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&at.packed().to_le_bytes());
    }
    out.extend_from_slice(&row.would.unwrap_or_default().packed().to_le_bytes());
    serde_json::to_writer(&mut out, &row.run)?;
    Ok(out)
}

fn take_head(take: &mut Take<'_>) -> Result<(Position, Position, RunHead), Undecodable> {
    let at = Position::unpacked(take.u64()?);
    let base = Position::unpacked(take.u64()?);
    let generation = take.u64()?;
    let state = *RunState::ALL.get(usize::from(take.array::<1>()?[0])).ok_or(Undecodable)?;
    let due = i64::from_le_bytes(take.array()?);
    let created = i64::from_le_bytes(take.array()?);
    let length = take.u32()? as usize;
    let rule = std::str::from_utf8(take.bytes(length)?).map_err(|_| Undecodable)?.into();
    let awaited = (0..take.u8()?).map(|_| take.u64().map(AwaitedKey)).collect::<Result<_, _>>()?;
    Ok((at, base, RunHead { state, due: (due != i64::MIN).then_some(due), created, generation, rule, awaited }))
}

/// The first record and the head of a stored run; its first part is enough.
pub(super) fn run_head(value: &[u8]) -> Result<(Position, RunHead), Undecodable> {
    let (_, base, head) = take_head(&mut Take(value))?;
    Ok((base, head))
}

pub(super) fn run_row(value: &[u8]) -> Result<RunRow, Undecodable> {
    let mut take = Take(value);
    let (at, base, _) = take_head(&mut take)?;
    let mut values = Vec::new();
    for _ in 0..take.u32()? {
        values.push((take.u32()?, Position::unpacked(take.u64()?)));
    }
    let mut recorded = Vec::new();
    for _ in 0..take.u32()? {
        recorded.push((take.u32()?, take.u32()?, Position::unpacked(take.u64()?)));
    }
    let would = Some(Position::unpacked(take.u64()?)).filter(|at| *at != Position::default());
    Ok(RunRow { run: serde_json::from_slice(take.0).map_err(|_| Undecodable)?, at, base, values, recorded, would })
}

pub(super) fn fold_row(value: &[u8]) -> Result<FoldRow, Undecodable> {
    let mut take = Take(value);
    let at = Position::unpacked(take.u64()?);
    Ok(FoldRow { folded: serde_json::from_slice(take.0).map_err(|_| Undecodable)?, at })
}

/// The row of a kept value: where it was written last, and the value.
pub(super) fn kept_bytes(at: Position, value: &[u8]) -> Vec<u8> {
    [&at.packed().to_le_bytes(), value].concat()
}

/// Position and value of such a row.
pub(super) fn kept_row(row: &[u8]) -> Result<(Position, &[u8]), Undecodable> {
    let mut take = Take(row);
    Ok((Position::unpacked(take.u64()?), take.0))
}

/// How the stored keys of values under names with this beginning begin.
pub(super) fn kept_prefix(space: Space, beginning: &str) -> Vec<u8> {
    let mut key = vec![b'n', space as u8];
    key.extend_from_slice(beginning.as_bytes());
    key
}

/// The name in a stored key of a kept value.
pub(super) fn kept_of_key(key: &[u8]) -> Option<&str> {
    let (name, [0, _]) = key.get(2..)?.split_last_chunk()? else { return None };
    std::str::from_utf8(name).ok()
}

/// The id in a stored key of a run, and the number of the part.
pub(super) fn run_of_key(key: &[u8]) -> Option<(RunId, u8)> {
    let id: &[u8; 26] = key.get(1..27)?.try_into().ok()?;
    Some((RunId::from_bytes(id), *key.get(27)?))
}

/// How far the rows are, and the numbers at that point.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Standing {
    /// Behind the last group folded: where replay goes on.
    pub(super) next: Position,
    /// The number of the group that comes there.
    pub(super) group: u64,
    pub(super) heads: Heads,
}

impl Standing {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let heads = &self.heads;
        let mut out = vec![LAYOUT];
        out.extend_from_slice(&self.next.packed().to_le_bytes());
        out.extend_from_slice(&self.group.to_le_bytes());
        out.extend_from_slice(&heads.newest.to_bytes());
        out.extend_from_slice(&heads.routed.to_bytes());
        out.extend_from_slice(&heads.events.to_le_bytes());
        out.extend_from_slice(&heads.oldest.to_bytes());
        out.extend_from_slice(&heads.first.to_le_bytes());
        out.extend_from_slice(&heads.generation.to_le_bytes());
        out.extend_from_slice(&heads.rules_hash);
        out
    }

    /// Fails for another layout too.
    pub(super) fn from_bytes(value: &[u8]) -> Result<Self, Undecodable> {
        let mut take = Take(value);
        if take.array()? != [LAYOUT] {
            return Err(Undecodable);
        }
        Ok(Self {
            next: Position::unpacked(take.u64()?),
            group: take.u64()?,
            heads: Heads {
                newest: take.id()?,
                routed: take.id()?,
                events: take.u64()?,
                oldest: take.id()?,
                first: take.u32()?,
                generation: take.u64()?,
                rules_hash: take.array()?,
            },
        })
    }
}
