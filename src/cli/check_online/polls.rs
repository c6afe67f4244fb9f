//! What polled sources read: their folders, the queues in them, the change feed or the list of jobs.

use super::{Look, REQUEST_TIMEOUT, shown};
use crate::config::{Chosen, PollKind, PollSource};
use crate::event::Folder;
use crate::fault::nearest;
use crate::rules::FolderRef;

/// Of all folders so many are asked.
const FOLDERS_MAX: usize = 200;

impl Look<'_> {
    /// The folders of a source, each with its name for people; of all folders no more than are asked.
    fn folders_of(&mut self, poll: &PollSource, seen: Option<&[Folder]>) -> Vec<(FolderRef, String)> {
        let seen = match (&poll.folders, seen) {
            (Chosen::These(named), _) => return named.iter().map(|folder| (folder.clone(), shown(folder))).collect(),
            (Chosen::All, seen) => seen.unwrap_or_default(),
        };
        if seen.len() > FOLDERS_MAX {
            let message = format!("source `{}` reads all of {} folders, of which the first {FOLDERS_MAX} are asked", poll.name, seen.len());
            self.warn("online-folder", message, "each folder costs a request in each interval; name those that matter under `folders`");
        }
        let named = |folder: &Folder| {
            let id = FolderRef::Id(folder.id?);
            let name = folder.path.as_ref().map_or_else(|| shown(&id), |path| format!("`{path}`"));
            Some((id, name))
        };
        seen.iter().filter_map(named).take(FOLDERS_MAX).collect()
    }

    /// Whether each polled folder has its queues and its change feed.
    pub(super) async fn of_polls(&mut self, seen: Option<&[Folder]>) {
        let polls: Vec<PollSource> = self.polls().cloned().collect();
        for poll in polls {
            let folders = self.folders_of(&poll, seen);
            if folders.is_empty() {
                if seen.is_some() {
                    let message = format!("source `{}` reads all folders, and none can be seen", poll.name);
                    self.fail("online-folder", message, "assign the application to the folders it is to read");
                }
                continue;
            }
            let mut found: Vec<String> = Vec::new();
            let (mut complete, mut good) = (true, Vec::new());
            for (folder, name) in &folders {
                if self.told.contains(&shown(folder)) {
                    complete = false;
                    continue;
                }
                if self.can_be_read(&poll, folder, name).await {
                    good.push(name.as_str());
                }
                if poll.kind == PollKind::Jobs {
                    continue;
                }
                match self.queues_of(folder).await {
                    Ok(rows) => found.extend(rows.iter().filter_map(|row| row["Name"].as_str().map(str::to_owned))),
                    Err(failure) => {
                        complete = false;
                        self.failed(&failure, "the source needs Queues.View in the folder");
                    }
                }
            }
            if !good.is_empty() {
                let what = what_of(&poll);
                self.good.push(match good.as_slice() {
                    [one] => format!("source `{}`: {what} of folder {one} can be read", poll.name),
                    more if poll.folders == Chosen::All => format!("source `{}`: {what} of {} folders can be read", poll.name, more.len()),
                    more => format!("source `{}`: {what} of folders {} can be read", poll.name, more.join(", ")),
                });
            }
            if let Chosen::These(named) = &poll.queues
                && complete
                && poll.kind == PollKind::QueueItems
            {
                for queue in named.iter().filter(|queue| !found.iter().any(|own| own.eq_ignore_ascii_case(queue))) {
                    let near = nearest(queue, found.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
                    let message = format!("source `{}` names the queue `{queue}`, which is in none of its folders", poll.name);
                    self.fail("online-queue", message, &near.unwrap_or_else(|| "check the name and the folders".to_owned()));
                }
            }
        }
    }

    /// Whether what a source reads of a folder can be read.
    async fn can_be_read(&mut self, poll: &PollSource, folder: &FolderRef, name: &str) -> bool {
        let asked = match poll.kind {
            PollKind::QueueItems => self.orchestrator.newest_in_feed(folder, REQUEST_TIMEOUT).await.result.map(drop),
            PollKind::Jobs => self.orchestrator.job_by_reference(Some(folder), "tripline-check", REQUEST_TIMEOUT).await.result.map(drop),
        };
        match asked {
            Ok(()) => return true,
            Err(failure)
                if poll.kind == PollKind::QueueItems
                    && matches!(failure.status, Some(400 | 404 | 405 | 501))
                    && !self.told.contains(&failure.message) =>
            {
                let message = format!("source `{}`: there is no change feed in folder {name}: {}", poll.name, failure.message);
                let help = "lists are read in its place; they tell that an item was added, last started and how it ended, not that it was \
                            postponed, changed or reviewed";
                self.warn("online-feed", message, help);
            }
            Err(failure) => drop(self.failed(&failure, "the source brings nothing of this folder until then")),
        }
        false
    }
}

/// What a source reads.
fn what_of(poll: &PollSource) -> &'static str {
    match poll.kind {
        PollKind::QueueItems => "the change feed",
        PollKind::Jobs => "the list of jobs",
    }
}
