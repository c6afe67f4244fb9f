//! How a service signs what it delivers, and where in it the event's words are: read the same in a connector's trigger and
//! in a webhook source of the configuration.

use std::time::Duration;

use crate::event::SourceName;
use crate::fault::{Fault, Faults, nearest};
use crate::headers::is_header_name;
use crate::normalize::services::{Pick, Service, ServiceView};
use crate::signature::{Algorithm, Content, CustomScheme, Encoding, Scheme, TOLERANCE};
use crate::yaml::Fields;
use crate::yaml::shape::{Form, Key, key};

/// What a signed time may differ from ours.
const TOLERANCES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// The longest text before a signature.
const PREFIX_BYTES_MAX: usize = 64;

/// Where another service's name of the event is.
pub const TYPE: Key =
    key("type", Form::Text, "Where another service's name of the event is: `body.type`, `headers.x-event` or an expression.");
/// Where its id is.
pub const ID: Key = key("id", Form::Text, "Where its id of the event is, by which copies are known.");
/// Where its time is.
pub const TIME: Key = key("time", Form::Text, "Where the time is at which it happened.");
/// Where the signature is.
pub const HEADER: Key = key("header", Form::Text, "scheme custom: the header that carries the signature.");
/// The hash.
pub const ALGORITHM: Key = key("algorithm", Form::Words(&Algorithm::NAMES), "scheme custom: the hash under the HMAC; sha256 by default.");
/// The spelling.
pub const ENCODING: Key = key("encoding", Form::Words(&Encoding::NAMES), "scheme custom: how the signature is spelt; hex by default.");
/// What stands before it.
pub const PREFIX: Key = key("prefix", Form::Text, "scheme custom: what stands before the signature, such as `sha256=`.");
/// What is signed.
pub const CONTENT: Key =
    key("content", Form::Text, "scheme custom: what is signed, such as `${headers.x-timestamp}.${body}`; `${body}` by default.");
/// The signed time.
pub const TIMESTAMP: Key = key("timestamp", Form::Text, "scheme custom: the header with the time, which is signed too.");
/// How far it may be away.
pub const TOLERATED: Key = key("tolerance", Form::Duration, "scheme custom: how far that time may be from ours; 5m by default.");

/// Keys that only a scheme of one's own has.
const OF_CUSTOM: [&str; 7] = ["header", "algorithm", "encoding", "prefix", "content", "timestamp", "tolerance"];

/// What a service delivers.
#[derive(Clone, Debug, PartialEq)]
pub struct Deliveries {
    /// How it is signed.
    pub scheme: Scheme,
    /// Whose words it uses.
    pub service: Service,
    /// Where the event's name is, in place of where the service has it.
    pub event: Option<Pick>,
    /// Where the service's id of the event is, likewise.
    pub id: Option<Pick>,
    /// Where the time is at which it happened, likewise.
    pub time: Option<Pick>,
}

impl Deliveries {
    /// As a source sees them.
    #[must_use]
    pub fn view(&self, name: SourceName) -> ServiceView {
        let Self { service, event, id, time, .. } = self.clone();
        ServiceView { name, service, event, id, time }
    }
}

/// The name of the scheme, where it is written and there is one.
pub fn scheme_name<'a>(fields: &Fields<'a>, known: &[&'static str], faults: &mut Faults) -> Option<&'a str> {
    let (name, place) = fields.text("scheme", faults)?;
    if known.contains(&name) {
        return Some(name);
    }
    let fault = Fault::error("scheme", place.clone(), format!("unknown scheme `{name}`"));
    faults.push(match nearest(name, known.iter().copied()) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault.help(format!("known are: {}; `custom` is for all others", known.join(", "))),
    });
    None
}

/// Reads the keys that go with the scheme `name` of a service. `what` has them; `unsigned` asks for no signature.
pub fn read_deliveries(name: &str, fields: &Fields<'_>, what: &str, unsigned: bool, faults: &mut Faults) -> Option<Deliveries> {
    let before = faults.len();
    refuse_of_custom(name, fields, faults);
    let scheme = match Scheme::of(name) {
        Some(scheme) => Some(scheme),
        None => custom(fields, what, unsigned, faults).map(|own| Scheme::Custom(Box::new(own))),
    };
    let (event, id, time) = (pick(fields, "type", faults), pick(fields, "id", faults), pick(fields, "time", faults));
    let service = service(name)?;
    (faults.len() == before).then_some(Deliveries { scheme: scheme?, service, event, id, time })
}

/// Refuses the keys of a scheme of one's own where the scheme is another.
pub fn refuse_of_custom(name: &str, fields: &Fields<'_>, faults: &mut Faults) {
    if name != "custom" {
        refuse(fields, &OF_CUSTOM, "`scheme: custom`", faults);
    }
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

/// Refuses keys that belong elsewhere.
pub fn refuse(fields: &Fields<'_>, names: &[&str], owner: &str, faults: &mut Faults) {
    for name in names.iter().filter(|name| fields.get(name).is_some()) {
        let place = fields.key_place(name).unwrap_or(fields.place).clone();
        faults.push(Fault::error("scheme", place, format!("`{name}` belongs to {owner}")).help("remove it, or change `scheme`"));
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
