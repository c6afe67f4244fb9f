//! `tripline webhooks`: what the sources need registered in Orchestrator, made so, and tried.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::AdminArgs;
use super::client::{Asked, Client, meant, runtime};
use super::output::{BAD, DIM, GOOD, Out, STRONG, Stop, WARN, clean, paint, say};
use super::{NO, UNKNOWN, YES, online, setup};
use crate::config::{Config, Subscribe};
use crate::fault::nearest;
use crate::register::{Look, Ours, REQUEST_TIMEOUT};
use crate::rules::RuleSet;

/// How long a ping may take to come in.
const PING_LIMIT: Duration = Duration::from_secs(15);
/// Between two looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// `tripline webhooks`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum WebhooksCommand {
    /// Say what differs between the configuration and Orchestrator: exit code 0 nothing, 1 something
    Plan(Which),
    /// Register what is missing, change what differs; nothing where nothing does
    Apply {
        #[command(flatten)]
        which: Which,
        /// Send the secret even where nothing differs: API versions below 16 cannot tell which one is registered
        #[arg(long)]
        secret: bool,
    },
    /// Have Orchestrator send a ping, and see whether it comes in
    Ping {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Which webhooks.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Only this source [default: every webhook of an orchestrator]
    source: Option<String>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, command: &WebhooksCommand, out: &mut Out) -> Result<u8, Stop> {
    match command {
        WebhooksCommand::Plan(which) => each(config, which, None, out),
        WebhooksCommand::Apply { which, secret } => each(config, which, Some(*secret), out),
        WebhooksCommand::Ping { which, admin } => ping(config, which, admin, out),
    }
}

/// The webhooks that are meant, each ready to be asked about.
fn ours(config: &Config, rules: &RuleSet, named: Option<&str>) -> Result<Vec<Ours>, Stop> {
    let of_orchestrator = || config.sources.values().filter(|source| source.orchestrator.is_some());
    if let Some(name) = named
        && !of_orchestrator().any(|source| *source.name == *name)
    {
        let known: Vec<&str> = of_orchestrator().map(|source| &*source.name).collect();
        let near = nearest(name, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
        let known = near.unwrap_or_else(|| format!("; there are: {}", known.join(", ")));
        return Err(Stop::no(format!("no webhook source of an orchestrator is named `{}`{known}", clean(name))));
    }
    let online = online::online(config)?;
    let mut found = Vec::new();
    for source in of_orchestrator().filter(|source| named.is_none_or(|name| *source.name == *name)) {
        let Some(url) = source.registration.url.clone() else {
            let help = "add `public_url: https://HOST` with the address by which Orchestrator reaches this machine";
            return Err(Stop::unknown(format!("the configuration has no `public_url`: where shall Orchestrator deliver? {help}")));
        };
        let orchestrator = source.orchestrator.as_ref().and_then(|name| online.orchestrators.get(name));
        let secrets = online.secrets.sources.get(&source.name).filter(|secrets| secrets.len() == source.secrets.len());
        let (Some(orchestrator), Some(secret)) = (orchestrator, secrets.and_then(|secrets| secrets.first())) else {
            return Err(setup::unreadable(&online.faults));
        };
        found.push(Ours {
            source: source.name.clone(),
            orchestrator: orchestrator.clone(),
            url,
            all: source.registration.subscribe == Subscribe::All,
            types: rules.types_of(&source.name, orchestrator.name()),
            secret: secret.value.clone(),
        });
    }
    if found.is_empty() {
        say("the configuration has no webhook source of an orchestrator");
    }
    Ok(found)
}

/// Plans, and applies where asked to; then it says whether to send secrets where nothing differs.
fn each(config: Option<&Path>, which: &Which, apply: Option<bool>, out: &mut Out) -> Result<u8, Stop> {
    let (config, rules) = setup::project(config)?;
    let ours = ours(&config, &rules, which.source.as_deref())?;
    let runtime = runtime()?;
    let mut code = YES;
    for one in &ours {
        let look = match runtime.block_on(one.look()) {
            Ok(look) => look,
            Err(failure) => {
                failed(one, &failure.message, which.json, out)?;
                code = UNKNOWN;
                continue;
            }
        };
        let differs = !look.planned.differences.is_empty();
        let put = apply.is_some_and(|anyway| differs || (anyway && look.planned.found.is_some()));
        if !put {
            show(one, &look, None, which.json, out)?;
            code = code.max(if differs { NO } else { YES });
            continue;
        }
        match runtime.block_on(one.put(&look.planned)).result {
            Ok(id) => show(one, &look, Some(id), which.json, out)?,
            Err(failure) => {
                failed(one, &failure.message, which.json, out)?;
                code = UNKNOWN;
            }
        }
    }
    Ok(code)
}

fn failed(one: &Ours, message: &str, as_json: bool, out: &mut Out) -> Result<(), Stop> {
    if as_json {
        return out.json(&json!({"source": one.source, "orchestrator": one.orchestrator.name(), "url": one.url, "error": message}));
    }
    say(&format!("{}: {}: {}", paint(BAD, "error"), one.source, clean(message)));
    Ok(())
}

/// What was found, and what was done (`put`: the webhook's Id).
fn show(one: &Ours, look: &Look, put: Option<i64>, as_json: bool, out: &mut Out) -> Result<(), Stop> {
    let planned = &look.planned;
    let id = put.or(planned.found.as_ref().map(|found| found.id));
    if as_json {
        let differences: Vec<Value> = planned.differences.iter().map(|d| json!({"what": d.what, "is": d.is, "wanted": d.wanted})).collect();
        let others: Vec<Value> = planned.others.iter().map(|one| json!({"id": one.id, "name": one.name, "url": one.url})).collect();
        return out.json(&json!({
            "source": one.source, "orchestrator": one.orchestrator.name(), "url": one.url, "id": id, "differences": differences,
            "applied": put.is_some(), "not_offered": look.not_offered, "others": others,
        }));
    }
    let head = format!("{}  {}", paint(STRONG, &one.source), paint(DIM, &clean(&one.url)));
    let state = match (planned.differences.is_empty(), put, &planned.found) {
        (true, ..) if look.idle => paint(DIM, "no rule asks for an event of Orchestrator: nothing to register"),
        (true, ..) => format!("{} webhook {}", paint(GOOD, "as it should be:"), id.unwrap_or_default()),
        (false, None, None) => paint(WARN, "to be registered").clone(),
        (false, None, Some(found)) => format!("{} webhook {}", paint(WARN, "differs:"), found.id),
        (false, Some(id), None) => format!("{} webhook {id}", paint(GOOD, "registered:")),
        (false, Some(id), Some(_)) => format!("{} webhook {id}", paint(GOOD, "changed:")),
    };
    out.line(&format!("{head}  {state}"))?;
    for difference in &planned.differences {
        out.line(&format!("  {}", paint(DIM, difference.what)))?;
        if planned.found.is_some() {
            out.line(&format!("    {}", paint(BAD, &format!("- {}", clean(&difference.is)))))?;
        }
        out.line(&format!("    {}", paint(GOOD, &format!("+ {}", clean(&difference.wanted)))))?;
    }
    if !look.not_offered.is_empty() {
        let types = look.not_offered.join(", ");
        out.line(&format!("  {}: rules name {types}, which this Orchestrator does not offer to webhooks", paint(WARN, "note")))?;
    }
    for other in &planned.others {
        let name = other.name.as_deref().unwrap_or_default();
        let why = match other.url.trim_end_matches('/') == one.url.trim_end_matches('/') {
            true => "each event comes twice, or is refused where its secret is another; remove it in Orchestrator if nobody needs it",
            false => "it is left alone",
        };
        let text = format!("webhook {} ({}) delivers to {}; {why}", other.id, clean(name), clean(&other.url));
        out.line(&format!("  {}: {text}", paint(DIM, "note")))?;
    }
    Ok(())
}

fn ping(config: Option<&Path>, which: &Which, admin: &AdminArgs, out: &mut Out) -> Result<u8, Stop> {
    let (loaded, rules) = setup::project(config)?;
    let ours = ours(&loaded, &rules, which.source.as_deref())?;
    let client = Client::new(&meant(config, admin)?)?;
    let mut code = YES;
    for one in &ours {
        let pinged = client.runtime().block_on(async {
            let look = one.look().await.map_err(|failure| failure.message)?;
            let Some(found) = look.planned.found else {
                return Err("it is not registered; `tripline webhooks apply` registers it".to_owned());
            };
            Ok(found)
        });
        let found = match pinged {
            Ok(found) => found,
            Err(message) => {
                failed(one, &message, which.json, out)?;
                code = UNKNOWN;
                continue;
            }
        };
        let before = newest_ping(&client, &one.source)?;
        let sent = client.runtime().block_on(one.orchestrator.ping_webhook(found.id, REQUEST_TIMEOUT)).result;
        if let Err(failure) = sent {
            failed(one, &failure.message, which.json, out)?;
            code = UNKNOWN;
            continue;
        }
        let came = came(&client, &one.source, before.as_ref())?;
        if which.json {
            out.json(&json!({
                "source": one.source, "orchestrator": one.orchestrator.name(), "url": found.url, "id": found.id,
                "enabled": found.enabled, "sent": true, "came": came.as_ref().ok().map(Option::is_some),
                "event": came.as_ref().ok().and_then(Option::as_ref),
            }))?;
        } else {
            let said = match &came {
                Ok(Some(event)) => format!("{}: the ping came in as event {event}", paint(GOOD, "ok")),
                Ok(None) if !found.enabled => {
                    format!("{}: it is disabled in Orchestrator; `tripline webhooks apply` enables it", paint(BAD, "no"))
                }
                Ok(None) => {
                    let limit = PING_LIMIT.as_secs();
                    let why = "is the URL reachable from there, and is the webhook not switched off for an hour after a failed delivery?";
                    format!("{}: Orchestrator sent a ping and it did not come in within {limit} s; {why}", paint(BAD, "no"))
                }
                Err(nobody) => format!("{}: sent; whether it came cannot be told: {nobody}", paint(WARN, "unknown")),
            };
            out.line(&format!("{}  {said}", paint(STRONG, &one.source)))?;
        }
        code = code.max(match came {
            Ok(Some(_)) => YES,
            Ok(None) => NO,
            Err(_) => UNKNOWN,
        });
    }
    Ok(code)
}

/// The newest ping that the daemon has of a source, or why it cannot be asked.
fn newest_ping(client: &Client, source: &str) -> Result<Result<Option<String>, String>, Stop> {
    let query = [("type", "ping".to_owned()), ("source", source.to_owned()), ("limit", "1".to_owned())];
    match client.ask(reqwest::Method::GET, "/api/v1/events", &query)? {
        Asked::Nobody(message) => Ok(Err(message)),
        Asked::Answer { status, body } if status < 300 => {
            let list: Value = serde_json::from_str(&body).unwrap_or_default();
            Ok(Ok(list["items"][0]["id"].as_str().map(str::to_owned)))
        }
        Asked::Answer { status, body } => Err(client.refusal(status, &body)),
    }
}

/// Waits for a ping newer than the one before.
fn came(client: &Client, source: &str, before: Result<&Option<String>, &String>) -> Result<Result<Option<String>, String>, Stop> {
    let before = match before {
        Ok(before) => before,
        Err(nobody) => return Ok(Err(nobody.clone())),
    };
    let end = std::time::Instant::now() + PING_LIMIT;
    while std::time::Instant::now() < end {
        match newest_ping(client, source)? {
            Ok(newest) if newest.is_some() && newest != *before => return Ok(Ok(newest)),
            Ok(_) => {}
            Err(nobody) => return Ok(Err(nobody)),
        }
        client.runtime().block_on(async { tokio::time::sleep(LOOK_EVERY).await });
    }
    Ok(Ok(None))
}
