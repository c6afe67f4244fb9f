//! Sources that listen to a trigger of a connector by polling.

use std::time::Duration;

use super::shapes;
use crate::connectors::{Connector, Connectors, Trigger, TriggerKind};
use crate::event::SourceName;
use crate::fault::{Fault, Faults, Place, nearest};
use crate::normalize::is_family;
use crate::yaml::{Fields, KeyNode, Node};

/// How often a trigger may be read.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// How far the first start may look back.
const LOOK_BACK: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);

/// A source that polls a connector's trigger.
#[derive(Clone, Debug)]
pub struct TriggerSource {
    /// Its name.
    pub name: SourceName,
    /// The connector.
    pub connector: String,
    /// Its trigger.
    pub trigger: String,
    /// How often.
    pub every: Duration,
    /// How far back the first start looks.
    pub look_back: Duration,
    /// Where the connector is named.
    pub place: Place,
}

/// Whether a `poll` names a connector.
pub(super) fn is_trigger(node: &Node) -> bool {
    node.get("connector").is_some() || node.get("trigger").is_some()
}

/// Reads `poll: {connector, trigger, …}`.
pub(super) fn trigger(key: &KeyNode, node: &Node, faults: &mut Faults) -> Option<TriggerSource> {
    let what = format!("`poll` of source `{}`", key.name);
    let fields = Fields::read(node, &what, &shapes::POLL_TRIGGER, faults)?;
    let mut named = |name: &str| {
        if fields.get(name).is_none() {
            let fault = Fault::error("missing-key", fields.place.clone(), format!("{what} has no `{name}`"));
            faults.push(fault.help("write `poll: {connector: NAME, trigger: NAME, every: 1m}`"));
        }
        fields.text(name, faults).map(|(text, place)| (text.to_owned(), place.clone()))
    };
    let (connector, trigger) = (named("connector"), named("trigger"));
    if is_family(&key.name) {
        let message = format!("the events of source `{0}` would be called `{0}.…`, as Orchestrator's own are", key.name);
        faults.push(Fault::error("name", key.place.clone(), message).help("call the source by its service"));
    }
    let every = fields.duration("every", EVERY, faults).unwrap_or(Duration::from_secs(60));
    let look_back = fields.duration("look_back", LOOK_BACK, faults).unwrap_or(Duration::ZERO);
    let (connector, place) = connector?;
    Some(TriggerSource { name: key.name.as_str().into(), connector, trigger: trigger?.0, every, look_back, place })
}

impl TriggerSource {
    /// Its connector and trigger. What is not there is a fault.
    pub fn find<'c>(&self, connectors: &'c Connectors, faults: &mut Faults) -> Option<(&'c std::sync::Arc<Connector>, &'c Trigger)> {
        let unknown = |message: String, near: Option<&str>, known: Vec<&str>| {
            let fault = Fault::error("unknown-trigger", self.place.clone(), message);
            match near {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None if known.is_empty() => fault.help("add its file where `connectors` says"),
                None => fault.help(format!("known are: {}", known.join(", "))),
            }
        };
        let names = || connectors.iter().map(|connector| &*connector.name);
        let Some(connector) = connectors.get(&self.connector) else {
            let message = format!("source `{}` names connector `{}`, which is not there", self.name, self.connector);
            faults.push(unknown(message, nearest(&self.connector, names()), names().collect()));
            return None;
        };
        let triggers = || connector.triggers.keys().map(|name| &**name);
        let Some(trigger) = connector.triggers.get(self.trigger.as_str()) else {
            let message = format!("connector `{}` has no trigger `{}`", self.connector, self.trigger);
            faults.push(unknown(message, nearest(&self.trigger, triggers()), triggers().collect()));
            return None;
        };
        if !matches!(trigger.kind, TriggerKind::Poll { .. }) {
            let message = format!("trigger `{}` of connector `{}` is delivered, not polled", self.trigger, self.connector);
            let fault = Fault::error("unknown-trigger", self.place.clone(), message);
            faults.push(fault.help("use `webhook:` with the scheme that the connector's file names"));
            return None;
        }
        Some((connector, trigger))
    }
}
