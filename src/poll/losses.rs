//! Records that the journal lost on the disk: what Orchestrator still has of that time is read again beside what is new, and
//! what is not there any more is brought. It is marked late: whether rules saw it before nobody knows, so people decide.

use serde_json::{Value, json};

use super::backfill::{NotBackfilled, Past};
use super::place::{FolderError, Place};
use super::{Poll, Polled};
use crate::journal::{Loss, Space};
use crate::normalize::cursor::OVERLAP;

/// Places of the journal that are remembered as read again.
const SEEN_MAX: usize = 200;

/// What the ledger says of such a time.
pub(super) const CAUSE: &str =
    "records of the journal were lost on the disk; what Orchestrator still has of that time is brought again, marked late";

/// Begins to read the times of losses again that were not read yet, unless another backfill is under way: then after that.
pub(super) async fn ask(poll: &Poll, source: &Polled) -> Result<(), FolderError> {
    let name = &source.config.name;
    let key = format!("{name}:losses");
    let kept = poll.journal.kept(Space::Cursor, &key)?;
    let seen: Vec<String> = kept.and_then(|value| serde_json::from_slice(&value).ok()).unwrap_or_default();
    let all = poll.journal.losses()?;
    let new: Vec<&Loss> = all.iter().filter(|loss| !seen.contains(&loss.place)).take(SEEN_MAX).collect();
    let Some(since) = new.iter().map(|loss| loss.from).min() else { return Ok(()) };
    let until = new.iter().map(|loss| loss.until).max().unwrap_or(since).plus(OVERLAP);
    // A source that was never read has lost nothing.
    if !poll.journal.kept_after(Space::Ledger, &format!("{name}/"), None, 1)?.is_empty() {
        let past = Past { since: since.minus(OVERLAP), until, run_rules: false, dry_run: false };
        match poll.backfills.begin(name, past, poll.clock.now()).await {
            Ok(_) => tracing::warn!(source = &**name, %since, %until, "{CAUSE}"),
            Err(NotBackfilled::NotKept(error)) => return Err(error.into()),
            Err(NotBackfilled::NotRead(error)) => return Err(error.into()),
            Err(NotBackfilled::Bad(_) | NotBackfilled::Unknown(_)) => return Ok(()),
        }
    }
    let places: Vec<&str> = all.iter().rev().take(SEEN_MAX).map(|loss| loss.place.as_str()).collect();
    let places: Value = json!(places);
    poll.journal.keep(vec![Place::kept(Space::Cursor, key, &places)]).await?;
    Ok(())
}
