//! A small cache of look-ups by folder and name: bounded, and what is in it is never older than its time.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::time::Timestamp;

/// How long a look-up is believed.
pub const CACHE_FOR: Duration = Duration::from_secs(5 * 60);
/// How many look-ups are kept.
pub const CACHE_MAX: usize = 1_024;

type Entries<T> = BTreeMap<(String, String), (Timestamp, T)>;

/// Look-ups of one kind.
#[derive(Debug)]
pub struct Cache<T>(Mutex<Entries<T>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<T: Clone> Cache<T> {
    /// What is known, unless it is too old. A clock that went back makes an entry too old as well.
    pub fn get(&self, folder: &str, name: &str, now: Timestamp) -> Option<T> {
        let entries = self.entries();
        let (since, value) = entries.get(&(folder.to_owned(), name.to_owned()))?;
        (now >= *since && now.since(*since) < CACHE_FOR).then(|| value.clone())
    }

    /// Keeps a look-up. A full cache loses its oldest entry.
    pub fn put(&self, folder: &str, name: &str, value: T, now: Timestamp) {
        let mut entries = self.entries();
        let key = (folder.to_owned(), name.to_owned());
        if entries.len() >= CACHE_MAX && !entries.contains_key(&key) {
            let oldest = entries.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
            }
        }
        entries.insert(key, (now, value));
    }

    /// Forgets a look-up that turned out to be wrong.
    pub fn forget(&self, folder: &str, name: &str) {
        self.entries().remove(&(folder.to_owned(), name.to_owned()));
    }

    /// The lock is held for one look at the map only; a panic in between leaves the map whole.
    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups_age_and_are_bounded() {
        let cache = Cache::default();
        let at = |seconds: u64| Timestamp::from_millis(1_000_000).plus(Duration::from_secs(seconds));
        cache.put("f", "a", 1, at(0));
        assert_eq!(cache.get("f", "a", at(299)), Some(1));
        assert_eq!(cache.get("f", "a", at(300)), None);
        assert_eq!(cache.get("f", "a", Timestamp::EPOCH), None);
        assert_eq!(cache.get("g", "a", at(0)), None);
        for n in 0..CACHE_MAX {
            cache.put("f", &format!("n{n}"), n, at(1));
        }
        assert_eq!(cache.get("f", "a", at(1)), None, "the oldest went");
        assert_eq!(cache.entries().len(), CACHE_MAX);
        assert_eq!(cache.get("f", "n7", at(1)), Some(7));
        cache.forget("f", "n7");
        assert_eq!(cache.get("f", "n7", at(1)), None);
    }
}
