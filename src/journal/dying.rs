//! For tests of those who use the journal: one whose process dies at a write, or behind it before anybody is told.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::journal::files::{FileOp, Files};
use crate::journal::{Journal, OpenError, Options};

/// When it dies.
#[derive(Debug, Default)]
pub struct Dies {
    /// Behind so many further writes, plus one; 0 for never.
    left: AtomicU64,
    /// What was written then stays, although nobody is told.
    behind: std::sync::atomic::AtomicBool,
}

impl Dies {
    /// Behind so many further writes.
    pub fn at(&self, writes: u64, behind: bool) {
        self.behind.store(behind, Ordering::SeqCst);
        self.left.store(writes + 1, Ordering::SeqCst);
    }

    /// Not any more, unless it did.
    pub fn never(&self) {
        self.left.store(0, Ordering::SeqCst);
    }

    fn asks(&self, op: FileOp, path: &Path) -> io::Result<()> {
        let wanted = if self.behind.load(Ordering::SeqCst) { FileOp::Sync } else { FileOp::Write };
        if op != wanted || !path.parent().is_some_and(|parent| parent.ends_with("journal")) {
            return Ok(());
        }
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| (left > 1).then(|| left - 1)) {
            Err(1) => Err(io::Error::other("dies on purpose")),
            _ => Ok(()),
        }
    }
}

impl Journal {
    /// As [`Journal::open`], to die when it is said.
    ///
    /// # Errors
    /// As there.
    pub fn open_dying(dir: &Path, options: Options, dies: &Arc<Dies>) -> Result<Self, OpenError> {
        let dies = Arc::clone(dies);
        Self::open_with(dir, options, Files::hooked(Arc::new(move |op, path| dies.asks(op, path)))).map(|(journal, _)| journal)
    }
}
