//! Rows from behind, found by walking forwards: what sled has for walking backwards puts a constant of 1 MiB into the program.

use std::collections::VecDeque;

/// A start is near enough with so many times the rows that are wanted behind it.
const NEAR: usize = 4;

/// Bytes behind the prefix by which a start is looked for; in the key of a run they are its time.
const HEAD: usize = 8;

/// A stored row.
type Stored = (Vec<u8>, Vec<u8>);

/// The rows whose key begins with `prefix` and is smaller than `before`, largest first, at most `max`.
pub(super) fn largest(db: &sled::Tree, prefix: u8, before: Option<&[u8]>, max: usize) -> sled::Result<Vec<Stored>> {
    let end = before.map_or_else(|| vec![prefix + 1], <[u8]>::to_vec);
    let rows = |from: u64| db.range(start(prefix, from)..end.clone());
    let count = |from: u64| rows(from).take(max * NEAR + 1).try_fold(0, |count: usize, row| row.map(|_| count + 1));
    let top = before.map_or(u64::MAX, head);
    // In growing steps back, until there are enough …
    let (mut from, mut few, mut step) = (top, top, 1_u64);
    let mut found = count(from)?;
    while found < max && from > 0 {
        few = from;
        from = top.saturating_sub(step);
        step = step.saturating_mul(4);
        found = count(from)?;
    }
    // … and by halves forward again, while there are far too many.
    while found > max * NEAR && few - from > 1 {
        let middle = from + (few - from) / 2;
        match count(middle)? {
            enough if enough >= max => (from, found) = (middle, enough),
            _ => few = middle,
        }
    }
    let mut last = VecDeque::new();
    for row in rows(from) {
        if last.len() == max {
            last.pop_front();
        }
        last.push_back(row?);
    }
    Ok(last.into_iter().rev().take(max).map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
}

/// The smallest key behind `prefix` with this head.
fn start(prefix: u8, head: u64) -> Vec<u8> {
    let mut key = vec![prefix];
    if head > 0 {
        key.extend_from_slice(&head.to_be_bytes());
    }
    key
}

/// The head of a key, as a number; what is missing is zero.
fn head(key: &[u8]) -> u64 {
    let mut bytes = [0; HEAD];
    for (byte, of) in bytes.iter_mut().zip(key.iter().skip(1)) {
        *byte = *of;
    }
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Heads that are one, near each other, or far apart.
    fn heads() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(7 << 40), (7_u64 << 40)..(7 << 40) + 300, any::<u64>(), Just(u64::MAX)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn they_are_what_a_walk_backwards_finds(
            keys in prop::collection::vec((heads(), prop::collection::vec(any::<u8>(), 0..3)), 0..120),
            asked in heads(),
            max in prop_oneof![Just(1_usize), 2..9_usize, Just(200)],
        ) {
            let dir = tempfile::tempdir().expect("a folder");
            let db = sled::Config::new().path(dir.path()).open().expect("opens");
            let mut model = BTreeMap::new();
            for (at, (head, rest)) in keys.into_iter().enumerate() {
                let key = [&[b'r'][..], &head.to_be_bytes(), &rest].concat();
                model.insert(key.clone(), vec![at as u8]);
                db.insert(key, vec![at as u8]).expect("inserts");
            }
            for other in [&b"q"[..], b"q\xff\xff", b"r", b"s", b"s\0"] {
                db.insert(other, b"").expect("inserts");
            }
            model.insert(b"r".to_vec(), Vec::new());
            let asked = [&[b'r'][..], &asked.to_be_bytes()].concat();
            let befores = model.keys().chain([&asked]).map(Some).chain([None]);
            for before in befores {
                let expected: Vec<Stored> = model
                    .iter()
                    .rev()
                    .filter(|(key, _)| before.is_none_or(|before| *key < before))
                    .take(max)
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                prop_assert_eq!(largest(&db, b'r', before.map(Vec::as_slice), max).expect("reads"), expected);
            }
        }
    }
}
