//! What the admin API asks of the work as a whole: pauses, breakers, replay.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::admin::{BackfillAsked, Operate, Operated, PauseAsked, Refused, ReplayPage};
use crate::clock::Clock;
use crate::dispatch::{Board, NotPaused, Targets};
use crate::fault::nearest;
use crate::journal::{AppendError, Journal};
use crate::poll::{Backfills, NotBackfilled, Past, Sources};
use crate::router::{self, NotReplayed};
use crate::rules::RulesInForce;
use crate::runs::{Pace, Paused};

/// Everything that it needs of a running daemon.
pub(super) struct Operator {
    pub journal: Journal,
    pub board: Arc<Board>,
    pub rules: Arc<ArcSwap<RulesInForce>>,
    pub targets: Arc<ArcSwap<Targets>>,
    pub clock: Clock,
    pub polls: watch::Receiver<Arc<Sources>>,
    pub backfills: Backfills,
}

impl Operator {
    /// What a person means. A rule and a target of one name must be told apart; a host need not be known.
    fn means(&self, asked: &PauseAsked) -> Result<Paused, Refused> {
        if let Some(rule) = &asked.rule {
            return self.rule(rule).ok_or_else(|| self.unknown(rule, "rule"));
        }
        if let Some(target) = &asked.target {
            return Ok(Paused::Target(target.trim().to_ascii_lowercase_host()));
        }
        let name = asked.name.as_deref().unwrap_or_default().trim();
        if name == "all" {
            return Ok(Paused::All);
        }
        let target = self.targets.load().orchestrators.contains_key(name);
        match (self.rule(name), target) {
            (Some(_), true) => Err(Refused::Bad(format!("`{name}` is a rule and an orchestrator: give `rule` or `target`"))),
            (Some(rule), false) => Ok(rule),
            (None, true) => Ok(Paused::Target(name.to_owned())),
            // A host is told by its dot or port.
            (None, false) if name.contains(['.', ':']) => Ok(Paused::Target(name.to_ascii_lowercase_host())),
            (None, false) => Err(self.unknown(name, "rule or target")),
        }
    }

    fn rule(&self, name: &str) -> Option<Paused> {
        self.rules.load().set.get(name).map(|rule| Paused::Rule(rule.name.to_string()))
    }

    fn unknown(&self, name: &str, what: &str) -> Refused {
        let (rules, targets) = (self.rules.load_full(), self.targets.load_full());
        let names: Vec<String> = rules
            .set
            .rules()
            .iter()
            .map(|rule| rule.name.to_string())
            .chain(targets.orchestrators.keys().map(ToString::to_string))
            .collect();
        let near = nearest(name, names.iter().map(String::as_str)).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Refused::Unknown(format!("there is no {what} `{name}`{near}"))
    }

    /// A pause in force by what a person calls it; its rule or orchestrator may be gone by now.
    fn in_force(&self, asked: &PauseAsked) -> Result<Paused, Refused> {
        let pauses = self.board.pauses();
        let fits = |what: &&Paused| match (*what, &asked.rule, &asked.target, &asked.name) {
            (Paused::Rule(own), Some(name), _, _) => own == name,
            (Paused::Target(own), _, Some(name), _) => *own == name.trim().to_ascii_lowercase_host() || own == name,
            (what, None, None, Some(name)) => what.name() == name.trim() || what.name() == name.trim().to_ascii_lowercase_host(),
            _ => false,
        };
        let found: Vec<&Paused> = pauses.0.keys().filter(fits).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(Refused::Unknown("that is not paused; `tripline pause` lists what is".to_owned())),
            _ => Err(Refused::Bad("a rule and a target of that name are paused: give `rule` or `target`".to_owned())),
        }
    }
}

/// Names of hosts have no case, names of orchestrators do.
trait HostCase {
    fn to_ascii_lowercase_host(&self) -> String;
}

impl HostCase for str {
    fn to_ascii_lowercase_host(&self) -> String {
        if self.contains(['.', ':']) { self.trim_end_matches('/').to_ascii_lowercase() } else { self.to_owned() }
    }
}

fn later(error: &AppendError) -> Refused {
    tracing::warn!(%error, "a request of the admin API could not be kept");
    Refused::Later(match error {
        AppendError::Full(_) => "the store has no space".to_owned(),
        AppendError::Ended(_) => "the service is stopping".to_owned(),
    })
}

fn row(what: &Paused, pause: &crate::runs::Pause) -> Value {
    let kind = match what {
        Paused::All => "all",
        Paused::Rule(_) => "rule",
        Paused::Target(_) => "target",
    };
    json!({"kind": kind, "name": what.name(), "since": pause.since, "reason": pause.reason})
}

fn not_backfilled(error: NotBackfilled) -> Refused {
    match error {
        NotBackfilled::Unknown(_) => Refused::Unknown(error.to_string()),
        NotBackfilled::Bad(why) => Refused::Bad(why),
        NotBackfilled::NotKept(error) => later(&error),
        NotBackfilled::NotRead(error) => Refused::Later(error.to_string()),
    }
}

impl Operate for Operator {
    fn pause(&self, asked: PauseAsked) -> Operated<'_> {
        Box::pin(async move {
            let what = self.means(&asked)?;
            let new = self.board.pause(what.clone(), asked.reason).await.map_err(|error| match error {
                NotPaused::Limit(why) => Refused::Bad(why),
                NotPaused::NotKept(error) => later(&error),
            })?;
            let pauses = self.board.pauses();
            let mut answer = pauses.0.get(&what).map(|pause| row(&what, pause)).unwrap_or_default();
            answer["paused"] = json!(true);
            answer["changed"] = json!(new);
            Ok(answer)
        })
    }

    fn resume(&self, asked: PauseAsked) -> Operated<'_> {
        Box::pin(async move {
            let what = self.in_force(&asked)?;
            let changed = self.board.resume(&what).await.map_err(|error| later(&error))?;
            Ok(json!({"name": what.name(), "paused": false, "changed": changed}))
        })
    }

    fn backfill(&self, source: String, asked: BackfillAsked) -> Operated<'_> {
        Box::pin(async move {
            let names: Vec<String> = self.polls.borrow().polled.iter().map(|poll| poll.config.name.to_string()).collect();
            if !names.contains(&source) {
                return Err(not_backfilled(NotBackfilled::Unknown(names)));
            }
            let now = self.clock.now();
            let standing = match asked {
                BackfillAsked::Begin { since, until, run_rules, dry_run } => {
                    self.backfills.begin(&source, Past { since, until, run_rules, dry_run }, now).await
                }
                BackfillAsked::Stop => self.backfills.stop(&source, now).await,
                BackfillAsked::Show => match self.backfills.standing(&source) {
                    Ok(Some(standing)) => Ok(standing),
                    Ok(None) => return Err(Refused::Unknown("no backfill was asked for this source".to_owned())),
                    Err(error) => Err(error.into()),
                },
            };
            standing.map(|standing| standing.to_json(&source)).map_err(not_backfilled)
        })
    }

    fn pauses(&self) -> Vec<Value> {
        self.board.pauses().0.iter().map(|(what, pause)| row(what, pause)).collect()
    }

    fn breakers(&self) -> Vec<Value> {
        self.board.breakers()
    }

    fn replay(&self, page: ReplayPage) -> Operated<'_> {
        Box::pin(async move {
            let ReplayPage { asked, query, rate, from } = page;
            if let Some(rule) = &asked.rule
                && self.rule(rule).is_none()
            {
                return Err(self.unknown(rule, "rule"));
            }
            let now = self.clock.now();
            let pace = Pace::new(rate, from.unwrap_or(now));
            let (dry_run, force, reason) = (asked.dry_run, asked.force, asked.reason.clone());
            let done = router::again(&self.journal, self.rules.load_full(), asked, query, pace, now).await;
            let (page, pace) = done.map_err(|error| match error {
                NotReplayed::NotKept(error) => later(&error),
                NotReplayed::Unreadable(error) => {
                    tracing::error!(%error, "the journal could not be read for a replay");
                    Refused::Later("the store could not be read; the log says why".to_owned())
                }
            })?;
            if !dry_run && !page.planned.is_empty() {
                tracing::info!(events = page.events, runs = page.planned.len(), force, reason, "events are replayed as asked");
            }
            let until = (pace.is_limited() && !dry_run).then(|| pace.upcoming());
            Ok(json!({
                "events": page.events, "planned": page.planned.len(), "dry_run": dry_run, "runs": page.planned,
                "skipped": {"succeeded": page.succeeded, "under_way": page.under_way},
                "missing": page.missing, "next": page.next, "until": until,
            }))
        })
    }
}
