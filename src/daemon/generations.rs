//! Rule sets by generation: the one in force, and older ones that waiting runs were planned with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::dispatch::Generations;
use crate::journal::Journal;
use crate::rules::RuleSet;

/// Compiled generations kept; an older one is compiled again from the journal when a run needs it.
const KEPT_MAX: usize = 8;

/// A compiled generation with its `vars`.
type Compiled = (Arc<RuleSet>, Arc<Value>);

/// Compiled generations. The lock is held for map look-ups only, never while compiling.
pub(super) struct RuleBook {
    journal: Journal,
    compiled: Mutex<BTreeMap<u64, Compiled>>,
}

impl RuleBook {
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal, compiled: Mutex::new(BTreeMap::new()) }
    }

    /// Adds a generation; the oldest one beyond the limit is forgotten.
    pub(super) fn put(&self, number: u64, set: Arc<RuleSet>, vars: Arc<Value>) {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.insert(number, (set, vars));
        while compiled.len() > KEPT_MAX {
            compiled.pop_first();
        }
    }

    fn read_again(&self, number: u64) -> Option<Compiled> {
        let texts = match self.journal.rule_texts(number) {
            Ok(texts) => texts?,
            Err(error) => {
                tracing::error!(generation = number, %error, "the texts of a rule generation cannot be read");
                return None;
            }
        };
        match texts.compile() {
            Ok(set) => Some((Arc::new(set), Arc::new(texts.known.vars))),
            Err(faults) => {
                tracing::error!(generation = number, faults = faults.len(), "a rule generation of an older version no longer compiles");
                None
            }
        }
    }
}

impl Generations for RuleBook {
    fn generation(&self, number: u64) -> Option<Compiled> {
        let known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        if known.is_some() {
            return known;
        }
        let (set, vars) = self.read_again(number)?;
        self.put(number, Arc::clone(&set), Arc::clone(&vars));
        Some((set, vars))
    }
}
