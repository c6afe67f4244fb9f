//! `tripline check --online`: what the configuration and the rules name is looked for in Orchestrator. Nothing is changed.

mod polls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::client::runtime;
use super::online::{Online, online};
use super::output::{GOOD, Out, Stop, clean, count, paint};
use crate::config::{Chosen, Config, PollSource, Subscribe, WebhookSource};
use crate::event::Folder;
use crate::fault::{Fault, Faults, nearest};
use crate::orchestrator::Orchestrator;
use crate::register::Ours;
use crate::rules::{FolderRef, Need, Needed, RuleSet};
use crate::runs::{Class, Failure};

/// For one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Clocks that differ by more make times of events and due dates wrong.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// The code of what could not be told, because nobody answered.
pub(super) const UNREACHABLE: &str = "online-unreachable";

/// Looks. Gives what is wrong, and says what is well where `out` is given.
pub(super) fn run(config: &Config, rules: &RuleSet, mut out: Option<&mut Out>) -> Result<Faults, Stop> {
    let online = online(config)?;
    let runtime = runtime()?;
    let bar = ProgressBar::new(config.orchestrators.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    let mut faults = Faults::new();
    for name in config.orchestrators.keys() {
        bar.set_message(format!("asking {name}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        let Some(orchestrator) = online.orchestrators.get(name) else {
            let fault = Fault::general("online-secret", format!("orchestrator `{name}` is not asked: its secret is not here"));
            faults.push(fault.help("run the check where the daemon runs, with its environment"));
            continue;
        };
        let mut look = Look {
            config,
            rules,
            online: &online,
            orchestrator,
            queues: BTreeMap::new(),
            told: BTreeSet::new(),
            faults: Faults::new(),
            good: Vec::new(),
        };
        runtime.block_on(look.all());
        for line in look.good {
            if let Some(out) = out.as_deref_mut() {
                bar.suspend(|| out.line(&format!("{}: {name}: {}", paint(GOOD, "ok"), clean(&line))).and_then(|()| out.flush()))?;
            }
        }
        faults.extend(look.faults);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(faults)
}

/// A look at one orchestrator.
struct Look<'l> {
    config: &'l Config,
    rules: &'l RuleSet,
    online: &'l Online,
    orchestrator: &'l Orchestrator,
    /// What was read of folders.
    queues: BTreeMap<String, Result<Vec<Value>, Failure>>,
    /// What failed and is told: what else fails of the same is not told again.
    told: BTreeSet<String>,
    faults: Faults,
    good: Vec<String>,
}

impl Look<'_> {
    fn name(&self) -> &Arc<str> {
        self.orchestrator.name()
    }

    fn fail(&mut self, code: &'static str, message: String, help: &str) {
        self.faults.push(Fault::general(code, format!("orchestrator `{}`: {message}", self.name())).help(help));
    }

    fn warn(&mut self, code: &'static str, message: String, help: &str) {
        let fault = Fault::general(code, format!("orchestrator `{}`: {message}", self.name())).help(help);
        self.faults.push(Fault { severity: crate::fault::Severity::Warning, ..fault });
    }

    /// A question that failed. True when nobody answered, so that others need not be asked.
    fn failed(&mut self, failure: &Failure, help: &str) -> bool {
        let (code, gone) = match failure.class {
            Class::Auth => ("online-auth", true),
            Class::Connect | Class::Server | Class::Unknown | Class::Invalid => (UNREACHABLE, true),
            _ => ("online-refused", false),
        };
        if self.told.insert(failure.message.clone()) {
            self.fail(code, failure.message.clone(), help);
        }
        gone
    }

    async fn all(&mut self) {
        let folders = self.orchestrator.folders(REQUEST_TIMEOUT).await.result;
        let folders = match folders {
            Ok(folders) => {
                self.good.push(format!("the token is accepted, {} can be seen", count(folders.len(), "folder")));
                Some(folders)
            }
            Err(failure) if failure.status == Some(403) => {
                let needed = self.polls().any(|poll| poll.folders == Chosen::All);
                let help = "grant `OR.Folders.Read`; without it `folders: all` cannot be read, and events of polling have no folder's path";
                match needed {
                    true => self.fail("online-refused", failure.message, help),
                    false => self.warn("online-refused", failure.message, help),
                }
                None
            }
            Err(failure) => {
                if self.failed(&failure, "check `url`, `auth` and the way there") {
                    return;
                }
                None
            }
        };
        self.named_folders(folders.as_deref());
        self.of_polls(folders.as_deref()).await;
        self.of_rules().await;
        self.of_webhooks().await;
        self.about();
    }

    fn polls(&self) -> impl Iterator<Item = &PollSource> {
        self.config.polls.values().filter(|poll| poll.orchestrator == *self.name())
    }

    /// Version and clock, as the answers so far told.
    fn about(&mut self) {
        match self.orchestrator.api_version() {
            Some(version) => self.good.push(format!("API version {version}")),
            None => {
                self.warn("online-version", "it does not say which API version it is".to_owned(), "newer fields are left out of requests");
            }
        }
        let Some((skew, ahead)) = self.orchestrator.clock_skew() else { return };
        if skew <= SKEW_MAX {
            return self.good.push(format!("the clocks are {} s apart", skew.as_secs()));
        }
        let message = format!("its clock is {} s {} this machine's", skew.as_secs(), if ahead { "ahead of" } else { "behind" });
        self.warn("online-clock", message, "set this machine's clock by NTP: due dates, waits and the times of events depend on it");
    }

    /// Folders that are named, against those that can be seen.
    fn named_folders(&mut self, seen: Option<&[Folder]>) {
        let Some(seen) = seen else { return };
        let own = self.orchestrator.default_folder().cloned().map(|folder| ("`folder`".to_owned(), folder));
        let of_polls = self.polls().flat_map(|poll| match &poll.folders {
            Chosen::These(named) => named.iter().map(|folder| (format!("source `{}`", poll.name), folder.clone())).collect(),
            Chosen::All => Vec::new(),
        });
        let named: Vec<(String, FolderRef)> = own.into_iter().chain(of_polls).collect();
        for (who, folder) in named {
            let is = |known: &Folder| match &folder {
                FolderRef::Path(path) => known.path.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(path)),
                FolderRef::Id(id) => known.id == Some(*id),
                FolderRef::Key(key) => known.key.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(key)),
            };
            if seen.iter().any(is) {
                continue;
            }
            let near = match &folder {
                FolderRef::Path(path) => nearest(path, seen.iter().filter_map(|one| one.path.as_deref())),
                _ => None,
            };
            let help = near.map_or_else(
                || "check the name, and that the application is assigned to the folder".to_owned(),
                |near| format!("did you mean `{near}`? Else assign the application to the folder"),
            );
            self.fail("online-folder", format!("{who} names the folder {}, which cannot be seen", shown(&folder)), &help);
            self.told.insert(shown(&folder));
        }
    }

    async fn queues_of(&mut self, folder: &FolderRef) -> Result<Vec<Value>, Failure> {
        let key = shown(folder);
        if let Some(known) = self.queues.get(&key) {
            return known.clone();
        }
        let read = self.orchestrator.queues(folder, REQUEST_TIMEOUT).await.result;
        self.queues.insert(key, read.clone());
        read
    }

    /// Whether queues and processes that rules name are there.
    async fn of_rules(&mut self) {
        let only = self.config.orchestrators.len() == 1;
        let needs = self.rules.needs(&self.config.known());
        let ours = needs.into_iter().filter(|need| need.orchestrator.as_ref().map_or(only, |name| name == self.name()));
        let ours: Vec<Need> = ours.collect();
        let mut good = 0;
        for need in ours {
            // Where the step names no folder it is the event's; most often that is the orchestrator's own.
            let (folder, sure) = match (&need.folder, self.orchestrator.default_folder()) {
                (Some(folder), _) => (folder.clone(), true),
                (None, Some(folder)) => (folder.clone(), false),
                (None, None) => continue,
            };
            if self.told.contains(&shown(&folder)) {
                continue;
            }
            match &need.what {
                Needed::Queue { name, adds } => match self.queues_of(&folder).await {
                    Err(failure) => drop(self.failed(&failure, "rules that use queues there will not run")),
                    Ok(rows) => {
                        let Some(row) = rows.iter().find(|row| row["Name"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(name)))
                        else {
                            self.missing(&need, "queue", name, &folder, sure, rows.iter().filter_map(|row| row["Name"].as_str()));
                            continue;
                        };
                        good += 1;
                        if *adds && row["EnforceUniqueReference"] != true {
                            let message =
                                format!("rule `{}` adds items to the queue `{name}`, which does not enforce unique references", need.rule);
                            let help = "after a request whose outcome is unknown an item may then be there twice; let the queue enforce unique \
                                        references to have it exactly once";
                            self.warn("online-references", message, help);
                        }
                    }
                },
                Needed::Process { name } => match self.orchestrator.processes(&folder, REQUEST_TIMEOUT).await.result {
                    Err(failure) => drop(self.failed(&failure, "rules that start jobs there will not run")),
                    Ok(names) => {
                        if names.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                            good += 1;
                        } else {
                            self.missing(&need, "process", name, &folder, sure, names.iter().map(String::as_str));
                        }
                    }
                },
            }
        }
        if good > 0 {
            let what = if good == 1 { "queue or process that rules name is" } else { "queues and processes that rules name are" };
            self.good.push(format!("{good} {what} there"));
        }
    }

    fn missing<'n>(&mut self, need: &Need, kind: &str, name: &str, folder: &FolderRef, sure: bool, known: impl Iterator<Item = &'n str>) {
        let help = nearest(name, known).map_or_else(|| "check both names".to_owned(), |near| format!("did you mean `{near}`?"));
        let message = format!("rule `{}` names the {kind} `{name}`, which is not in folder {}", need.rule, shown(folder));
        match (kind, sure) {
            (_, false) => self.warn("online-folder", format!("{message}; the folder of its events may have it"), &help),
            ("queue", true) => self.fail("online-queue", message, &help),
            (_, true) => self.fail("online-process", message, &help),
        }
    }

    /// Whether webhooks are registered, enabled, and ask for what rules want.
    async fn of_webhooks(&mut self) {
        let ours = self.config.sources.values().filter(|source| source.orchestrator.as_ref() == Some(self.name()));
        let sources: Vec<WebhookSource> = ours.cloned().collect();
        for source in sources {
            let Some(url) = source.registration.url.clone() else {
                self.without_url(&source).await;
                continue;
            };
            let Some(secret) = self.online.secrets.sources.get(&source.name).and_then(|secrets| secrets.first()).cloned() else { continue };
            let ours = Ours {
                source: source.name.clone(),
                orchestrator: self.orchestrator.clone(),
                url,
                all: source.registration.subscribe == Subscribe::All,
                types: self.rules.types_of(&source.name, self.name()),
                secret: secret.value,
            };
            match ours.look().await {
                Err(failure) => {
                    self.warn("online-webhook", failure.message, "whether the webhook is registered and enabled cannot be told");
                }
                Ok(look) => {
                    let help = if source.registration.register {
                        "the daemon puts it right once it runs"
                    } else {
                        "`tripline webhooks plan` shows it, `tripline webhooks apply` puts it right"
                    };
                    for difference in &look.planned.differences {
                        let message =
                            format!("webhook `{}`: {} is {}; wanted {}", source.name, difference.what, difference.is, difference.wanted);
                        match (difference.what, source.registration.register) {
                            ("webhook" | "enabled" | "url", false) => self.fail("online-webhook", message, help),
                            _ => self.warn("online-webhook", message, help),
                        }
                    }
                    for other in look.planned.others.iter().filter(|other| other.url == ours.url) {
                        let message = format!("webhook {} delivers to the URL of webhook `{}` too", other.id, source.name);
                        self.warn(
                            "online-webhook",
                            message,
                            "each event comes twice, or is refused where its secret is another; remove it",
                        );
                    }
                    if look.planned.differences.is_empty() {
                        self.good.push(format!("webhook `{}` is as it should be", source.name));
                    }
                    if !look.not_offered.is_empty() {
                        let message = format!("rules name {}, which it does not offer to webhooks", look.not_offered.join(", "));
                        self.warn("online-events", message, "such events come by polling, if at all");
                    }
                }
            }
        }
    }

    /// Without a `public_url` a webhook is known by its path.
    async fn without_url(&mut self, source: &WebhookSource) {
        let help = "set `public_url` and run `tripline webhooks apply`, or register it in Orchestrator by hand";
        match self.orchestrator.webhooks(REQUEST_TIMEOUT).await.result {
            Err(failure) => self.warn("online-webhook", failure.message, "whether the webhook is registered and enabled cannot be told"),
            Ok(registered) => match registered.iter().find(|one| one.url.trim_end_matches('/').ends_with(&source.path)) {
                None => self.fail("online-webhook", format!("no webhook delivers to a URL that ends in `{}`", source.path), help),
                Some(one) if !one.enabled => {
                    self.fail(
                        "online-webhook",
                        format!("the webhook {} of source `{}` is disabled", one.id, source.name),
                        "enable it in Orchestrator",
                    );
                }
                Some(one) => self.good.push(format!("webhook {} delivers to {}", one.id, one.url)),
            },
        }
    }
}

fn shown(folder: &FolderRef) -> String {
    match folder {
        FolderRef::Path(path) => format!("`{path}`"),
        FolderRef::Id(id) => id.to_string(),
        FolderRef::Key(key) => format!("`{key}`"),
    }
}
