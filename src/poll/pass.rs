//! One pass over a source: its folders one after another; a folder that cannot be read does not keep the others waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use super::folder::FolderReader;
use super::ledger::Ledger;
use super::place::FolderError;
use super::{Poll, Polled};
use crate::config::Chosen;
use crate::event::Folder;
use crate::metric::POLL_REQUESTS;
use crate::rules::FolderRef;
use crate::runs::Failure;
use crate::time::Timestamp;

/// For one question, all its pages together; what one request may take is the client's.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// For one question to a list that is limited: its turn may be a whole period away.
pub(super) const LIST_TIMEOUT: Duration = Duration::from_secs(150);

/// How long the list of folders is believed where it says which are read.
const FOLDERS_FOR: Duration = Duration::from_secs(300);

/// And where it only says how those are called that are named.
const NAMES_FOR: Duration = Duration::from_secs(3600);

/// What is shown of a folder.
#[derive(Debug)]
pub(super) struct FolderView {
    pub(super) ledger: Ledger,
    /// Which way it is read: `feed`, `lists` or `jobs`; empty while that is not known.
    pub(super) reads: &'static str,
    /// What this way does not tell.
    pub(super) cannot: &'static [&'static str],
    /// What people should know.
    pub(super) notes: Vec<String>,
}

/// What a pass gave.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// What was new in what was read.
    pub(super) rows: usize,
    /// Events that were new.
    pub(super) brought: u64,
    /// Events that were there already.
    pub(super) confirmed: u64,
    /// Changes of items that are gone, or whose queue is: nothing can be told of them.
    pub(super) gone: u64,
    /// What could not be read; the first one.
    pub(super) failure: Option<Failure>,
    /// The journal has ended.
    pub(super) ended: bool,
    /// Where each folder stands.
    pub(super) folders: Vec<(String, FolderView)>,
}

/// A folder to be read: its name in kept values, how it is asked for, and what is known of it.
pub(super) type Wanted = (String, FolderRef, Folder);

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

    /// Up to when everything of all folders is known; nothing while one was never read.
    pub(super) fn known_until(&self) -> Option<Timestamp> {
        self.folders.values().map(FolderReader::known_until).min().flatten()
    }

    /// Reads everything that is new.
    pub(super) async fn pass(&mut self) -> Pass {
        let mut pass = Pass::default();
        if let Err(failure) = self.look().await {
            pass.failure = Some(failure);
        }
        for folder in self.folders.values_mut() {
            match Box::pin(folder.read(&mut pass)).await {
                Ok(()) => {}
                Err(FolderError::Service(failure)) => {
                    pass.failure.get_or_insert(failure);
                }
                Err(FolderError::Journal(ended)) => pass.ended |= ended,
            }
        }
        pass.folders = self.folders.iter().map(|(name, folder)| (name.clone(), folder.view())).collect();
        pass
    }

    /// Finds the folders that are to be read, where what is known of them is old.
    pub(super) async fn look(&mut self) -> Result<(), Failure> {
        let now = self.poll.clock.now();
        let believed = if self.source.config.folders == Chosen::All { FOLDERS_FOR } else { NAMES_FOR };
        if self.looked.is_some_and(|looked| now.since(looked) < believed && looked <= now) {
            return Ok(());
        }
        let wanted = wanted(self.source).await?;
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
        self.looked = Some(now);
        Ok(())
    }
}

/// The folders of a source.
pub(super) async fn wanted(source: &Polled) -> Result<Vec<Wanted>, Failure> {
    metrics::counter!(POLL_REQUESTS, "source" => source.config.name.to_string(), "endpoint" => "Folders").increment(1);
    let known = source.orchestrator.folders(REQUEST_TIMEOUT).await.result;
    Ok(match (&source.config.folders, known) {
        (Chosen::All, Err(failure)) => return Err(failure),
        (Chosen::All, Ok(known)) => {
            known.into_iter().filter_map(|folder| folder.id.map(|id| (name(&FolderRef::Id(id)), FolderRef::Id(id), folder))).collect()
        }
        (Chosen::These(named), known) => {
            // Without the permission to list folders those that are named can be read all the same.
            let known = known.unwrap_or_default();
            named.iter().map(|one| (name(one), one.clone(), about(one, &known))).collect()
        }
    })
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
