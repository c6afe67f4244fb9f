//! How the deliveries of a webhook source are signed, and whose words they use.

use std::sync::Arc;
use std::time::Duration;

use crate::fault::{Fault, Faults, Place, nearest};
use crate::headers::is_header_name;
use crate::normalize::is_family;
use crate::normalize::services::{Pick, Service, ServiceView};
use crate::signature::{Algorithm, Content, CustomScheme, Encoding, Scheme, TOLERANCE};
use crate::yaml::{Fields, KeyNode};

/// What a signed time may differ from ours.
const TOLERANCES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// The longest text before a signature.
const PREFIX_BYTES_MAX: usize = 64;

/// Keys that only a scheme of one's own has.
const OF_CUSTOM: [&str; 7] = ["header", "algorithm", "encoding", "prefix", "content", "timestamp", "tolerance"];

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
    let name = match fields.text("scheme", faults) {
        None => "orchestrator",
        Some((name, _)) if Scheme::NAMES.contains(&name) => name,
        Some((text, place)) => {
            faults.push(unknown(text, place));
            return None;
        }
    };
    let foreign: &[&str] = match name {
        "custom" => &[],
        _ => &OF_CUSTOM,
    };
    refuse(fields, foreign, "`scheme: custom`", faults);
    if name == "orchestrator" {
        refuse(fields, &OF_SERVICES, "the schemes of other services; Orchestrator's events say it themselves", faults);
    } else {
        refuse(fields, &OF_ORCHESTRATOR, "`scheme: orchestrator`", faults);
        belongs(fields, what, key, faults);
    }
    let scheme = match Scheme::of(name) {
        Some(scheme) => Some(scheme),
        None => custom(fields, what, unsigned, faults).map(|own| Scheme::Custom(Box::new(own))),
    };
    let service = service(name);
    let view = service.map(|service| ServiceView {
        name: Arc::from(key.name.as_str()),
        service,
        event: pick(fields, "type", faults),
        id: pick(fields, "id", faults),
        time: pick(fields, "time", faults),
    });
    (faults.len() == before).then_some((scheme?, view))
}

/// Whose words go with a scheme.
fn service(scheme: &str) -> Option<Service> {
    Some(match scheme {
        "standard-webhooks" => Service::StandardWebhooks,
        "github" => Service::GitHub,
        "stripe" => Service::Stripe,
        "slack" => Service::Slack,
        "shopify" => Service::Shopify,
        "cloud-elements" => Service::CloudElements,
        "custom" => Service::Custom,
        _ => return None,
    })
}

fn unknown(text: &str, place: &Place) -> Fault {
    let fault = Fault::error("scheme", place.clone(), format!("unknown scheme `{text}`"));
    match nearest(text, Scheme::NAMES) {
        Some(name) => fault.help(format!("did you mean `{name}`?")),
        None => fault.help(format!("known are: {}; `custom` is for all others", Scheme::NAMES.join(", "))),
    }
}

fn refuse(fields: &Fields<'_>, names: &[&str], owner: &str, faults: &mut Faults) {
    for name in names.iter().filter(|name| fields.get(name).is_some()) {
        let place = fields.key_place(name).unwrap_or(fields.place).clone();
        faults.push(Fault::error("scheme", place, format!("`{name}` belongs to {owner}")).help("remove it, or change `scheme`"));
    }
}

/// That the events are of no orchestrator, and that nobody takes them for Orchestrator's.
fn belongs(fields: &Fields<'_>, what: &str, key: &KeyNode, faults: &mut Faults) {
    if let Some(place) = fields.get("orchestrator").and(fields.key_place("orchestrator")) {
        let message = format!("{what} takes another service's events, which are of no orchestrator");
        faults.push(Fault::error("scheme", place.clone(), message).help("remove `orchestrator`; steps name the one they mean"));
    }
    if is_family(&key.name) {
        let message = format!("the events of source `{0}` would be called `{0}.…`, as Orchestrator's own are", key.name);
        faults.push(Fault::error("name", key.place.clone(), message).help("call the source by its service, such as `github`"));
    }
}

fn pick(fields: &Fields<'_>, name: &str, faults: &mut Faults) -> Option<Pick> {
    let (text, place) = fields.text(name, faults)?;
    match Pick::parse(text) {
        Ok(pick) => Some(pick),
        Err(message) => {
            let fault = Fault::error("expression", place.clone(), format!("`{name}`: {message}"));
            faults.push(fault.help("expected one such as `body.event.id`, `headers.x-event-id`, or an expression over both"));
            None
        }
    }
}

fn custom(fields: &Fields<'_>, what: &str, unsigned: bool, faults: &mut Faults) -> Option<CustomScheme> {
    let header = header(fields, "header", faults);
    if fields.get("header").is_none() && !unsigned {
        let fault = Fault::error("missing-key", fields.place.clone(), format!("{what} does not say where the signature is"));
        faults.push(fault.help("add `header: X-Signature` with the header that carries it"));
    }
    let algorithm = word(fields, "algorithm", &Algorithm::NAMES, faults).map(|name| Algorithm::of(name).unwrap_or(Algorithm::Sha256));
    let encoding = word(fields, "encoding", &Encoding::NAMES, faults).map(|name| Encoding::of(name).unwrap_or(Encoding::Hex));
    let prefix = fields.text("prefix", faults).map(|(text, place)| {
        if text.len() > PREFIX_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            let message = format!("`prefix` is no text of at most {PREFIX_BYTES_MAX} ASCII characters");
            faults.push(Fault::error("prefix", place.clone(), message));
        }
        text.to_owned()
    });
    let content = match fields.text("content", faults).map(|(text, place)| (Content::parse(text), place)) {
        None => Content::body(),
        Some((Ok(content), _)) => content,
        Some((Err(message), place)) => {
            let fault = Fault::error("content", place.clone(), format!("`content` {message}"));
            faults.push(fault.help("what is signed, such as `${headers.x-timestamp}.${body}`"));
            return None;
        }
    };
    let stamp = header_of_time(fields, &content, faults);
    let tolerance = fields.duration("tolerance", TOLERANCES, faults).unwrap_or(TOLERANCE);
    if let Some(place) = fields.get("tolerance").and(fields.key_place("tolerance"))
        && fields.get("timestamp").is_none()
    {
        let fault = Fault::error("tolerance", place.clone(), "`tolerance` without `timestamp` means nothing");
        faults.push(fault.help("add `timestamp:` with the header that carries the signed time"));
    }
    Some(CustomScheme {
        header: if unsigned { header.unwrap_or_default() } else { header? },
        algorithm: algorithm.unwrap_or(Algorithm::Sha256),
        encoding: encoding.unwrap_or(Encoding::Hex),
        prefix: prefix.unwrap_or_default(),
        content,
        timestamp: stamp.map(|name| (name, tolerance)),
    })
}

/// The header of the time, which must be signed: everybody could change it else.
fn header_of_time(fields: &Fields<'_>, content: &Content, faults: &mut Faults) -> Option<String> {
    let name = header(fields, "timestamp", faults)?;
    if !content.headers().any(|signed| signed == name) {
        let place = fields.get("timestamp").map_or(fields.place, |node| &node.place).clone();
        let message = format!("`timestamp` names `{name}`, which is not part of `content`: whoever sends a delivery again could change it");
        faults.push(Fault::error("timestamp", place, message).help(format!("sign it: `content: ${{headers.{name}}}.${{body}}`")));
    }
    Some(name)
}

fn header(fields: &Fields<'_>, name: &str, faults: &mut Faults) -> Option<String> {
    let (text, place) = fields.text(name, faults)?;
    if is_header_name(text) {
        return Some(text.to_ascii_lowercase());
    }
    faults.push(Fault::error("header", place.clone(), format!("`{name}`: `{text}` is no name of a header")).help("such as `X-Signature`"));
    None
}

fn word<'a>(fields: &Fields<'a>, name: &str, known: &[&'static str], faults: &mut Faults) -> Option<&'a str> {
    let (text, place) = fields.text(name, faults)?;
    if known.contains(&text) {
        return Some(text);
    }
    let fault = Fault::error(if name == "algorithm" { "algorithm" } else { "encoding" }, place.clone(), format!("unknown {name} `{text}`"));
    faults.push(match nearest(text, known.iter().copied()) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault.help(format!("known are: {}", known.join(", "))),
    });
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, FakeWorld, load};
    use crate::fault::Severity;

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
