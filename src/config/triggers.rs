//! Sources that listen to a trigger of a connector: by polling, or by its webhook.

use std::sync::Arc;
use std::time::Duration;

use super::settings::Config;
use super::shapes;
use crate::connectors::{Connector, Connectors, Trigger, TriggerKind};
use crate::event::SourceName;
use crate::fault::{Fault, Faults, Place, nearest};
use crate::normalize::is_family;
use crate::normalize::services::{Service, ServiceView};
use crate::signature::{Content, CustomScheme, Scheme};
use crate::yaml::{Fields, KeyNode, Node};

/// How often a trigger may be read.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// How far the first start may look back.
const LOOK_BACK: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);

/// Keys of a webhook that a connector's trigger says.
const SAID_BY_TRIGGER: [&str; 11] =
    ["scheme", "type", "id", "time", "header", "algorithm", "encoding", "prefix", "content", "timestamp", "tolerance"];

/// A trigger, as a source names it.
#[derive(Clone, Debug)]
pub struct TriggerRef {
    /// The connector.
    pub connector: String,
    /// Its trigger.
    pub trigger: String,
    /// Where the connector is named.
    place: Place,
    /// Where the trigger is named.
    trigger_place: Place,
}

/// A source that polls a connector's trigger.
#[derive(Clone, Debug)]
pub struct TriggerSource {
    /// Its name.
    pub name: SourceName,
    /// What it polls.
    pub of: TriggerRef,
    /// How often.
    pub every: Duration,
    /// How far back the first start looks.
    pub look_back: Duration,
}

/// Whether a source names a connector.
pub(super) fn is_trigger(node: &Node) -> bool {
    node.get("connector").is_some() || node.get("trigger").is_some()
}

/// Reads `poll: {connector, trigger, …}`.
pub(super) fn trigger(key: &KeyNode, node: &Node, faults: &mut Faults) -> Option<TriggerSource> {
    let what = format!("`poll` of source `{}`", key.name);
    let fields = Fields::read(node, &what, &shapes::POLL_TRIGGER, faults)?;
    let of = TriggerRef::read(&fields, &what, "write `poll: {connector: NAME, trigger: NAME, every: 1m}`", faults);
    is_no_family(key, faults);
    let every = fields.duration("every", EVERY, faults).unwrap_or(Duration::from_secs(60));
    let look_back = fields.duration("look_back", LOOK_BACK, faults).unwrap_or(Duration::ZERO);
    Some(TriggerSource { name: key.name.as_str().into(), of: of?, every, look_back })
}

/// Reads the trigger that a webhook listens to.
pub(super) fn of_webhook(key: &KeyNode, fields: &Fields<'_>, what: &str, faults: &mut Faults) -> Option<TriggerRef> {
    let before = faults.len();
    let of = TriggerRef::read(fields, what, "write `webhook: {connector: NAME, trigger: NAME, secrets: [{env: NAME}]}`", faults);
    for name in SAID_BY_TRIGGER.iter().filter(|name| fields.get(name).is_some()) {
        let place = fields.key_place(name).unwrap_or(fields.place).clone();
        let fault = Fault::error("scheme", place, format!("`{name}` is said by the trigger of the connector"));
        faults.push(fault.help("remove it, or remove `connector` and `trigger`"));
    }
    super::schemes::of_service(fields, what, key, faults);
    of.filter(|_| faults.len() == before)
}

/// Nobody may take a source's events for Orchestrator's.
pub(super) fn is_no_family(key: &KeyNode, faults: &mut Faults) {
    if is_family(&key.name) {
        let message = format!("the events of source `{0}` would be called `{0}.…`, as Orchestrator's own are", key.name);
        faults.push(Fault::error("name", key.place.clone(), message).help("call the source by its service, such as `github`"));
    }
}

/// How a webhook of a connector is taken until its connector is known: nobody's signature verifies.
pub(super) fn not_yet_known(name: &str) -> (Scheme, ServiceView) {
    let scheme = CustomScheme {
        header: String::new(),
        algorithm: crate::signature::Algorithm::Sha256,
        encoding: crate::signature::Encoding::Hex,
        prefix: String::new(),
        content: Content::body(),
        timestamp: None,
    };
    (Scheme::Custom(Box::new(scheme)), ServiceView::of(name.into(), Service::Custom))
}

impl TriggerRef {
    fn read(fields: &Fields<'_>, what: &str, help: &str, faults: &mut Faults) -> Option<Self> {
        let mut named = |name: &str| {
            if fields.get(name).is_none() {
                faults.push(Fault::error("missing-key", fields.place.clone(), format!("{what} has no `{name}`")).help(help));
            }
            fields.text(name, faults).map(|(text, place)| (text.to_owned(), place.clone()))
        };
        let (connector, trigger) = (named("connector"), named("trigger"));
        let ((connector, place), (trigger, trigger_place)) = (connector?, trigger?);
        Some(Self { connector, trigger, place, trigger_place })
    }

    /// The connector and its trigger. What is not there is a fault, but for a connector that has faults of its own.
    fn find<'c>(&self, source: &str, connectors: &'c Connectors, faults: &mut Faults) -> Option<(&'c Arc<Connector>, &'c Trigger)> {
        let unknown = |code: &'static str, place: &Place, message: String, name: &str, known: Vec<&str>| {
            let fault = Fault::error(code, place.clone(), message);
            match nearest(name, known.iter().copied()) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None if known.is_empty() => fault.help("add it to the connector's file, and its file to where `connectors` says"),
                None => fault.help(format!("known are: {}", known.join(", "))),
            }
        };
        let Some(connector) = connectors.get(&self.connector) else {
            if !connectors.is_broken(&self.connector) {
                let message = format!("source `{source}` names connector `{}`, which is not there", self.connector);
                let known = connectors.of_files().map(|connector| &*connector.name).collect();
                faults.push(unknown("unknown-connector", &self.place, message, &self.connector, known));
            }
            return None;
        };
        let Some(trigger) = connector.triggers.get(self.trigger.as_str()) else {
            let message = format!("connector `{}` has no trigger `{}`", self.connector, self.trigger);
            let known = connector.triggers.keys().map(|name| &**name).collect();
            faults.push(unknown("unknown-trigger", &self.trigger_place, message, &self.trigger, known));
            return None;
        };
        Some((connector, trigger))
    }

    fn other_way(&self, is: &str, help: &str) -> Fault {
        let message = format!("trigger `{}` of connector `{}` is {is}", self.trigger, self.connector);
        Fault::error("unknown-trigger", self.trigger_place.clone(), message).help(help)
    }
}

impl TriggerSource {
    /// Its connector and trigger, where both are there.
    #[must_use]
    pub fn find<'c>(&self, connectors: &'c Connectors) -> Option<(&'c Arc<Connector>, &'c Trigger)> {
        self.of.find(&self.name, connectors, &mut Faults::new())
    }
}

impl Config {
    /// Looks for the triggers that sources name: how the webhooks of connectors are signed and read is known from here on.
    pub fn find_triggers(&mut self, connectors: &Connectors) -> Faults {
        let mut faults = Faults::new();
        for source in self.triggers.values() {
            let Some((connector, trigger)) = source.of.find(&source.name, connectors, &mut faults) else { continue };
            if matches!(trigger.kind, TriggerKind::Webhook(_)) {
                let help = "write `webhook: {connector, trigger, secrets}` in place of `poll`";
                faults.push(source.of.other_way("delivered, not polled", help));
            }
            if let Some(rate) = connector.limits.rate.filter(|rate| source.every.saturating_mul(rate.count) < rate.period) {
                let message = format!("source `{}` asks more often than connector `{}` allows itself", source.name, connector.name);
                let help = format!("let `every` be at least {}", crate::time::format_duration(rate.period / rate.count.max(1)));
                faults.push(Fault::warning("rate", source.of.place.clone(), message).help(help));
            }
        }
        for (name, source) in &mut self.sources {
            let Some(of) = &source.trigger else { continue };
            let Some((_, trigger)) = of.find(name, connectors, &mut faults) else { continue };
            match &trigger.kind {
                TriggerKind::Webhook(deliveries) => {
                    source.scheme = deliveries.scheme.clone();
                    source.service = Some(deliveries.view(Arc::clone(name)));
                }
                TriggerKind::Poll { .. } => {
                    let help = "write `poll: {connector, trigger, every: 1m}` in place of `webhook`";
                    faults.push(of.other_way("polled, not delivered", help));
                }
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{FakeWorld, load};
    use crate::normalize::services::Pick;

    const CONNECTORS: &str = "\
connector: crm
base_url: https://crm.example.com
limits: {rate: 10/min}
operations: {list: {method: GET, path: /contacts}}
triggers:
  changed: {poll: {operation: list, cursor: entry.at, id: entry.id}}
  told: {webhook: {scheme: custom, header: X-Crm-Signature, prefix: 'v1=', type: body.what, id: headers.x-crm-id}}
  spoken: {webhook: {scheme: slack}}
---
connector: broken
base_url: nowhere
triggers: {told: {webhook: {scheme: slack}}}
";

    fn found(source: &str) -> (Config, Vec<String>) {
        let text = format!("connectors: /c.yaml\nsources: {{s: {{{source}}}}}\n");
        let world = FakeWorld::new().with_file("/t.yaml", &text).with_file("/c.yaml", CONNECTORS);
        let (config, faults) = load(Path::new("/t.yaml"), &world);
        let lines: Vec<String> = faults.iter().map(Fault::one_line).collect();
        let mut config = config.unwrap_or_else(|| panic!("{lines:?}"));
        let (connectors, _) = config.connectors(&world);
        let faults = config.find_triggers(&connectors);
        let lines = faults.iter().map(|fault| format!("{} {} {}", fault.code, fault.one_line(), fault.help.clone().unwrap_or_default()));
        let lines = lines.collect();
        (config, lines)
    }

    #[test]
    fn a_webhook_is_signed_and_read_as_the_connector_says() {
        let (config, faults) = found("webhook: {connector: crm, trigger: told, secrets: [{env: S}]}");
        assert_eq!(faults, Vec::<String>::new());
        let source = &config.sources["s"];
        let Scheme::Custom(own) = &source.scheme else { panic!("{:?}", source.scheme) };
        assert_eq!((own.header.as_str(), own.prefix.as_str()), ("x-crm-signature", "v1="));
        let view = source.service.as_ref().expect("another service's");
        assert_eq!((&*view.name, view.service), ("s", Service::Custom));
        assert_eq!((view.event.as_ref().map(Pick::text), view.id.as_ref().map(Pick::text)), (Some("body.what"), Some("headers.x-crm-id")));
        let (config, _) = found("webhook: {connector: crm, trigger: spoken, secrets: [{env: S}]}");
        assert_eq!(config.sources["s"].scheme, Scheme::Slack);
        let (config, faults) = found("poll: {connector: crm, trigger: changed, every: 6s}");
        assert_eq!((config.triggers.len(), faults), (1, vec![]));
    }

    #[test]
    fn what_is_not_there_or_is_of_the_other_kind_is_said_with_its_place() {
        let table: &[(&str, &[&str])] = &[
            ("poll: {connector: crn, trigger: changed}", &["unknown-connector", ":2:33", "did you mean `crm`?"]),
            ("poll: {connector: crm, trigger: chanegd}", &["unknown-trigger", "no trigger `chanegd`", "did you mean `changed`?"]),
            ("poll: {connector: crm, trigger: x}", &["unknown-trigger", "known are: changed, spoken, told"]),
            ("poll: {connector: orchestrator, trigger: x}", &["unknown-connector", "which is not there"]),
            ("poll: {connector: crm, trigger: told}", &["unknown-trigger", "delivered, not polled", "write `webhook:"]),
            (
                "poll: {connector: crm, trigger: changed, every: 5s}",
                &["rate", "more often than connector `crm` allows itself", "at least 6s"],
            ),
            ("webhook: {connector: crn, trigger: told, secrets: [{env: S}]}", &["unknown-connector", "did you mean `crm`?"]),
            ("webhook: {connector: crm, trigger: changed, secrets: [{env: S}]}", &["polled, not delivered", "write `poll:"]),
        ];
        for (source, words) in table {
            let (config, faults) = found(source);
            assert_eq!(faults.len(), 1, "{source}: {faults:?}");
            assert!(words.iter().all(|word| faults[0].contains(word)), "{source}: {faults:?}");
            // Whatever is wrong, nobody's signature is believed.
            assert!(config.sources.values().all(|source| matches!(&source.scheme, Scheme::Custom(own) if own.header.is_empty())));
        }
        let (_, faults) = found("webhook: {connector: broken, trigger: told, secrets: [{env: S}]}");
        assert_eq!(faults, Vec::<String>::new(), "its own faults say enough");
    }
}
