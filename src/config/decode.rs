//! From the text to a [`Config`], with every fault collected.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::World;
use super::address::{admin, listen, overlap};
use super::files::{Base, CONFIG_BYTES_MAX, FILE_UNREADABLE, SEARCHED, absolute, read_text};
use super::outbound::egress;
use super::registration::public_url;
use super::retention::retention;
use super::settings::{AdminAddress, Config, Limits, Log, LogFormat};
use super::{orchestrators, shapes, sources};
use crate::fault::{Fault, Faults, Place, SourceText, nearest};
use crate::yaml::secret;
use crate::yaml::{Fields, Node, Yaml, hide, hide_in_faults, parse};

/// Keys whose values are secrets, so that no report shows them.
const SECRET_KEYS: [&str; 6] = ["secrets", "client_secret", "token", "admin_token", "refresh_token", "password"];

/// What bodies may be limited to.
const BODY: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 30;
/// What bytes in flight may be limited to.
const IN_FLIGHT: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 40;
/// What connections may be limited to.
pub(super) const CONNECTIONS: std::ops::RangeInclusive<u64> = 1..=1_000_000;
/// What reading a head or a body may be limited to.
const TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
/// How long stopping may take.
const GRACE: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

/// Reads and checks a configuration file. With any error there is no configuration.
/// `TRIPLINE_LISTEN`, `TRIPLINE_ADMIN`, `TRIPLINE_STATE` and `TRIPLINE_LOG` of `world` override.
pub fn load(file: &Path, world: &dyn World) -> (Option<Config>, Faults) {
    let (config, faults) = draft(file, world);
    (config.filter(|_| !faults.any_error()), faults)
}

/// The same with what could be read beside errors: good for looking at rules and connectors, never for running.
pub fn draft(file: &Path, world: &dyn World) -> (Option<Config>, Faults) {
    let mut faults = Faults::new();
    let source = match read_text(file, "configuration file", CONFIG_BYTES_MAX, world) {
        Ok(source) => source,
        Err(fault) => {
            let bare = fault.help.is_none() && fault.code == FILE_UNREADABLE;
            faults.push(if bare {
                fault.help(format!("name one with -c FILE, or make one with `tripline init`; searched are {}", SEARCHED.join(" and ")))
            } else {
                fault
            });
            return (None, faults);
        }
    };
    let mut documents = match parse(&source) {
        Ok(documents) => documents,
        Err(found) => return (None, hide_in_faults(found, &source, &SECRET_KEYS)),
    };
    hide(&mut documents, &source, &SECRET_KEYS);
    let config = match documents.as_slice() {
        [root] => decode(root, file, world, &mut faults),
        [] => {
            let fault = Fault::error("empty", whole(&source), "the configuration is empty");
            faults.push(fault.help("it needs `sources` (what comes in) and `rules` (what is done); `tripline init` writes an example"));
            None
        }
        [_, second, ..] => {
            let fault = Fault::error("documents", second.place.clone(), "a second document begins here; a configuration is one");
            faults.push(fault.help("remove the `---`"));
            None
        }
    };
    (config, faults)
}

fn whole(source: &Arc<SourceText>) -> Place {
    Place { source: Arc::clone(source), line: 0, column: 0, length: 0 }
}

fn decode(root: &Node, file: &Path, world: &dyn World, faults: &mut Faults) -> Option<Config> {
    let base = Base::of(file, world);
    let fields = Fields::read(root, "the configuration", &shapes::CONFIG, faults)?;
    let listen = listen(&fields, world, faults);
    let admin = admin(&fields, &base, world, faults);
    let admin_token = fields.get("admin_token").map(|node| secret::decode(node, "`admin_token`", base.folder(), faults));
    if let (Some(listen), Some(AdminAddress::Tcp(admin))) = (listen, &admin)
        && overlap(listen, *admin)
    {
        let place = fields.get("admin").or(fields.get("listen")).map_or(fields.place, |node| &node.place);
        let message = format!("`listen` ({listen}) and `admin` ({admin}) are the same port");
        faults.push(Fault::error("address-conflict", place.clone(), message).help("give `admin` another port, or `unix:/path`"));
    }
    if let Some(AdminAddress::Tcp(address)) = &admin
        && !address.ip().is_loopback()
        && admin_token.is_none()
    {
        let place = fields.get("admin").map_or(fields.place, |node| &node.place);
        let message = format!("`admin` ({address}) can be reached from other machines and there is no `admin_token`");
        let help = "add `admin_token: {env: NAME}`, or let `admin` be a loopback address or `unix:/path`";
        faults.push(Fault::error("admin-open", place.clone(), message).help(help));
    }
    let orchestrators = fields.get("orchestrators").map(|node| orchestrators::decode(node, &base, faults)).unwrap_or_default();
    let names = fields.get("orchestrators").and_then(Node::as_map).unwrap_or_default();
    let public_url = public_url(&fields, faults);
    let around = sources::Surroundings {
        public_url: public_url.as_deref(),
        orchestrators: &orchestrators,
        orchestrator_names: names.iter().map(|(key, _)| key.name.as_str()).collect(),
        listen: listen.unwrap_or(super::address::LISTEN),
        base: &base,
    };
    let sources = match fields.get("sources") {
        Some(node) => sources::decode(node, &around, faults),
        None => Default::default(),
    };
    if sources.webhooks.is_empty()
        && sources.polls.is_empty()
        && sources.triggers.is_empty()
        && fields.get("sources").and_then(Node::as_map).is_none_or(<[_]>::is_empty)
    {
        let place = fields.key_place("sources").map_or_else(|| whole(&root.place.source), Place::clone);
        let fault = Fault::warning("no-sources", place, "no `sources`: nothing can come in");
        faults.push(fault.help("add `sources: {NAME: {webhook: {orchestrator: NAME, secrets: [{env: NAME}]}}}`"));
    }
    let retention = retention(&fields, faults);
    let limits = limits(&fields, faults);
    let shutdown_grace = fields.duration("shutdown_grace", GRACE, faults).unwrap_or(Duration::from_secs(25));
    let egress = egress(&fields, &base, world, faults);
    let log = log(&fields, world, faults);
    let vars = vars(&fields, faults);
    let state = state(&fields, &base, world, faults);
    let rules = rules(&fields, &base, faults);
    let connectors = super::connectors::decode(&fields, &base, faults);
    // What is missing here was a fault.
    Some(Config {
        file: absolute(file, world),
        listen: listen.unwrap_or(super::address::LISTEN),
        admin: admin.unwrap_or(AdminAddress::Tcp(super::address::ADMIN)),
        admin_token: admin_token.flatten(),
        state: state.unwrap_or_else(|| base.resolve("state")),
        public_url,
        rules,
        connectors,
        retention,
        limits,
        shutdown_grace,
        egress,
        log,
        vars,
        orchestrators,
        sources: sources.webhooks,
        polls: sources.polls,
        watches: sources.watches,
        triggers: sources.triggers,
    })
}

fn limits(fields: &Fields<'_>, faults: &mut Faults) -> Limits {
    let standard = Limits::default();
    let Some(node) = fields.get("limits") else { return standard };
    let Some(fields) = Fields::read(node, "`limits`", &shapes::LIMITS, faults) else { return standard };
    let limits = Limits {
        body: fields.size("body", BODY, faults).unwrap_or(standard.body),
        in_flight: fields.size("in_flight", IN_FLIGHT, faults).unwrap_or(standard.in_flight),
        connections: fields
            .integer("connections", CONNECTIONS, faults)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(standard.connections),
        header_timeout: fields.duration("header_timeout", TIMEOUT, faults).unwrap_or(standard.header_timeout),
        body_timeout: fields.duration("body_timeout", TIMEOUT, faults).unwrap_or(standard.body_timeout),
    };
    let place = |name: &str| fields.get(name).map_or(fields.place, |node| &node.place).clone();
    if limits.in_flight < limits.body {
        let message = "`in_flight` is smaller than `body`: a body of the allowed length would never be taken";
        let at = if fields.get("in_flight").is_some() { "in_flight" } else { "body" };
        faults.push(Fault::error("limits", place(at), message).help("let `in_flight` be at least `body`; twice as much is usual"));
    }
    if limits.header_timeout > limits.body_timeout {
        let message = "`header_timeout` is longer than `body_timeout`";
        let at = if fields.get("header_timeout").is_some() { "header_timeout" } else { "body_timeout" };
        faults.push(Fault::error("limits", place(at), message).help("a head is shorter than a body: let `body_timeout` be the longer one"));
    }
    limits
}

fn log(fields: &Fields<'_>, world: &dyn World, faults: &mut Faults) -> Log {
    let mut log = Log { format: LogFormat::Auto, level: "info".to_owned() };
    if let Some(node) = fields.get("log")
        && let Some(fields) = Fields::read(node, "`log`", &shapes::LOG, faults)
    {
        if let Some((text, place)) = fields.text("format", faults) {
            match log_format(text) {
                Some(format) => log.format = format,
                None => {
                    let message = format!("unknown log format `{text}`; expected auto, text or json");
                    faults.push(Fault::error("log", place.clone(), message));
                }
            }
        }
        if let Some((text, place)) = fields.text("level", faults) {
            match filter(text) {
                Ok(()) => text.clone_into(&mut log.level),
                Err(message) => faults.push(Fault::error("log", place.clone(), format!("`level`: {message}"))),
            }
        }
    }
    if let Some(text) = world.var("TRIPLINE_LOG") {
        // `debug`, `json`, or `json,debug`: a format among the levels is one.
        let (formats, levels): (Vec<&str>, Vec<&str>) = text.split(',').partition(|part| log_format(part.trim()).is_some());
        if let Some(format) = formats.last().and_then(|part| log_format(part.trim())) {
            log.format = format;
        }
        let level = levels.join(",");
        match filter(&level) {
            _ if levels.is_empty() => {}
            Ok(()) => log.level = level,
            Err(message) => faults.push(Fault::general("environment", format!("environment variable `TRIPLINE_LOG`: {message}"))),
        }
    }
    log
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "auto" => Some(LogFormat::Auto),
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

/// Checks `info` or `tripline=debug,info`: a misspelt level would otherwise be taken for a module's name.
fn filter(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let near = nearest(level, LEVELS).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            return Err(format!("unknown level `{level}`; expected {}{near}", LEVELS.join(", ")));
        }
        let target = part.split('=').next().unwrap_or_default().trim();
        if part.contains('=') && (target.is_empty() || !target.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-".contains(&b))) {
            return Err(format!("`{part}` names no module; expected one such as `tripline::intake=debug`"));
        }
    }
    Ok(())
}

fn vars(fields: &Fields<'_>, faults: &mut Faults) -> Value {
    match fields.get("vars") {
        None => Value::Object(Map::new()),
        Some(node) if matches!(node.value, Yaml::Map(_)) => node.to_json(),
        Some(node) => {
            let message = format!("`vars` is {}; expected a mapping", node.kind());
            faults.push(Fault::error("wrong-type", node.place.clone(), message));
            Value::Object(Map::new())
        }
    }
}

fn state(fields: &Fields<'_>, base: &Base, world: &dyn World, faults: &mut Faults) -> Option<PathBuf> {
    let written = fields.text("state", faults);
    if let Some(text) = world.var("TRIPLINE_STATE") {
        if text.is_empty() {
            faults.push(Fault::general("environment", "environment variable `TRIPLINE_STATE` is empty; expected a folder"));
            return None;
        }
        return Some(absolute(Path::new(&text), world));
    }
    match written {
        Some(("", place)) => {
            faults.push(Fault::error("empty", place.clone(), "`state` is empty; expected a folder"));
            None
        }
        Some((text, _)) => Some(base.resolve(text)),
        None => Some(base.resolve("state")),
    }
}

fn rules(fields: &Fields<'_>, base: &Base, faults: &mut Faults) -> Vec<PathBuf> {
    match fields.texts("rules", faults) {
        None => vec![base.resolve("rules")],
        Some(paths) => {
            for (_, place) in paths.iter().filter(|(text, _)| text.is_empty()) {
                faults.push(Fault::error("empty", (*place).clone(), "`rules` has an empty path; expected a folder or a file"));
            }
            if paths.is_empty() && fields.get("rules").and_then(Node::as_list).is_some_and(<[_]>::is_empty) {
                let place = fields.key_place("rules").unwrap_or(fields.place).clone();
                faults.push(Fault::error("empty", place, "`rules` is an empty list").help("name a folder: `rules: rules/`"));
            }
            paths.into_iter().map(|(text, _)| base.resolve(text)).collect()
        }
    }
}
