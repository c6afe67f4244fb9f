//! From the files to everything that a running daemon needs of them; the same for the start and for a reload.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::calls::Calls;
use crate::clock::Clock;
use crate::config::{self, Config, OrchestratorConfig, Secrets, Subscribe, World};
use crate::connectors::{Access, Connectors};
use crate::dispatch::Targets;
use crate::event::SourceName;
use crate::fault::{Fault, Faults, Severity, SourceText};
use crate::hooks::Eye;
use crate::http::client::Client;
use crate::intake::ReadySource;
use crate::journal::RuleTexts;
use crate::normalize::SourceView;
use crate::orchestrator::Orchestrator;
use crate::poll::{Arguments, Polled, Sources, Triggered};
use crate::register::{Hook, Ours};
use crate::rules::RuleSet;
use crate::secret::Secret;

/// All of it, checked. Nothing is in force yet.
pub(super) struct Assembled {
    pub config: Config,
    pub secrets: Secrets,
    pub routes: BTreeMap<String, Arc<ReadySource>>,
    pub targets: Targets,
    pub polls: Sources,
    pub hooks: Arc<Vec<Arc<Hook>>>,
    pub rules: Arc<RuleSet>,
    pub texts: RuleTexts,
    pub warnings: Faults,
}

/// Reads and checks everything; all faults at once.
pub(super) fn assemble(file: &Path, world: &dyn World) -> Result<Assembled, Faults> {
    let (config, mut faults) = config::load(file, world);
    let Some(mut config) = config else { return Err(faults) };
    let (files, file_faults) = config.rule_files(world);
    faults.extend(file_faults);
    let (known, connector_faults) = config.known_with_connectors(world);
    faults.extend(connector_faults);
    faults.extend(config.find_triggers(&known.connectors));
    let (secrets, secret_faults) = config.resolve(world);
    faults.extend(secret_faults);
    let (accesses, access_faults) = config::accesses(&known.connectors, world);
    faults.extend(access_faults);
    let (rules, rule_faults) = RuleSet::load(&files, &known, &|path| {
        world.read(path).map_err(|e| e.to_string()).and_then(|bytes| String::from_utf8(bytes).map_err(|e| e.to_string()))
    });
    faults.extend(rule_faults);
    let http = match Client::new(&config.egress) {
        Ok(client) => Some(client),
        Err(error) => {
            faults.push(Fault::general("egress", error.to_string()));
            None
        }
    };
    match (rules, http) {
        (Some(rules), Some(http)) if !faults.any_error() => {
            let rules = rules.with_watches(config.watches.values().cloned().collect());
            let targets = targets(&config, &secrets, &http, accesses);
            let eyes: Eyes = config.sources.keys().map(|name| (Arc::clone(name), Arc::default())).collect();
            Ok(Assembled {
                routes: routes(&config, &secrets, &eyes),
                polls: Sources {
                    polled: polls(&config, &targets, &eyes, arguments(&files)),
                    triggered: triggers(&config, &targets, &known.connectors),
                },
                hooks: hooks(&config, &secrets, &targets, &rules, &eyes),
                targets,
                rules: Arc::new(rules),
                texts: RuleTexts { files, known },
                warnings: faults,
                config,
                secrets,
            })
        }
        _ => Err(faults),
    }
}

impl Assembled {
    /// What cannot be changed while the daemon runs, with its value before and after.
    pub(super) fn needs_restart(&self, running: &Config, running_token: Option<&str>) -> Faults {
        let mut faults = Faults::new();
        let mut differs = |what: &str, same: bool| {
            if !same {
                faults.push(
                    Fault::general("restart-needed", format!("`{what}` cannot be changed by a reload"))
                        .help("restart the daemon, or put the old value back; nothing was changed"),
                );
            }
        };
        differs("listen", self.config.listen == running.listen);
        differs("admin", self.config.admin == running.admin);
        differs("admin_token", self.secrets.admin_token.as_ref().map(Secret::expose) == running_token);
        differs("state", self.config.state == running.state);
        faults
    }
}

/// The faults that refuse, each on a line, for the log.
pub(super) fn errors_on_lines(faults: &Faults) -> String {
    let lines: Vec<_> = faults.iter().filter(|f| f.severity == Severity::Error).map(Fault::one_line).collect();
    lines.join("\n")
}

fn routes(config: &Config, secrets: &Secrets, eyes: &Eyes) -> BTreeMap<String, Arc<ReadySource>> {
    let ready = config.sources.values().map(|source| {
        let tenant_url =
            source.orchestrator.as_ref().and_then(|name| config.orchestrators.get(name)).map(OrchestratorConfig::canonical_url);
        let ready = ReadySource {
            config: source.clone(),
            secrets: secrets.sources.get(&source.name).cloned().unwrap_or_default(),
            view: SourceView { name: Arc::clone(&source.name), tenant_url },
            eye: eyes.get(&source.name).cloned().unwrap_or_default(),
        };
        (source.path.clone(), Arc::new(ready))
    });
    ready.collect()
}

/// Of each webhook source.
type Eyes = BTreeMap<SourceName, Arc<Eye>>;

/// The webhooks of orchestrators, to be watched over.
fn hooks(config: &Config, secrets: &Secrets, targets: &Targets, rules: &RuleSet, eyes: &Eyes) -> Arc<Vec<Arc<Hook>>> {
    let hooks = config.sources.values().filter_map(|source| {
        let name = source.orchestrator.as_ref()?;
        let (orchestrator, secret) = (targets.orchestrators.get(name)?, secrets.sources.get(&source.name)?.first()?);
        let all = source.registration.subscribe == Subscribe::All;
        let types = rules.types_of(&source.name, name);
        let ours = source.registration.url.as_ref().map(|url| Ours {
            source: Arc::clone(&source.name),
            orchestrator: orchestrator.clone(),
            url: url.clone(),
            all,
            types: types.clone(),
            secret: secret.value.clone(),
        });
        Some(Arc::new(Hook {
            source: Arc::clone(&source.name),
            orchestrator: Arc::clone(name),
            ours,
            register: source.registration.register,
            types: (!all).then_some(types),
            eye: eyes.get(&source.name)?.clone(),
        }))
    });
    Arc::new(hooks.collect())
}

fn targets(config: &Config, secrets: &Secrets, http: &Client, connectors: BTreeMap<Arc<str>, Arc<Access>>) -> Targets {
    let orchestrators = config.orchestrators.iter().filter_map(|(name, one)| {
        // A secret that could not be read is an error of `resolve`, so none is missing here.
        let credential = secrets.orchestrators.get(name)?.clone();
        Some((Arc::clone(name), Orchestrator::new(one.clone(), credential, http.clone(), Clock::system())))
    });
    let calls = Some(Calls::new(http.clone(), Clock::system()));
    let targets = Targets { orchestrators: orchestrators.collect(), http: Some(http.clone()), calls, connectors };
    targets.share_tokens();
    targets
}

/// Which arguments of jobs the rules name anywhere.
fn arguments(files: &[Arc<SourceText>]) -> Arguments {
    let named = |name: &str| files.iter().any(|file| file.text.contains(name));
    Arguments { input: named("InputArguments"), output: named("OutputArguments") }
}

fn polls(config: &Config, targets: &Targets, eyes: &Eyes, arguments: Arguments) -> Vec<Arc<Polled>> {
    let polls = config.polls.values().filter_map(|source| {
        // A client shares token and budget with the steps that use the same orchestrator.
        let orchestrator = targets.orchestrators.get(&source.orchestrator)?.clone();
        let tenant_url = config.orchestrators.get(&source.orchestrator).map(OrchestratorConfig::canonical_url);
        let view = SourceView { name: Arc::clone(&source.name), tenant_url };
        let eye = source.reconciles.as_ref().and_then(|hook| eyes.get(hook)).cloned();
        Some(Arc::new(Polled { config: source.clone(), orchestrator, view, eye, arguments }))
    });
    polls.collect()
}

/// What polls triggers of connectors, with the values and secrets that steps use too.
fn triggers(config: &Config, targets: &Targets, connectors: &Connectors) -> Vec<Arc<Triggered>> {
    let triggers = config.triggers.values().filter_map(|source| {
        let (connector, trigger) = source.find(connectors)?;
        let (access, calls) = (targets.connectors.get(&connector.name)?.clone(), targets.calls.clone()?);
        let (connector, trigger) = (Arc::clone(connector), trigger.clone());
        Some(Arc::new(Triggered { config: source.clone(), connector, trigger, access, calls }))
    });
    triggers.collect()
}
