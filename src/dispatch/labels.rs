//! Labels of metrics stay few: the first names get their own, later ones share `other`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use crate::printable::label;

/// How many targets get a label of their own.
pub(super) const TARGETS_MAX: usize = 200;

/// Names that have a label of their own.
#[derive(Debug, Default)]
pub(super) struct Labels {
    known: HashSet<Arc<str>>,
}

impl Labels {
    /// The label of `name`.
    pub(super) fn label(&mut self, name: &Arc<str>) -> Arc<str> {
        match label(name) {
            Cow::Borrowed(_) => self.of_harmless(name),
            Cow::Owned(harmless) => self.of_harmless(&harmless.into()),
        }
    }

    fn of_harmless(&mut self, name: &Arc<str>) -> Arc<str> {
        if self.known.contains(name) {
            return name.clone();
        }
        if self.known.len() < TARGETS_MAX {
            self.known.insert(name.clone());
            return name.clone();
        }
        Arc::from("other")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_labels_is_bounded() {
        let mut labels = Labels::default();
        let all: HashSet<_> = (0..10 * TARGETS_MAX).map(|n| labels.label(&Arc::from(format!("host-{n}")))).collect();
        assert_eq!(all.len(), TARGETS_MAX + 1);
        assert_eq!(labels.label(&Arc::from("host-7")).as_ref(), "host-7");
    }
}
