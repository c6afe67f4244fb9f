//! How the deliveries of a webhook source are signed, and whose words they use.

use std::sync::Arc;

use super::triggers::is_no_family;
use crate::connectors::{read_deliveries, refuse, refuse_of_custom, scheme_name};
use crate::fault::{Fault, Faults};
use crate::normalize::services::ServiceView;
use crate::signature::Scheme;
use crate::yaml::{Fields, KeyNode};

/// Keys that say where in a delivery something is, of all services but Orchestrator.
const OF_SERVICES: [&str; 3] = ["type", "id", "time"];

/// Keys of Orchestrator's webhooks, which alone are registered by API.
const OF_ORCHESTRATOR: [&str; 2] = ["register", "subscribe"];

/// Reads `scheme` and the keys that go with it. The view is of another service than Orchestrator.
pub(super) fn read(
    fields: &Fields<'_>,
    what: &str,
    key: &KeyNode,
    unsigned: bool,
    faults: &mut Faults,
) -> Option<(Scheme, Option<ServiceView>)> {
    let before = faults.len();
    let name = match fields.get("scheme") {
        None => "orchestrator",
        Some(_) => scheme_name(fields, &Scheme::NAMES, faults)?,
    };
    if name == "orchestrator" {
        refuse_of_custom(name, fields, faults);
        refuse(fields, &OF_SERVICES, "the schemes of other services; Orchestrator's events say it themselves", faults);
        return (faults.len() == before).then_some((Scheme::Orchestrator, None));
    }
    of_service(fields, what, key, faults);
    let read = read_deliveries(name, fields, what, unsigned, faults).filter(|_| faults.len() == before)?;
    let view = read.view(Arc::from(key.name.as_str()));
    Some((read.scheme, Some(view)))
}

/// That the events are of no orchestrator, and that nobody takes them for Orchestrator's.
pub(super) fn of_service(fields: &Fields<'_>, what: &str, key: &KeyNode, faults: &mut Faults) {
    refuse(fields, &OF_ORCHESTRATOR, "`scheme: orchestrator`", faults);
    if let Some(place) = fields.get("orchestrator").and(fields.key_place("orchestrator")) {
        let message = format!("{what} takes another service's events, which are of no orchestrator");
        faults.push(Fault::error("scheme", place.clone(), message).help("remove `orchestrator`; steps name the one they mean"));
    }
    is_no_family(key, faults);
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, FakeWorld, load};
    use crate::fault::Severity;
    use crate::signature::{Algorithm, Content, CustomScheme, Encoding};

    const FILE: &str = "/etc/tripline/tripline.yaml";

    fn load_source(name: &str, webhook: &str) -> (Option<Config>, Vec<String>) {
        let text = format!(
            "orchestrators:\n  a: {{url: 'http://127.0.0.1:1', edition: standalone, folder: F, auth: {{token: {{env: T}}}}}}\n  b: {{url: 'http://127.0.0.1:2', edition: standalone, folder: F, auth: {{token: {{env: T}}}}}}\nsources:\n  {name}:\n    webhook: {{secrets: [{{env: S}}], {webhook}}}\n"
        );
        let (config, faults) = load(Path::new(FILE), &FakeWorld::new().with_file(FILE, &text));
        let errors = faults.iter().filter(|fault| fault.severity == Severity::Error);
        (config, errors.map(|fault| format!("{} {}", fault.code, fault.one_line())).collect())
    }

    #[test]
    fn every_scheme_is_taken_with_its_words() {
        for name in Scheme::NAMES.iter().filter(|name| !matches!(**name, "orchestrator" | "custom")) {
            let (config, errors) = load_source("shop", &format!("scheme: {name}, id: body.key, time: headers.x-time"));
            let source = config.unwrap_or_else(|| panic!("{name}: {errors:?}")).sources.remove("shop").expect("a source");
            assert_eq!(source.scheme.name(), *name);
            let service = source.service.expect("another service's");
            assert_eq!((service.id.map(|pick| pick.text().to_owned()).as_deref(), source.orchestrator), (Some("body.key"), None));
        }
    }

    #[test]
    fn a_scheme_of_ones_own_is_read_whole() {
        let written = "scheme: custom, header: X-Sig, algorithm: sha512, encoding: base64url, prefix: 'v1=', content: '${headers.X-Time}.${body}', timestamp: X-Time, tolerance: 90s, type: \"body.a + '.' + headers['x-b']\"";
        let (config, errors) = load_source("own", written);
        let source = config.unwrap_or_else(|| panic!("{errors:?}")).sources.remove("own").expect("a source");
        let expected = CustomScheme {
            header: "x-sig".to_owned(),
            algorithm: Algorithm::Sha512,
            encoding: Encoding::Base64Url,
            prefix: "v1=".to_owned(),
            content: Content::parse("${headers.x-time}.${body}").expect("a template"),
            timestamp: Some(("x-time".to_owned(), Duration::from_secs(90))),
        };
        assert_eq!(source.scheme, Scheme::Custom(Box::new(expected)));
        let (config, errors) = load_source("own", "scheme: custom, header: X-Sig");
        let source = config.unwrap_or_else(|| panic!("{errors:?}")).sources.remove("own").expect("a source");
        assert!(
            matches!(source.scheme, Scheme::Custom(own) if own.content == Content::body() && own.encoding == Encoding::Hex && own.timestamp.is_none())
        );
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let table: &[(&str, &str, &str, &str)] = &[
            ("s", "scheme: githup", "scheme", "unknown scheme `githup`"),
            ("s", "scheme: paypal", "scheme", "unknown scheme `paypal`"),
            ("s", "scheme: github, header: X", "scheme", "`header` belongs to `scheme: custom`"),
            ("s", "scheme: github, tolerance: 5m", "scheme", "`tolerance` belongs to"),
            ("s", "orchestrator: a, id: body.id", "scheme", "`id` belongs to the schemes of other services"),
            ("s", "scheme: github, orchestrator: a", "scheme", "of no orchestrator"),
            ("queueItem", "scheme: github", "name", "as Orchestrator's own are"),
            ("jobs", "scheme: custom, header: X", "name", "as Orchestrator's own are"),
            ("s", "scheme: custom", "missing-key", "where the signature is"),
            ("s", "scheme: custom, header: 'X Y'", "header", "`X Y` is no name of a header"),
            ("s", "scheme: custom, header: X, algorithm: sha265", "algorithm", "unknown algorithm `sha265`"),
            ("s", "scheme: custom, header: X, encoding: base46", "encoding", "unknown encoding `base46`"),
            ("s", "scheme: custom, header: X, prefix: 'é'", "prefix", "ASCII"),
            ("s", "scheme: custom, header: X, content: '${headers.x}'", "content", "does not contain `${body}`"),
            ("s", "scheme: custom, header: X, timestamp: X-Time", "timestamp", "not part of `content`"),
            ("s", "scheme: custom, header: X, tolerance: 5m", "tolerance", "without `timestamp`"),
            ("s", "scheme: custom, header: X, content: '${headers.t}${body}', timestamp: t, tolerance: 0s", "out-of-range", "tolerance"),
            ("s", "scheme: stripe, type: data.type", "expression", "`data` is not known here"),
            ("s", "scheme: stripe, id: 'body ..'", "expression", "`id`"),
        ];
        for (name, webhook, code, message) in table {
            let (config, errors) = load_source(name, webhook);
            assert!(config.is_none(), "{webhook}");
            assert!(errors.iter().any(|error| error.starts_with(code) && error.contains(message)), "{webhook}: {errors:?}");
            assert_eq!(errors.len(), 1, "{webhook}: one fault, said once: {errors:?}");
        }
    }

    #[test]
    fn a_secret_that_the_scheme_cannot_use_is_refused_without_showing_it() {
        let secret = "whsec_canary*canary*canary";
        let (config, _) = load_source("s", "scheme: standard-webhooks");
        let world = FakeWorld::new().with_var("S", secret).with_var("T", "token-token-token-token");
        let (_, faults) = config.expect("good").resolve(&world);
        let lines: Vec<String> = faults.iter().map(Fault::one_line).collect();
        assert!(faults.any_error() && lines.iter().any(|line| line.contains("none of `scheme: standard-webhooks`")), "{lines:?}");
        assert!(!lines.concat().contains("canary"));
    }
}
