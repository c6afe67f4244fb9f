//! Changes that are told in two ways: at once, with what was set, and by a row that is read when that may be set anew.
//!
//! An edit of a queue item is such a change. A webhook's body has the values that tell it apart from another edit of the same
//! moment; the row of a change feed has an Id of its own. So each way tells its copies by itself, and of the two ways those belong
//! together whose moments are nearest. For that all tellings of a moment are found: they stand under numbered
//! fingerprints ([`telling_print`](crate::journal::index::telling_print)), events and folds alike. Pure: tellings in, the original out.
//!
//! ```text
//! telling   str key · time stamp · 8 tolerance in ns · 1 flag (16 told apart by value, 32 by row) · 4 place
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::{Apart, EventId, Key};
use crate::journal::codec::{EventRecord, FoldRecord, Take, Undecodable, put_opt, put_str, put_time};
use crate::journal::format::{Frame, Kind, Position};

/// The most tellings of one thing in one slot of stamps: six edits a second, told both ways. Those above are told apart as
/// they come, which may tell a change once each way.
pub(super) const TELLINGS_MAX: u32 = 64;

/// How many slots away a telling may stand: its original within the tolerance of it, and that within the tolerance of the other.
pub(super) const SLOTS_AWAY: i64 = 2;

const BY_VALUE: u8 = 16;
const BY_ROW: u8 = 32;
/// The place of an event that is not among the tellings of its moment.
pub(super) const NO_PLACE: u32 = u32::MAX;

pub(super) fn apart_flag(apart: Apart) -> u8 {
    match apart {
        Apart::Text => 0,
        Apart::Value => BY_VALUE,
        Apart::Row => BY_ROW,
    }
}

pub(super) fn apart_of(flags: u8) -> Apart {
    match flags & (BY_VALUE | BY_ROW) {
        BY_VALUE => Apart::Value,
        BY_ROW => Apart::Row,
        _ => Apart::Text,
    }
}

/// Adds the telling of a fold.
pub(super) fn put(out: &mut Vec<u8>, telling: Option<(&Key, u32)>) {
    put_opt(out, telling.and_then(|(key, place)| Some((key, key.stamp?, place))), |out, (key, stamp, place)| {
        put_str(out, &key.text);
        put_time(out, stamp);
        out.extend_from_slice(&u64::try_from(key.tolerance.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
        out.push(apart_flag(key.apart));
        out.extend_from_slice(&place.to_le_bytes());
    });
}

/// Takes what [`put`] wrote.
pub(super) fn take(take: &mut Take<'_>) -> Result<Option<(Key, u32)>, Undecodable> {
    if take.0.is_empty() {
        return Ok(None);
    }
    take.opt(|take| {
        let (text, stamp) = (take.str()?.into(), Some(take.time()?));
        let (tolerance, apart) = (Duration::from_nanos(take.u64()?), apart_of(take.u8()?));
        Ok((Key { text, stamp, tolerance, apart }, take.u32()?))
    })
}

/// One way in which a change was told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Telling {
    /// The change's event.
    pub(super) original: EventId,
    /// Where that stands, if this is its record.
    pub(super) event: Option<Position>,
    pub(super) key: Key,
}

impl Telling {
    /// The telling that a record holds, with its place.
    pub(super) fn of(frame: Frame<'_>, at: Position) -> Result<Option<(Self, u32)>, Undecodable> {
        Ok(match frame.kind {
            Kind::Event => {
                let event = EventRecord::decode(frame.payload)?;
                event.place.map(|place| (Self { original: event.id, event: Some(at), key: event.key() }, place))
            }
            Kind::Fold => {
                let (fold, ..) = FoldRecord::decode(frame.payload)?;
                let telling = FoldRecord::telling(frame.payload)?;
                telling.map(|(key, place)| (Self { original: fold.original, event: None, key }, place))
            }
            _ => None,
        })
    }
}

/// The event of the change that `key` tells, and whether it was told this way before. `later` are the keys that are told together
/// with it: what one of them fits better is left to it.
pub(super) fn original<'k>(key: &'k Key, later: impl Iterator<Item = &'k Key>, tellings: &[Telling]) -> Option<(EventId, bool)> {
    let same = tellings.iter().filter(|told| told.key.same_change(key));
    if let Some(same) = same.min_by_key(|told| told.key.distance(key)) {
        return Some((same.original, true));
    }
    let (this_way, other_way): (Vec<&Telling>, Vec<&Telling>) = tellings.iter().partition(|told| told.key.apart == key.apart);
    let taken: BTreeSet<EventId> = this_way.iter().map(|told| told.original).collect();
    let open: Vec<&Telling> = other_way.into_iter().filter(|told| !taken.contains(&told.original)).collect();
    if !open.iter().any(|told| told.key.may_be(key)) {
        return None;
    }
    let later = later.filter(|later| later.apart == key.apart && later.base() == key.base());
    let later = later.filter(|later| !this_way.iter().any(|told| told.key.same_change(later)));
    let together: Vec<&Key> = std::iter::once(key).chain(later.take(TELLINGS_MAX as usize)).collect();
    nearest(&together, &open).map(|id| (id, false))
}

/// What the first key gets when the nearest are paired, then the nearest of the rest, and so on.
fn nearest(keys: &[&Key], open: &[&Telling]) -> Option<EventId> {
    let pairs = keys.iter().enumerate().flat_map(|(k, key)| {
        let fits = open.iter().enumerate().filter(|(_, told)| told.key.may_be(key));
        fits.map(move |(t, told)| (key.distance(&told.key), k, t))
    });
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    let (mut done, mut given) = (BTreeSet::new(), BTreeSet::new());
    for (_, k, t) in pairs {
        if done.contains(&k) || given.contains(&t) {
            continue;
        }
        if k == 0 {
            return open.get(t).map(|told| told.original);
        }
        done.insert(k);
        given.insert(t);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Via;
    use crate::journal::codec::put_fold;
    use crate::time::Timestamp;

    fn key(text: &str, millis: i64) -> Key {
        let apart = if text.starts_with("row") { Apart::Row } else { Apart::Value };
        Key { apart, ..Key::stamped(format!("t|queueItem|7|queueItem.updated|{text}"), Some(Timestamp::from_millis(millis))) }
    }

    fn telling(original: u128, text: &str, millis: i64) -> Telling {
        Telling { original: EventId(original), event: None, key: key(text, millis) }
    }

    /// The event's number, and whether it was told this way before.
    fn of(text: &str, millis: i64, later: &[(&str, i64)], tellings: &[Telling]) -> Option<(u128, bool)> {
        let later: Vec<Key> = later.iter().map(|(text, millis)| key(text, *millis)).collect();
        original(&key(text, millis), later.iter(), tellings).map(|(id, known)| (id.0, known))
    }

    #[test]
    fn each_way_knows_its_own_copies_and_what_the_other_way_told_about_then() {
        let told = [telling(1, "a", 0), telling(2, "b", 2000), telling(1, "row 4", 100)];
        assert_eq!(of("a", 50, &[], &told), Some((1, true)), "a copy");
        assert_eq!(of("row 4", 100, &[], &told), Some((1, true)), "read again");
        assert_eq!(of("c", 60, &[], &told), None, "another edit, though the row of the first was told");
        assert_eq!(of("row 5", 0, &[], &told), Some((2, false)), "the first one has its row");
        assert_eq!(of("row 5", 7001, &[], &told), None, "too long after");
        assert_eq!(of("row 5", 7000, &[], &told), Some((2, false)));
        assert_eq!(of("c", 0, &[], &[telling(3, "row 9", 4999)]), Some((3, false)));
        assert_eq!(of("c", 0, &[], &[]), None);
    }

    #[test]
    fn what_fits_a_later_row_better_is_left_to_it() {
        let told = [telling(2, "b", 2000)];
        assert_eq!(of("row 4", 0, &[("row 5", 2010)], &told), None, "the first one was lost");
        assert_eq!(of("row 5", 2010, &[], &told), Some((2, false)));
        let told = [telling(1, "a", 0), telling(2, "b", 300)];
        assert_eq!(of("row 4", 250, &[("row 5", 550)], &told), Some((2, false)));
        assert_eq!(of("row 5", 550, &[], &[told[0].clone(), told[1].clone(), telling(2, "row 4", 250)]), Some((1, false)));
        // One that was read before is nobody's rival, nor is another item's.
        let told = [telling(2, "b", 2000), telling(9, "row 5", 2010)];
        assert_eq!(of("row 4", 0, &[("row 5", 2010)], &told), Some((2, false)));
    }

    #[test]
    fn folds_of_old_journals_have_no_telling() {
        let at = Timestamp::from_millis(7);
        let fold = FoldRecord { original: EventId(1), source: "hook".into(), via: Via::Webhook, folder: Some(2), received: at };
        let mut payload = Vec::new();
        put_fold(&mut payload, &fold, Some("e"), [3; 16], None);
        assert_eq!((payload.pop(), FoldRecord::telling(&payload)), (Some(0), Ok(None)));
        assert_eq!(FoldRecord::decode(&payload), Ok((fold.clone(), Some("e"), [3; 16])));
        let (key, mut payload) = (key("row 4", 9), Vec::new());
        put_fold(&mut payload, &fold, None, [0; 16], Some((&key, 5)));
        assert_eq!(FoldRecord::telling(&payload), Ok(Some((key, 5))));
    }

    /// What comes of edits that are told in this order: how many events. Rows of a batch are told together.
    fn events(order: &[Vec<Key>]) -> usize {
        let (mut told, mut events) = (Vec::new(), 0_u128);
        for batch in order {
            for (n, key) in batch.iter().enumerate() {
                let (id, known) = original(key, batch[n + 1..].iter(), &told).unwrap_or_else(|| {
                    events += 1;
                    (EventId(events), false)
                });
                if !known {
                    told.push(Telling { original: id, event: None, key: key.clone() });
                }
            }
        }
        usize::try_from(events).expect("few")
    }

    /// Edits with steps between them and how their webhooks are late, doubled or lost.
    fn edits() -> impl Strategy<Value = Vec<(i64, u8, i64)>> {
        prop::collection::vec((300..6000_i64, any::<u8>(), 0..20_000_i64), 1..30)
    }

    /// An edit's moment and row, and its webhooks with when they come.
    type Life = (i64, Key, Vec<(i64, Key)>);

    fn lives(edits: &[(i64, u8, i64)]) -> Vec<Life> {
        let mut now = 0;
        let each = edits.iter().enumerate().map(|(n, (step, fate, late))| {
            now += step;
            // A copy of another folder is made a moment later.
            let copies = (0..i64::from(fate % 3))
                .map(|copy| (now + late * i64::from(fate / 128) + copy, key(&format!("v{n}"), now + 20 + copy * 30)));
            (now, key(&format!("row {n}"), now), copies.collect())
        });
        each.collect()
    }

    proptest! {
        #[test]
        fn edits_are_told_once_however_near_each_other(edits in edits(), hooks_first in any::<bool>()) {
            let lives = lives(&edits);
            let rows: Vec<Key> = lives.iter().map(|(_, row, _)| row.clone()).collect();
            let mut hooks: Vec<(i64, Key)> = lives.iter().flat_map(|(.., hooks)| hooks.clone()).collect();
            hooks.sort_by_key(|(at, _)| *at);
            let mut order: Vec<Vec<Key>> = hooks.into_iter().map(|(_, key)| vec![key]).collect();
            order.insert(if hooks_first { order.len() } else { 0 }, rows);
            prop_assert_eq!(events(&order), edits.len());
        }

        #[test]
        fn no_edit_is_swallowed_in_whatever_order_it_is_told(edits in edits(), every in 500..15_000_i64) {
            let lives = lives(&edits);
            let mut all: Vec<(i64, Vec<Key>)> = lives.iter().flat_map(|(.., hooks)| hooks.iter().map(|(at, key)| (*at, vec![key.clone()]))).collect();
            let end = lives.last().map_or(0, |(at, ..)| *at);
            for pass in 0..=end / every {
                let rows = lives.iter().filter(|(at, ..)| at / every == pass).map(|(_, row, _)| row.clone());
                all.push(((pass + 1) * every, rows.collect()));
            }
            all.sort_by_key(|(at, _)| *at);
            let order: Vec<Vec<Key>> = all.into_iter().map(|(_, keys)| keys).collect();
            prop_assert!(events(&order) >= edits.len());
        }
    }
}
