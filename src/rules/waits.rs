//! Steps that wait: `wait`, `await_item`, `await_job`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::action::{AwaitJobAction, GetItemAction, JobLookupAction};
use super::decode::Decoder;
use super::render::{Fallible, integer, name, target};
use super::{AwaitJob, ExpressionFault, JobLookup, Wait};
use super::{shapes, steps, values};
use crate::expr::{At, Scope, Template};
use crate::rules::action::Moment;
use crate::time::{Timestamp, format_duration};
use crate::yaml::{Fields, Node};

/// For how long an item or a job is awaited unless the step says otherwise.
pub(super) const AWAIT_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// What a step may say.
pub(super) const AWAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(90 * 24 * 3600);
/// The longest that a `wait` step waits.
const WAIT_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

/// Reads `await_item`: the same words as `get_item`.
pub(super) fn await_item(node: &Node, decoder: &mut Decoder<'_>) -> Option<GetItemAction> {
    steps::item_lookup(node, "await_item", decoder)
}

/// Reads `await_job`.
pub(super) fn await_job(node: &Node, decoder: &mut Decoder<'_>) -> Option<AwaitJobAction> {
    let fields = Fields::read(node, "`await_job`", &shapes::AWAIT_JOB, decoder.faults)?;
    let target = values::target(&fields, decoder);
    let by = match (fields.get("id"), fields.get("key")) {
        (Some(id), None) => values::numeric(id, decoder).map(JobLookupAction::Id),
        (None, Some(key)) => values::name(key, "key", decoder).map(JobLookupAction::Key),
        _ => {
            let help = "such as id: \"${steps.job.Id}\"";
            decoder.error_help("missing-key", &node.place, "`await_job` needs either `id` or `key`", help);
            None
        }
    };
    Some(AwaitJobAction { target, by: by? })
}

/// Reads `wait`: a duration, a timestamp or a date.
pub(super) fn wait(node: &Node, decoder: &mut Decoder<'_>) -> Option<Moment> {
    if node.as_map().is_some() {
        decoder.error_help(
            "wrong-type",
            &node.place,
            "`wait` is a mapping; expected a duration, a timestamp or a date",
            "such as wait: 10m",
        );
        return None;
    }
    let template = decoder.scalar(node, "wait")?;
    let Some(constant) = template.constant() else { return Some(Moment::Rendered(template)) };
    match values::read_moment(constant).and_then(|moment| checked(moment).map_err(|()| too_long())) {
        Ok(moment) => Some(moment),
        Err(message) => {
            decoder.error("bad-moment", &node.place, format!("`wait`: {message}"));
            None
        }
    }
}

fn checked(moment: Moment) -> Result<Moment, ()> {
    match &moment {
        Moment::In(duration) if *duration > WAIT_MAX => Err(()),
        _ => Ok(moment),
    }
}

fn too_long() -> String {
    format!("at most {} are waited", format_duration(WAIT_MAX))
}

/// What a `wait` step waits for; null is nothing.
pub(super) fn render_wait(moment: &Moment, scope: &Scope<'_>, at: &At<'_>) -> Fallible<Wait> {
    let rendered = |template: &Template| match template.render(scope).map_err(|error| at.failed(error))? {
        serde_json::Value::Null => Ok(Wait::For(Duration::ZERO)),
        serde_json::Value::String(text) => match values::read_moment(&text).map_err(|message| at.fault(message))? {
            Moment::In(duration) => Ok(Wait::For(duration)),
            Moment::At(stamp) => Ok(Wait::Until(stamp)),
            Moment::Rendered(_) => Ok(Wait::For(Duration::ZERO)),
        },
        _ => Err(at.fault("expected a duration such as `10m`, a timestamp or a date")),
    };
    let wait = match moment {
        Moment::In(duration) => Wait::For(*duration),
        Moment::At(stamp) => Wait::Until(*stamp),
        Moment::Rendered(template) => rendered(template)?,
    };
    match wait {
        Wait::For(duration) if duration > WAIT_MAX => Err(at.fault(too_long())),
        wait => Ok(wait),
    }
}

/// Which job is awaited.
pub(super) fn render_job(action: &AwaitJobAction, scope: &Scope<'_>, at: &At<'_>) -> Result<AwaitJob, ExpressionFault> {
    let by = match &action.by {
        JobLookupAction::Id(id) => JobLookup::Id(integer(id, scope, &at.field("id"))?),
        JobLookupAction::Key(key) => JobLookup::Key(name(key, scope, &at.field("key"))?),
    };
    Ok(AwaitJob { target: target(&action.target, scope, at)?, by })
}

impl Wait {
    /// When it is over for a step that begins at `now`; never later than the longest wait from then.
    #[must_use]
    pub fn until(self, now: Timestamp) -> Timestamp {
        match self {
            Self::For(duration) => now.plus(duration),
            Self::Until(stamp) => stamp.min(now.plus(WAIT_MAX)),
        }
    }
}
