//! The daemon's admin API, seen from the command line: where it is, and how it is asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::args::AdminArgs;
use super::output::{GOOD, Out, Stop, clean, paint, say};
use super::setup;
use crate::config::{AdminAddress, Config, RealWorld, World};
use crate::daemon::DaemonFile;
use crate::fault::Faults;
use crate::secret::Secret;

/// For connecting to a daemon, usually on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For one answer; a list may have to read many segments.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a daemon may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// `http://host:port` without a slash at the end.
    Url(String),
    /// A unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads HOST:PORT, a URL, or `unix:PATH`.
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err("`unix:` names no socket".to_owned()) } else { Ok(Self::Unix(PathBuf::from(path))) };
        }
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let parsed = url::Url::parse(&url)
            .map_err(|error| format!("`{}` is no address: {error}; expected HOST:PORT, a URL, or unix:/path", clean(text)))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("expected HOST:PORT, http://HOST:PORT or unix:/path, without credentials".to_owned());
        }
        if parsed.port().is_none() && !text.contains("://") {
            return Err(format!("`{}` has no port; expected HOST:PORT", clean(text)));
        }
        Ok(Self::Url(reachable(parsed)))
    }

    fn of(admin: &AdminAddress) -> Self {
        match admin {
            AdminAddress::Tcp(address) => Self::parse(&address.to_string()).unwrap_or_else(|_| Self::Url(format!("http://{address}"))),
            AdminAddress::Unix(path) => Self::Unix(path.clone()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// "All addresses" is no address to connect to: this machine is meant.
fn reachable(mut url: url::Url) -> String {
    let local = match url.host() {
        Some(url::Host::Ipv4(ip)) if ip.is_unspecified() => Some("127.0.0.1"),
        Some(url::Host::Ipv6(ip)) if ip.is_unspecified() => Some("[::1]"),
        _ => None,
    };
    if local.is_some_and(|local| url.set_host(Some(local)).is_err()) {
        // Both are hosts; a URL that refuses them is left as it is.
        return url.to_string();
    }
    url.as_str().trim_end_matches('/').to_owned()
}

/// Which daemon is meant, and what is known of it.
pub(super) struct Meant {
    address: Address,
    token: Option<Secret>,
    /// The state folder, where the configuration names one: what can be read without the daemon.
    pub(super) state: Option<PathBuf>,
}

/// The daemon of `--admin`, `TRIPLINE_ADMIN`, `<state>/daemon.json` or the configuration, in this order. With an address
/// that is named no configuration is needed. A port 0 names none: only `daemon.json` knows which one it became.
pub(super) fn meant(config: Option<&Path>, admin: &AdminArgs) -> Result<Meant, Stop> {
    let token = RealWorld.var("TRIPLINE_ADMIN_TOKEN").filter(|token| !token.is_empty()).map(Secret::new);
    let named = admin.admin.clone().map(|text| ("--admin", text));
    let environment = || RealWorld.var("TRIPLINE_ADMIN").filter(|text| !text.ends_with(":0")).map(|text| ("TRIPLINE_ADMIN", text));
    let named = named.or_else(environment);
    if let Some((origin, text)) = named {
        let address = Address::parse(&text).map_err(|message| Stop::unknown(format!("{origin}: {message}")))?;
        let config = setup::config_quietly(config);
        let token = token.or_else(|| config.as_ref().and_then(token_of));
        // The variable overrides the configuration's `admin` and nothing else of it. What is named for one command may be
        // the daemon of another machine.
        let state = config.filter(|_| origin == "TRIPLINE_ADMIN").map(|config| config.state);
        return Ok(Meant { address, token, state });
    }
    let config = setup::config(config)?;
    let running = DaemonFile::read(&config.state);
    let address = match &running {
        Some(file) => Address::parse(&file.admin).unwrap_or_else(|_| Address::of(&config.admin)),
        None => Address::of(&config.admin),
    };
    let token = token.or_else(|| token_of(&config));
    Ok(Meant { address, token, state: Some(config.state) })
}

/// The token of the configuration; without one the daemon says what is missing.
fn token_of(config: &Config) -> Option<Secret> {
    config.admin_token.as_ref()?.resolve("`admin_token`", &RealWorld, &mut Faults::new())
}

/// A connection to a daemon.
pub(super) struct Client {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
    shown: String,
}

/// What asking gave.
#[derive(Debug)]
pub(super) enum Asked {
    /// An answer with its status.
    Answer {
        /// The status.
        status: u16,
        /// The body as text.
        body: String,
    },
    /// Nobody answers there.
    Nobody(String),
}

impl Client {
    /// For the daemon that is meant. Nothing is sent yet.
    pub(super) fn new(meant: &Meant) -> Result<Self, Stop> {
        let mut builder = reqwest::Client::builder();
        let base = match &meant.address {
            Address::Url(url) => url.clone(),
            Address::Unix(path) => {
                builder = builder.unix_socket(path.clone());
                "http://localhost".to_owned()
            }
        };
        Ok(Self { runtime: runtime()?, http: http(builder, &base)?, base, token: meant.token.clone(), shown: meant.address.shown() })
    }

    /// Where it is, for people.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The runtime, for what streams.
    pub(super) fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// A request to be sent, with the token.
    pub(super) fn request(&self, method: reqwest::Method, path: &str, query: &[(&str, String)]) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).query(query);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Asks and reads the whole answer.
    pub(super) fn ask(&self, method: reqwest::Method, path: &str, query: &[(&str, String)]) -> Result<Asked, Stop> {
        self.answer_to(self.request(method, path, query))
    }

    /// Posts JSON and reads the whole answer.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Asked, Stop> {
        let request = self.request(reqwest::Method::POST, path, &[]);
        self.answer_to(request.header("content-type", "application/json").body(body.to_string()))
    }

    fn answer_to(&self, request: reqwest::RequestBuilder) -> Result<Asked, Stop> {
        let request = request.timeout(ANSWER_TIMEOUT);
        self.runtime.block_on(async {
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) if error.is_connect() => return Ok(Asked::Nobody(self.nobody(&error))),
                Err(error) => return Err(Stop::unknown(format!("the daemon at {} did not answer: {}", self.shown, why(&error)))),
            };
            let status = answer.status().as_u16();
            let body = answer.text().await;
            let body = body.map_err(|error| Stop::unknown(format!("the answer of {} broke off: {}", self.shown, why(&error))))?;
            Ok(Asked::Answer { status, body })
        })
    }

    /// As [`Client::ask`], for a JSON answer. 404 is `None`; any other refusal ends the command.
    pub(super) fn json(&self, path: &str, query: &[(&str, String)]) -> Result<Option<Value>, Stop> {
        match self.ask(reqwest::Method::GET, path, query)? {
            Asked::Nobody(message) => Err(Stop::unknown(message)),
            Asked::Answer { status: 404, .. } => Ok(None),
            Asked::Answer { status, body } if status < 300 => read(&body)
                .map(Some)
                .map_err(|error| Stop::unknown(format!("{} answered no JSON ({error}); is it Tripline's admin address?", self.shown))),
            Asked::Answer { status, body } => Err(self.refusal(status, &body)),
        }
    }

    /// What to say when nobody listens.
    fn nobody(&self, error: &reqwest::Error) -> String {
        let reason = why(error);
        let denied = reason.contains("ermission denied");
        let hint = if denied { "your user may not use the socket: see its group" } else { "is `tripline run` running?" };
        format!("no daemon at {} ({reason}); {hint}", self.shown)
    }

    /// An answer that is a refusal, in the daemon's own words where it has some.
    pub(super) fn refusal(&self, status: u16, body: &str) -> Stop {
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |field: &str| problem.get(field).and_then(Value::as_str).map(clean);
        let detail = text("detail").or_else(|| text("title")).unwrap_or_default();
        let hint = match status {
            401 | 403 => "; the token is read from TRIPLINE_ADMIN_TOKEN or `admin_token` of the configuration",
            421 => "; name it by an address that it knows, such as 127.0.0.1",
            _ => "",
        };
        Stop::unknown(format!("{} answered {status} {detail}{hint}", self.shown))
    }
}

/// The innermost reason, without the URL.
pub(super) fn why(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    if error.is_timeout() { "it took too long".to_owned() } else { clean(&source.to_string()) }
}

/// A runtime for one command.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Stop::unknown(format!("the runtime does not start: {error}")))
}

/// An HTTP client for `base`; without TLS roots where none are needed, for they take time to load.
pub(super) fn http(builder: reqwest::ClientBuilder, base: &str) -> Result<reqwest::Client, Stop> {
    // Whoever comes second finds the first one's provider, which is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = builder.connect_timeout(CONNECT_TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
    let builder = if base.starts_with("https:") { builder } else { builder.tls_certs_only([]) };
    builder.build().map_err(|error| Stop::unknown(format!("cannot set up HTTP: {}", why(&error))))
}

/// `tripline healthcheck`: 0 ready, 1 not ready, 2 could not be told.
pub(super) fn healthcheck(config: Option<&Path>, admin: &AdminArgs, out: &mut Out) -> Result<u8, Stop> {
    let client = Client::new(&meant(config, admin)?)?;
    match client.ask(reqwest::Method::GET, "/readyz", &[])? {
        Asked::Nobody(message) => Err(Stop::unknown(message)),
        Asked::Answer { status: 200, .. } => {
            if out.verbosity() >= 0 {
                out.line(&format!("{}: {}", paint(GOOD, "ready"), client.shown()))?;
            }
            Ok(super::YES)
        }
        Asked::Answer { status: 503, body } => {
            say(&format!("not ready: {}", clean(body.trim())));
            Ok(super::NO)
        }
        Asked::Answer { status, body } => Err(client.refusal(status, &body)),
    }
}

/// JSON of the daemon. An event whose data is nested as deep as a body may be is nested deeper with what stands around it than can be
/// read at once: then each field is read by itself, and is its text where that is still too deep.
pub(super) fn read(text: &str) -> Result<Value, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Page {
        items: Vec<Box<RawValue>>,
        next: Option<Value>,
    }
    serde_json::from_str(text).or_else(|error| {
        let page: Option<Page> = serde_json::from_str(text).ok();
        let items = page.as_ref().and_then(|page| page.items.iter().map(|item| read_one(item.get())).collect::<Option<Vec<_>>>());
        match (page, items) {
            (Some(page), Some(items)) => Ok(json!({ "items": items, "next": page.next })),
            _ => fields(text).ok_or(error),
        }
    })
}

fn read_one(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| fields(text))
}

/// A mapping whose fields are read one by one.
fn fields(text: &str) -> Option<Value> {
    let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).ok()?;
    let read = |raw: &RawValue| serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().into());
    Some(Value::Object(fields.into_iter().map(|(name, raw)| (name, read(&raw))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_a_url_or_a_socket() {
        for (text, expected) in [
            ("127.0.0.1:8081", Address::Url("http://127.0.0.1:8081".to_owned())),
            ("0.0.0.0:8081", Address::Url("http://127.0.0.1:8081".to_owned())),
            ("[::]:8081", Address::Url("http://[::1]:8081".to_owned())),
            ("http://tripline.corp/", Address::Url("http://tripline.corp".to_owned())),
            ("unix:/run/x.sock", Address::Unix(PathBuf::from("/run/x.sock"))),
        ] {
            assert_eq!(Address::parse(text), Ok(expected), "{text}");
        }
        for bad in ["", "localhost", "unix:", "ftp://x", "http://u:p@x", "x:99999"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_as_deep_as_a_body_may_be_is_read_beside_others() {
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let event = |data: &str| format!("{{\"id\":\"x\",\"type\":\"t\",\"data\":{data}}}");
        for levels in [100, 127, 140] {
            let text = format!("{{\"items\":[{},{}],\"next\":\"c\"}}", event("{}"), event(&deep(levels)));
            let page = read(&text).expect("reads");
            assert_eq!(
                (page["next"].as_str(), &page["items"][0], &page["items"][1]["id"]),
                (Some("c"), &json!({"id": "x", "type": "t", "data": {}}), &json!("x"))
            );
            let data = &page["items"][1]["data"];
            assert_eq!(data.as_str().map_or_else(|| data.to_string(), str::to_owned), deep(levels), "{levels}");
            assert_eq!(read(&event(&deep(levels))).expect("reads")["type"], "t");
        }
        for bad in ["", "<html>", "{\"items\":[", "[1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
