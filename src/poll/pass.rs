//! One pass over a source: its folders one after another; a folder that cannot be read does not keep the others waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use super::folder::{FolderError, FolderReader};
use super::ledger::Ledger;
use super::{Poll, Polled};
use crate::config::Chosen;
use crate::event::Folder;
use crate::metric::POLL_REQUESTS;
use crate::rules::FolderRef;
use crate::runs::Failure;
use crate::time::Timestamp;

/// For one request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the list of folders is believed.
const FOLDERS_FOR: Duration = Duration::from_secs(300);

/// What a pass gave.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// New rows of the feed.
    pub(super) rows: usize,
    /// Events that were new.
    pub(super) brought: u64,
    /// Events that were there already.
    pub(super) confirmed: u64,
    /// What could not be read; the first one.
    pub(super) failure: Option<Failure>,
    /// The journal has ended.
    pub(super) ended: bool,
    /// Where each folder stands.
    pub(super) folders: Vec<(String, Ledger)>,
}

/// Reads one source.
pub(super) struct Reader<'p> {
    poll: &'p Poll,
    source: &'p Polled,
    /// By the name under which its cursor is kept.
    folders: BTreeMap<String, FolderReader<'p>>,
    looked: Option<Timestamp>,
}

impl<'p> Reader<'p> {
    pub(super) fn new(poll: &'p Poll, source: &'p Polled) -> Self {
        Self { poll, source, folders: BTreeMap::new(), looked: None }
    }

    /// Reads everything that is new.
    pub(super) async fn pass(&mut self) -> Pass {
        let mut pass = Pass::default();
        let begun = self.poll.clock.now();
        if self.looked.is_none_or(|looked| begun.since(looked) >= FOLDERS_FOR || looked > begun) {
            match self.look().await {
                Ok(()) => self.looked = Some(begun),
                Err(failure) => pass.failure = Some(failure),
            }
        }
        for folder in self.folders.values_mut() {
            match folder.read(&mut pass).await {
                Ok(()) => {}
                Err(FolderError::Service(failure)) => {
                    pass.failure.get_or_insert(failure);
                }
                Err(FolderError::Journal(ended)) => pass.ended |= ended,
            }
        }
        pass.folders = self.folders.iter().map(|(name, folder)| (name.clone(), folder.ledger().clone())).collect();
        pass
    }

    /// Finds the folders that are to be read.
    async fn look(&mut self) -> Result<(), Failure> {
        count(self.source, "Folders");
        let known = self.source.orchestrator.folders(REQUEST_TIMEOUT).await.result;
        let wanted: Vec<(String, FolderRef, Folder)> = match (&self.source.config.folders, known) {
            (Chosen::All, Err(failure)) => return Err(failure),
            (Chosen::All, Ok(known)) => {
                known.into_iter().filter_map(|folder| folder.id.map(|id| (name(&FolderRef::Id(id)), FolderRef::Id(id), folder))).collect()
            }
            (Chosen::These(named), known) => {
                // Without the permission to list folders those that are named can be read all the same.
                let known = known.unwrap_or_default();
                named.iter().map(|one| (name(one), one.clone(), about(one, &known))).collect()
            }
        };
        self.folders.retain(|name, _| wanted.iter().any(|(wanted, ..)| wanted == name));
        for (name, folder, about) in wanted {
            match self.folders.get_mut(&name) {
                Some(reader) => reader.is(about),
                None => {
                    let reader = FolderReader::open(self.poll, self.source, name.clone(), folder, about);
                    self.folders.insert(name, reader);
                }
            }
        }
        Ok(())
    }
}

/// Counts a request.
pub(super) fn count(source: &Polled, endpoint: &'static str) {
    metrics::counter!(POLL_REQUESTS, "source" => source.config.name.to_string(), "endpoint" => endpoint).increment(1);
}

/// The name of a folder in kept values and lists.
fn name(folder: &FolderRef) -> String {
    match folder {
        FolderRef::Path(path) => path.clone(),
        FolderRef::Id(id) => format!("id:{id}"),
        FolderRef::Key(key) => format!("key:{key}"),
    }
}

/// What is known of a folder that is named.
fn about(named: &FolderRef, known: &[Folder]) -> Folder {
    let is = |folder: &&Folder| match named {
        FolderRef::Path(path) => folder.path.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(path)),
        FolderRef::Id(id) => folder.id == Some(*id),
        FolderRef::Key(key) => folder.key.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(key)),
    };
    known.iter().find(is).cloned().unwrap_or_else(|| match named {
        FolderRef::Path(path) => Folder { path: Some(path.clone()), ..Folder::default() },
        FolderRef::Id(id) => Folder { id: Some(*id), ..Folder::default() },
        FolderRef::Key(key) => Folder { key: Some(key.clone()), ..Folder::default() },
    })
}
