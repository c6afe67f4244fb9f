//! `tripline backtest`: changed rules over the events of the journal, and how what they would do differs from what was
//! done.
//!
//! The journal's segments are read once, in order; nothing is called and nothing is kept but the keys of `dedupe`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::output::{BAD, Cell, DIM, GOOD, Out, Stop, WARN, clean, count, cut, paint, say};
use super::when::{When, parse_when, span};
use super::{NO, YES, setup};
use crate::clock::Clock;
use crate::config::{Config, RealWorld, World};
use crate::event::{Event, RuleName};
use crate::journal::{Reader, Replayed, RuleTexts};
use crate::rules::{Backtest, Because, Change, Deed, Difference, RuleSet, differences};

/// Differences that are shown one by one unless `-v` asks for all.
const SHOWN_MAX: usize = 20;

/// How much of a step is shown, in characters.
const STEP_SHOWN_MAX: usize = 160;

/// Rule generations of the past that are kept compiled at once.
const GENERATIONS_MAX: usize = 8;

/// What is compared with what.
#[derive(Debug, clap::Args)]
pub(super) struct BacktestArgs {
    /// Changed rule files or folders [default: the rules of the configuration]
    #[arg(value_name = "RULES")]
    rules: Vec<PathBuf>,
    /// Events from then on: RFC 3339, a date, or how long ago (`2h`) [default: all that are kept]
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    since: Option<When>,
    /// Events up to then
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    until: Option<When>,
    /// Compare with the rules of the configuration in place of what ran
    #[arg(long, requires = "rules")]
    against_current: bool,
    /// Exit with 1 when there is a difference
    #[arg(long)]
    expect_same: bool,
    /// One JSON object per difference, and one in the end
    #[arg(long)]
    json: bool,
}

/// What the other side is.
enum Before {
    /// What was recorded.
    Ran(Past),
    /// Other rules.
    Rules(Box<Backtest>),
}

/// Counts of one rule.
#[derive(Clone, Copy, Default)]
struct Counts {
    added: u64,
    dropped: u64,
    changed: u64,
    same: u64,
}

pub(super) fn run(config: Option<&Path>, args: &BacktestArgs, out: &mut Out) -> Result<u8, Stop> {
    let config = setup::config(config)?;
    let reader = Reader::new(&config.state);
    if !config.state.join("journal").is_dir() {
        return Err(Stop::unknown(format!("there is no journal in `{}`", config.state.display())));
    }
    let mut before = if args.against_current {
        Before::Rules(Box::new(Backtest::new(Arc::new(load(&config, &[])?))))
    } else {
        Before::Ran(Past::default())
    };
    let mut after = Backtest::new(Arc::new(load(&config, &args.rules)?));
    let now = Clock::system().now();
    let (since, until) = span(args.since, args.until, now)?;

    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg}") {
        bar.set_style(style);
    }
    let mut tally = Tally::new(args.json, if out.verbosity() > 0 { usize::MAX } else { SHOWN_MAX });
    let mut stopped = None;
    let visited = reader.replayed(&mut |replayed: Replayed<'_>| {
        bar.set_length(replayed.bytes);
        bar.set_position(replayed.read);
        let received = replayed.event.received;
        if since.is_some_and(|since| received < since) || until.is_some_and(|until| received >= until) {
            return true;
        }
        let compared = compare(&replayed, &mut before, &mut after);
        let told = tally.add(replayed.event, compared, out);
        bar.set_message(count(usize::try_from(tally.events).unwrap_or(usize::MAX), "event"));
        stopped = told.err();
        stopped.is_none()
    });
    bar.finish_and_clear();
    if let Some(stop) = stopped {
        return Err(stop);
    }
    visited.map_err(|error| Stop::unknown(format!("the journal cannot be read: {error}")))?;
    for damage in reader.damage() {
        say(&format!("warning: {damage}"));
    }
    tally.finish(out)?;
    Ok(if args.expect_same && tally.differences > 0 { NO } else { YES })
}

/// The rules at these paths, or those of the configuration.
fn load(config: &Config, paths: &[PathBuf]) -> Result<RuleSet, Stop> {
    let mut config = config.clone();
    if !paths.is_empty() {
        let here = RealWorld.current_dir();
        config.rules = paths.iter().map(|path| here.join(path)).collect();
        for path in paths {
            std::fs::metadata(here.join(path)).map_err(|error| Stop::unknown(format!("cannot read `{}`: {error}", path.display())))?;
        }
    }
    let (files, mut faults) = config.rule_files(&RealWorld);
    let (known, found) = config.known_with_connectors(&RealWorld);
    faults.extend(found);
    let (set, found) = RuleSet::load(&files, &known, &setup::read_sample);
    faults.extend(found);
    match set {
        Some(set) if !faults.any_error() => Ok(set),
        _ => Err(setup::refused(&faults)),
    }
}

/// The differences for one event, and which rules did the same.
fn compare(replayed: &Replayed<'_>, before: &mut Before, after: &mut Backtest) -> (Vec<Difference>, Vec<RuleName>) {
    let (event, now) = (replayed.event, replayed.runs.first().map_or(replayed.event.received, |run| run.created));
    let old = match before {
        Before::Ran(past) => past.deeds(replayed),
        Before::Rules(rules) => rules.deeds(event, now).0,
    };
    let (new, held) = after.deeds(event, now);
    let same = new.iter().filter(|(rule, deed)| old.get(*rule) == Some(deed)).map(|(rule, _)| rule.clone()).collect();
    let why = |rule: &str| -> Option<Because> {
        let explain = || after.set().explain_one(rule, event, now);
        held.get(rule).cloned().or_else(explain)
    };
    (differences(old, new, &why), same)
}

/// What ran, with the rules as they were.
#[derive(Default)]
struct Past {
    compiled: BTreeMap<u64, Option<Arc<RuleSet>>>,
}

impl Past {
    fn deeds(&mut self, replayed: &Replayed<'_>) -> BTreeMap<RuleName, Deed> {
        let mut deeds = BTreeMap::new();
        for run in replayed.runs {
            let steps = match &run.dead {
                Some(cause) => vec![json!({"dead": cause.message})],
                None => {
                    let set = self.set(run.generation, replayed);
                    let rule = set.as_ref().and_then(|set| Some((set, set.get(&run.rule)?)));
                    match rule {
                        Some((set, rule)) => set.deed(rule, replayed.event, run.created, None).steps,
                        None => vec![json!({"not_known": format!("the rules of generation {} are no longer kept", run.generation)})],
                    }
                }
            };
            deeds.insert(run.rule.clone(), Deed { mode: run.mode, steps });
        }
        deeds
    }

    fn set(&mut self, generation: u64, replayed: &Replayed<'_>) -> Option<Arc<RuleSet>> {
        if let Some(known) = self.compiled.get(&generation) {
            return known.clone();
        }
        let texts: Option<RuleTexts> = (replayed.texts)(generation);
        let set = texts.and_then(|texts| texts.compile().ok()).map(Arc::new);
        while self.compiled.len() >= GENERATIONS_MAX {
            self.compiled.pop_first();
        }
        self.compiled.insert(generation, set.clone());
        set
    }
}

/// What is counted, and told while it is counted.
struct Tally {
    json: bool,
    /// How many differences may still be shown.
    room: usize,
    events: u64,
    differences: u64,
    rules: BTreeMap<RuleName, Counts>,
}

impl Tally {
    fn new(json: bool, room: usize) -> Self {
        Self { json, room, events: 0, differences: 0, rules: BTreeMap::new() }
    }

    fn add(&mut self, event: &Event, (differences, same): (Vec<Difference>, Vec<RuleName>), out: &mut Out) -> Result<(), Stop> {
        self.events += 1;
        for rule in same {
            self.rules.entry(rule).or_default().same += 1;
        }
        for difference in differences {
            self.differences += 1;
            let counts = self.rules.entry(difference.rule.clone()).or_default();
            match difference.change {
                Change::Added => counts.added += 1,
                Change::Dropped => counts.dropped += 1,
                Change::Changed => counts.changed += 1,
            }
            if self.json {
                let mut line = json!(difference);
                line["event"] = json!(event.id);
                line["type"] = json!(event.event_type());
                out.json(&line)?;
            } else if self.room > 0 {
                self.room -= 1;
                show(event, &difference, out)?;
            }
        }
        Ok(())
    }

    fn finish(&self, out: &mut Out) -> Result<(), Stop> {
        if self.json {
            let of = |c: &Counts| json!({"added": c.added, "dropped": c.dropped, "changed": c.changed, "same": c.same});
            let rules: serde_json::Map<String, Value> = self.rules.iter().map(|(rule, counts)| (rule.to_string(), of(counts))).collect();
            return out.json(&json!({"events": self.events, "differences": self.differences, "rules": rules}));
        }
        if self.differences > 0 && self.room == 0 {
            out.line(&paint(DIM, "  … further differences are only counted; -v shows them all"))?;
        }
        let cell = |number: u64| Cell::plain(if number == 0 { "-".to_owned() } else { number.to_string() });
        let row = |(rule, c): (&RuleName, &Counts)| vec![cell(c.added), cell(c.dropped), cell(c.changed), cell(c.same), Cell::plain(rule)];
        let rows: Vec<Vec<Cell>> = self.rules.iter().map(row).collect();
        if !rows.is_empty() {
            out.table(&["ADDED", "DROPPED", "CHANGED", "SAME", "RULE"], &rows)?;
        }
        let events = count(usize::try_from(self.events).unwrap_or(usize::MAX), "event");
        let differences = count(usize::try_from(self.differences).unwrap_or(usize::MAX), "difference");
        let style = if self.differences == 0 { GOOD } else { WARN };
        out.line(&paint(style, &format!("{events}, {differences}")))
    }
}

fn show(event: &Event, difference: &Difference, out: &mut Out) -> Result<(), Stop> {
    let (word, style) = match difference.change {
        Change::Added => ("added", GOOD),
        Change::Dropped => ("dropped", BAD),
        Change::Changed => ("changed", WARN),
    };
    let subject = event.change.subject.as_deref().map(|subject| format!(" {}", paint(DIM, &clean(subject)))).unwrap_or_default();
    let head = format!("{}  {}  {} {}", paint(style, word), clean(&difference.rule), event.id, clean(event.event_type()));
    out.line(&format!("{head}{subject}"))?;
    if difference.change == Change::Dropped && difference.because.is_none() {
        out.line("    there is no rule of this name")?;
    }
    if let Some(because) = &difference.because {
        out.line(&format!(
            "    {}: expected {}, found {}",
            clean(&because.path),
            clean(&because.expected.to_string()),
            cut(&clean(&because.found.to_string()), STEP_SHOWN_MAX)
        ))?;
    }
    for (sign, style, deed) in [("-", BAD, &difference.before), ("+", GOOD, &difference.after)] {
        let Some(deed) = deed else { continue };
        let other = if sign == "-" { &difference.after } else { &difference.before };
        if other.as_ref().is_some_and(|other| other.mode != deed.mode) {
            out.line(&format!("    {}", paint(style, &format!("{sign} mode: {}", json!(deed.mode).as_str().unwrap_or_default()))))?;
        }
        let differs = |step: &&Value| other.as_ref().is_none_or(|other| !other.steps.contains(step));
        for step in deed.steps.iter().filter(differs) {
            out.line(&format!("    {}", paint(style, &format!("{sign} {}", cut(&clean(&step.to_string()), STEP_SHOWN_MAX)))))?;
        }
    }
    Ok(())
}
