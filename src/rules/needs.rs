//! What rules need to be there in Orchestrator, as far as they write it down: for whoever looks whether it is.

use std::sync::Arc;

use super::action::{FolderAction, Kind, LookupAction, TargetAction};
use super::check::known_text;
use super::{FolderRef, Known, Mode, RuleSet};
use crate::event::RuleName;

/// A thing that a step names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needed {
    /// A queue; `adds` says that items are added to it.
    Queue {
        /// Its name.
        name: String,
        /// Whether items are added.
        adds: bool,
    },
    /// A process.
    Process {
        /// Its name.
        name: String,
    },
}

/// What a step of a rule needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The rule.
    pub rule: RuleName,
    /// In which orchestrator; `None` is the event's, or the only one.
    pub orchestrator: Option<Arc<str>>,
    /// In which folder; `None` is the event's, or the orchestrator's own.
    pub folder: Option<FolderRef>,
    /// What.
    pub what: Needed,
}

impl RuleSet {
    /// What all rules that are not off need; what is only known when an event comes is left out.
    #[must_use]
    pub fn needs(&self, known: &Known) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        for rule in self.rules().iter().filter(|rule| rule.mode != Mode::Off) {
            for step in rule.all_steps() {
                let queue = |template, adds| known_text(template, known).map(|name| Needed::Queue { name, adds });
                let (target, what) = match &step.action.kind {
                    Kind::Enqueue(action) => (&action.target, queue(&action.queue, true)),
                    Kind::StartJob(action) => (&action.target, known_text(&action.process, known).map(|name| Needed::Process { name })),
                    Kind::GetItem(action) | Kind::AwaitItem(action) => match &action.by {
                        LookupAction::Reference { queue: name, .. } => (&action.target, queue(name, false)),
                        LookupAction::Id(_) => continue,
                    },
                    _ => continue,
                };
                let (Some(what), Some(folder)) = (what, folder(target, known)) else { continue };
                let need = Need { rule: rule.name.clone(), orchestrator: target.orchestrator.clone(), folder, what };
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
        }
        needs
    }
}

/// The folder that is written; the outer `None` where only an event tells it.
fn folder(target: &TargetAction, known: &Known) -> Option<Option<FolderRef>> {
    Some(match &target.folder {
        None => None,
        Some(FolderAction::Path(path)) => Some(FolderRef::Path(known_text(path, known)?)),
        Some(FolderAction::Key(key)) => Some(FolderRef::Key(known_text(key, known)?)),
        Some(FolderAction::Id(id)) => Some(FolderRef::Id(known_text(id, known)?.trim().parse().ok()?)),
    })
}
