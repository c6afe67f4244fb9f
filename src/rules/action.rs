//! What a step does, as written: templates not yet rendered.

use std::sync::Arc;
use std::time::Duration;

use super::Step;
use super::call::CallAction;
use crate::expr::{Expression, Template, Tree};
use crate::time::Timestamp;

/// What a step does, as written: templates not yet rendered. Its shape is this module's own business; the rest of the
/// program sees [`super::Request`].
#[derive(Debug)]
pub struct Action {
    pub(super) kind: Kind,
}

/// The step kinds.
#[derive(Debug)]
pub(super) enum Kind {
    Enqueue(Box<EnqueueAction>),
    StartJob(Box<StartJobAction>),
    GetItem(Box<GetItemAction>),
    Http(Box<HttpAction>),
    Call(Box<CallAction>),
    Emit(Box<EmitAction>),
    AwaitItem(Box<GetItemAction>),
    AwaitJob(Box<AwaitJobAction>),
    Wait(Moment),
    Each(Box<EachAction>),
}

/// Names of the step kinds, as written.
pub(super) const KINDS: &[&str] =
    &["enqueue", "start_job", "get_item", "http", "call", "emit", "enqueue_each", "await_item", "await_job", "wait", "for_each"];

/// Those that are shown as what they do for each element.
pub(super) const LISTS: &[&str] = &["enqueue_each", "for_each"];

/// Those that are shown themselves.
pub(super) const KINDS_SENT: &[&str] = &["enqueue", "start_job", "get_item", "http", "call", "emit", "await_item", "await_job", "wait"];

impl Kind {
    /// As written.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Enqueue(_) => "enqueue",
            Self::StartJob(_) => "start_job",
            Self::GetItem(_) => "get_item",
            Self::Http(_) => "http",
            Self::Call(_) => "call",
            Self::Emit(_) => "emit",
            Self::AwaitItem(_) => "await_item",
            Self::AwaitJob(_) => "await_job",
            Self::Wait(_) => "wait",
            Self::Each(each) if each.only_items => "enqueue_each",
            Self::Each(_) => "for_each",
        }
    }
}

/// Where a step of Orchestrator goes.
#[derive(Debug, Default)]
pub(super) struct TargetAction {
    pub(super) orchestrator: Option<Arc<str>>,
    pub(super) folder: Option<FolderAction>,
}

/// A folder as written.
#[derive(Debug)]
pub(super) enum FolderAction {
    Path(Template),
    Id(Template),
    Key(Template),
}

/// A moment as written.
#[derive(Debug)]
pub(super) enum Moment {
    /// From `now` on.
    In(Duration),
    /// A timestamp or a date.
    At(Timestamp),
    /// To be rendered, then one of the others.
    Rendered(Template),
}

#[derive(Debug)]
pub(super) struct EnqueueAction {
    pub(super) target: TargetAction,
    pub(super) queue: Template,
    pub(super) priority: Option<Template>,
    pub(super) reference: Option<Template>,
    pub(super) defer: Option<Moment>,
    pub(super) due: Option<Moment>,
    pub(super) risk_sla: Option<Moment>,
    pub(super) content: Tree,
    pub(super) accept_duplicate: bool,
}

#[derive(Debug)]
pub(super) struct StartJobAction {
    pub(super) target: TargetAction,
    pub(super) process: Template,
    pub(super) input: Tree,
    pub(super) priority: Option<Template>,
    pub(super) count: Option<Template>,
    pub(super) runtime: Option<Template>,
    pub(super) reference: Option<Template>,
    /// Whether its end is awaited.
    pub(super) wait: bool,
}

#[derive(Debug)]
pub(super) struct AwaitJobAction {
    pub(super) target: TargetAction,
    pub(super) by: JobLookupAction,
}

#[derive(Debug)]
pub(super) enum JobLookupAction {
    Id(Template),
    Key(Template),
}

/// Steps for each element of a list.
#[derive(Debug)]
pub(super) struct EachAction {
    pub(super) over: Over,
    /// What the element is called in the steps.
    pub(super) name: Arc<str>,
    /// How many elements are worked on at once.
    pub(super) parallel: u32,
    pub(super) steps: Vec<Step>,
    /// `enqueue_each`: one `enqueue` without a name of its own.
    pub(super) only_items: bool,
}

/// A list as written.
#[derive(Debug)]
pub(super) enum Over {
    Expression(Expression),
    Tree(Tree),
}

#[derive(Debug)]
pub(super) struct GetItemAction {
    pub(super) target: TargetAction,
    pub(super) by: LookupAction,
}

#[derive(Debug)]
pub(super) enum LookupAction {
    Id(Template),
    Reference { queue: Template, reference: Template },
}

#[derive(Debug)]
pub(super) struct HttpAction {
    pub(super) method: &'static str,
    pub(super) url: Template,
    pub(super) written_out: bool,
    pub(super) headers: Vec<(String, Template)>,
    pub(super) body: Option<Tree>,
}

#[derive(Debug)]
pub(super) struct EmitAction {
    pub(super) event_type: Template,
    pub(super) data: Tree,
    pub(super) subject: Option<Template>,
}

impl Action {
    /// The paths it refers to.
    pub(super) fn references(&self) -> Vec<String> {
        let mut texts: Vec<&Template> = Vec::new();
        let mut trees: Vec<&Tree> = Vec::new();
        match &self.kind {
            Kind::Enqueue(a) => {
                texts.push(&a.queue);
                texts.extend([a.priority.as_ref(), a.reference.as_ref(), a.target.template()].into_iter().flatten());
                texts.extend([&a.defer, &a.due, &a.risk_sla].into_iter().flatten().filter_map(Moment::template));
                trees.push(&a.content);
            }
            Kind::StartJob(a) => {
                texts.push(&a.process);
                texts.extend([&a.priority, &a.count, &a.runtime, &a.reference].into_iter().flatten().chain(a.target.template()));
                trees.push(&a.input);
            }
            Kind::GetItem(a) | Kind::AwaitItem(a) => {
                texts.extend(a.target.template());
                match &a.by {
                    LookupAction::Id(id) => texts.push(id),
                    LookupAction::Reference { queue, reference } => texts.extend([queue, reference]),
                }
            }
            Kind::Http(a) => {
                texts.push(&a.url);
                texts.extend(a.headers.iter().map(|(_, value)| value));
                trees.extend(&a.body);
            }
            Kind::Call(a) => trees.push(&a.with),
            Kind::Emit(a) => {
                texts.push(&a.event_type);
                texts.extend(&a.subject);
                trees.push(&a.data);
            }
            Kind::AwaitJob(a) => {
                texts.extend(a.target.template());
                match &a.by {
                    JobLookupAction::Id(text) | JobLookupAction::Key(text) => texts.push(text),
                }
            }
            Kind::Wait(moment) => texts.extend(moment.template()),
            // Its steps say for themselves what they refer to.
            Kind::Each(a) => match &a.over {
                Over::Expression(expression) => return expression.references(),
                Over::Tree(tree) => trees.push(tree),
            },
        }
        let of_texts = texts.into_iter().flat_map(Template::references);
        of_texts.chain(trees.into_iter().flat_map(Tree::references)).collect()
    }
}

impl TargetAction {
    fn template(&self) -> Option<&Template> {
        match self.folder.as_ref()? {
            FolderAction::Path(template) | FolderAction::Id(template) | FolderAction::Key(template) => Some(template),
        }
    }
}

impl Moment {
    fn template(&self) -> Option<&Template> {
        match self {
            Self::Rendered(template) => Some(template),
            Self::In(_) | Self::At(_) => None,
        }
    }
}
