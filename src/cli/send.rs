//! `tripline send`: signs a body as Orchestrator or another service would and posts it to the real ingress.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::output::{BAD, GOOD, Out, Stop, clean, paint};
use super::samples::{Fresh, body};
use super::{NO, YES, client, setup};
use crate::clock::{Clock, chance};
use crate::config::{Config, RealWorld, WebhookSource};
use crate::daemon::DaemonFile;
use crate::fault::{Faults, nearest};
use crate::headers::{Found, HeaderList, Headers, is_header_name};
use crate::normalize::services::{Pick, Service};
use crate::normalize::{canonical_type, known_types};
use crate::signature::{SendAs, sign};

/// As long as Orchestrator waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The type that is sent when nothing is said.
const TYPE_DEFAULT: &str = "queueItem.transactionFailed";

/// What is sent.
pub(super) struct What<'a> {
    /// A sample of this type.
    pub(super) event_type: Option<&'a str>,
    /// This file, or stdin for `-`.
    pub(super) file: Option<&'a Path>,
    /// With these headers besides.
    pub(super) headers: HeaderList,
    /// Nothing: the types are listed.
    pub(super) list: bool,
}

/// What else is known of a body.
#[derive(Clone, Copy)]
pub(super) struct Came<'a> {
    /// Through this source.
    pub(super) source: Option<&'a str>,
    /// With these headers.
    pub(super) headers: &'a HeaderList,
}

/// Reads `NAME: VALUE`.
pub(super) fn headers(written: &[String]) -> Result<HeaderList, Stop> {
    let one = |text: &String| match text.split_once(':') {
        Some((name, value)) if is_header_name(name.trim()) && !value.contains(|c: char| c.is_control()) => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(Stop::unknown(format!("`{}` is no header; expected `NAME: VALUE`", clean(text)))),
    };
    written.iter().map(one).collect::<Result<_, _>>().map(HeaderList)
}

pub(super) fn run(config: Option<&Path>, what: &What<'_>, source: Option<&str>, to: Option<&str>, out: &mut Out) -> Result<u8, Stop> {
    if what.list {
        for name in types() {
            out.line(name)?;
        }
        return Ok(YES);
    }
    // A sample that there is none of is said before anything is asked of the configuration.
    let sample = if what.file.is_none() { Some(bytes_of(what)?) } else { None };
    let config = setup::config_with_triggers(config)?;
    let source = choose(&config, source)?;
    let mut headers = own_headers(source, what)?;
    let bytes = match sample {
        Some(bytes) => bytes,
        None => bytes_of(what)?,
    };
    let signed = signature(source, &bytes, &headers)?;
    headers.0.extend(signed);
    let url = match to {
        Some(url) => url.to_owned(),
        None => format!("http://{}{}", ingress(&config), source.path),
    };
    let runtime = client::runtime()?;
    let http = client::http(reqwest::Client::builder(), &url)?;
    let mut request = http.post(&url).timeout(ANSWER_TIMEOUT).body(bytes);
    if headers.find("content-type") == Found::Missing {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in &headers.0 {
        request = request.header(name, value);
    }
    let (status, answer) = runtime.block_on(async {
        let cannot = |error: reqwest::Error| {
            let hint = if error.is_connect() { "; is `tripline run` running?" } else { "" };
            Stop::unknown(format!("cannot post to {}: {}{hint}", clean(&url), client::why(&error)))
        };
        let answer = request.send().await.map_err(cannot)?;
        let status = answer.status();
        Ok::<_, Stop>((status, answer.text().await.map_err(cannot)?))
    })?;
    let style = if status.is_success() { GOOD } else { BAD };
    out.line(&format!("{} {}", paint(style, &status.to_string()), clean(answer.trim())))?;
    Ok(if status.is_success() { YES } else { NO })
}

fn types() -> impl Iterator<Item = &'static str> {
    known_types().iter().copied().filter(|name| !name.starts_with("tripline."))
}

fn bytes_of(what: &What<'_>) -> Result<Vec<u8>, Stop> {
    if let Some(file) = what.file {
        return read(file);
    }
    let asked = what.event_type.unwrap_or(TYPE_DEFAULT);
    let fresh = Fresh { number: (chance() * (1_u64 << 53) as f64) as u64, now: Clock::system().now() };
    let canonical = canonical_type(asked);
    match types().find(|name| **name == *canonical).and_then(|name| body(name, fresh)) {
        Some(body) => Ok(body.to_string().into_bytes()),
        None => {
            let near = nearest(asked, types()).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            Err(Stop::unknown(format!("there is no sample of `{}`{near}; `tripline send --list` names them", clean(asked))))
        }
    }
}

/// A file's bytes, or those of stdin for `-`.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    let result = if file == Path::new("-") { std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes) } else { std::fs::read(file) };
    result.map_err(|error| Stop::unknown(format!("cannot read `{}`: {error}", file.display())))
}

/// The source that is named, or the only one.
fn choose<'a>(config: &'a Config, named: Option<&str>) -> Result<&'a WebhookSource, Stop> {
    let names = || config.sources.keys().map(|name| &**name);
    let listed = || names().collect::<Vec<_>>().join(", ");
    match named {
        Some(name) => config.sources.get(name).ok_or_else(|| {
            let near = nearest(name, names()).map_or_else(|| format!("known are: {}", listed()), |near| format!("did you mean `{near}`?"));
            Stop::unknown(format!("there is no source `{}`; {near}", clean(name)))
        }),
        None => match config.sources.values().collect::<Vec<_>>().as_slice() {
            [only] => Ok(only),
            [] => Err(Stop::unknown("the configuration has no source to send as")),
            _ => Err(Stop::unknown(format!("name the source with --source: {}", listed()))),
        },
    }
}

/// The headers that go with the body, signature aside: those that are given, and what the service says in headers of its own.
fn own_headers(source: &WebhookSource, what: &What<'_>) -> Result<HeaderList, Stop> {
    let mut headers = what.headers.clone();
    let Some(service) = &source.service else {
        return match (what.file, what.event_type) {
            (Some(_), Some(_)) => Err(Stop::unknown("a file says its type itself: leave --type out")),
            _ => Ok(headers),
        };
    };
    if what.file.is_none() {
        return Err(Stop::unknown(format!(
            "there are samples of Orchestrator's events only: give the body of source `{}` as a FILE",
            source.name
        )));
    }
    let mut add = |name: &str, value: String| {
        if headers.find(name) == Found::Missing {
            headers.0.push((name.to_owned(), value));
        }
    };
    match (service.event_header(), what.event_type) {
        (Some(header), Some(event)) => add(header, event.to_owned()),
        (None, Some(_)) => return Err(Stop::unknown("the body of this source says its event itself: leave --type out")),
        (Some(header), None) if what.headers.find(header) == Found::Missing => {
            return Err(Stop::unknown(format!("name the event with --type: it comes in the header `{header}`")));
        }
        (_, None) => {}
    }
    let fresh = fresh_id();
    if let Some(header) = service.id.as_ref().and_then(Pick::header) {
        add(header, fresh.clone());
    }
    match service.service {
        Service::GitHub => add("x-github-delivery", fresh),
        Service::Shopify => add("x-shopify-webhook-id", fresh),
        _ => {}
    }
    Ok(headers)
}

/// An id that no delivery had before.
fn fresh_id() -> String {
    format!("sent-{:013x}", (chance() * (1_u64 << 52) as f64) as u64)
}

/// By the source's first secret; nothing for a source that asks for none.
fn signature(source: &WebhookSource, bytes: &[u8], headers: &HeaderList) -> Result<Vec<(String, String)>, Stop> {
    let Some(first) = source.secrets.first() else { return Ok(Vec::new()) };
    let mut faults = Faults::new();
    let Some(secret) = first.resolve(&format!("secret 1 of source `{}`", source.name), &RealWorld, &mut faults) else {
        return Err(setup::unreadable(&faults));
    };
    let id = headers.text("webhook-id").map_or_else(fresh_id, str::to_owned);
    let send = SendAs { id: &id, now: Clock::system().wall(), headers };
    let signed = sign(&source.scheme, bytes, &secret, &send).map_err(|why| Stop::unknown(format!("cannot sign: {why}")))?;
    Ok(signed.into_iter().filter(|(name, _)| headers.find(name) == Found::Missing).collect())
}

/// Where the daemon really listens, else where the configuration says it will.
fn ingress(config: &Config) -> String {
    let address = DaemonFile::read(&config.state).and_then(|file| file.listen.parse().ok()).unwrap_or(config.listen);
    let ip = match address.ip() {
        std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    std::net::SocketAddr::new(ip, address.port()).to_string()
}
