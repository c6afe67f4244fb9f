//! Rule files that change are read again without being asked: their names, lengths and times are looked at now and then.
//!
//! Promises: a file that is still being written is left until it stands still; what was read once, good or not, is
//! not read again until it changes. Knows nothing of what is in the files.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::{RealWorld, World};
use crate::daemon::reload::Reloader;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looking takes at most one part in this many of the time: with very many files it is done less often.
const LOOK_SHARE: u32 = 50;

/// How the rule files look from outside: enough to tell that one changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(Vec<(PathBuf, u64, u64, i64, i64)>);

impl Marks {
    /// Of the files that `rules` of the configuration names. What cannot be looked at counts as not there.
    pub(super) fn of(rules: &[PathBuf]) -> Self {
        let mut files = Vec::new();
        for written in rules {
            match RealWorld.list(written) {
                Ok(found) => files.extend(found),
                Err(_) => files.push(written.clone()),
            }
        }
        files.sort_unstable();
        Self(files.into_iter().filter_map(mark).collect())
    }
}

fn mark(path: PathBuf) -> Option<(PathBuf, u64, u64, i64, i64)> {
    let about = std::fs::metadata(Path::new(&path)).ok()?;
    Some((path, about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

/// Whether files are to be read now: they differ from what was `read`, and stand still since the last look.
fn is_due(read: &Marks, before: &Marks, now: &Marks) -> bool {
    now != read && now == before
}

/// Looks until `stop`, and reloads when rule files changed.
pub(super) async fn watch(reloader: Arc<Reloader>, stop: CancellationToken) {
    let (mut before, mut pause) = (reloader.marks(), LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let rules = reloader.rule_paths().await;
        let begun = Instant::now();
        let Ok(now) = tokio::task::spawn_blocking(move || Marks::of(&rules)).await else { continue };
        pause = LOOK_EVERY.max(begun.elapsed() * LOOK_SHARE);
        if is_due(&reloader.marks(), &before, &now) {
            tracing::info!("rule files changed: reading them again");
            // The faults are in the log.
            drop(reloader.reload().await);
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_once_they_differ_and_stand_still() {
        let dir = tempfile::tempdir().expect("a folder");
        let rules = [dir.path().to_owned()];
        let look = || Marks::of(&rules);
        let empty = look();
        std::fs::write(dir.path().join("a.yaml"), "rule: a").expect("written");
        let one = look();
        assert!(!is_due(&empty, &empty, &one), "it may still be written");
        assert!(is_due(&empty, &one, &look()));
        assert!(!is_due(&one, &one, &look()), "it was read");
        // As editors save: another file takes the name.
        std::fs::write(dir.path().join("b.tmp"), "rule: b").expect("written");
        std::fs::rename(dir.path().join("b.tmp"), dir.path().join("a.yaml")).expect("renamed");
        let two = look();
        assert!(is_due(&one, &two, &look()));
        std::fs::remove_file(dir.path().join("a.yaml")).expect("removed");
        assert_eq!(look(), empty);
        assert_eq!(Marks::of(&[dir.path().join("nowhere.yaml")]), Marks::default());
    }
}
