//! How the story looks: chapters, aligned lines, what is being waited for on a terminal, and the list of effects at the
//! end.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::ask::Missed;
use super::stage::Stage;
use crate::cli::output::{BAD, DIM, GOOD, Out, STRONG, Stop, WARN, clean, paint};

/// Everything that the story has to show, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The daemon says that it is ready.
    Ready,
    /// The webhook is registered and its ping is an event.
    Webhook,
    /// An event led to an item in the review queue.
    FollowUp,
    /// An event led to an HTTP call.
    Call,
    /// An event that no rule wants is kept all the same.
    Unmatched,
    /// A second delivery of one event made no second event.
    Fold,
    /// A call that was refused twice was made a third time.
    Retry,
    /// The daemon was killed with work in progress and came back.
    Killed,
    /// Every event that was acknowledged is there.
    Kept,
    /// Every follow-up is there, once.
    Once,
    /// What the webhook skipped came by polling.
    Brought,
    /// That the webhook was blind was told, and that it sees again.
    Blind,
}

impl Effect {
    const ALL: [Self; 12] = [
        Self::Ready,
        Self::Webhook,
        Self::FollowUp,
        Self::Call,
        Self::Unmatched,
        Self::Fold,
        Self::Retry,
        Self::Killed,
        Self::Kept,
        Self::Once,
        Self::Brought,
        Self::Blind,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Ready => "the daemon is ready",
            Self::Webhook => "webhook registered, ping kept",
            Self::FollowUp => "event, rule, follow-up item",
            Self::Call => "event, rule, HTTP call",
            Self::Unmatched => "an event without a rule is kept",
            Self::Fold => "a duplicate delivery folds",
            Self::Retry => "503 twice, then done",
            Self::Killed => "kill -9 in the middle, restart",
            Self::Kept => "nothing acknowledged is lost",
            Self::Once => "every follow-up exactly once",
            Self::Brought => "what the webhook skipped is polled",
            Self::Blind => "blindness told, healing told",
        }
    }
}

/// Tells the story.
pub(super) struct Tell<'o> {
    out: &'o mut Out,
    bar: Option<ProgressBar>,
    chapter: u8,
    seen: Vec<(Effect, String)>,
}

impl<'o> Tell<'o> {
    /// On `out`; what is waited for is shown on a terminal only.
    pub(super) fn new(out: &'o mut Out) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("     {spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
            bar
        });
        Self { out, bar, chapter: 0, seen: Vec::new() }
    }

    /// Begins a chapter.
    pub(super) fn chapter(&mut self, title: &str) -> Result<(), Stop> {
        self.chapter += 1;
        let line = format!("\n{:>3}  {}", self.chapter, paint(STRONG, title));
        self.print(&line)
    }

    /// A line: what, and what was observed of it.
    pub(super) fn line(&mut self, what: &str, observed: &str) -> Result<(), Stop> {
        let line = format!("     {}  {}", paint(DIM, &format!("{what:<12}")), clean(observed));
        self.print(&line)
    }

    /// An effect was observed: a line in the colour of success, and a row of the summary.
    pub(super) fn seen(&mut self, effect: Effect, what: &str, observed: &str) -> Result<(), Stop> {
        let line = format!("     {}  {}", paint(GOOD, &format!("{what:<12}")), clean(observed));
        if !self.seen.iter().any(|(seen, _)| *seen == effect) {
            self.seen.push((effect, observed.to_owned()));
        }
        self.print(&line)
    }

    /// What is being waited for.
    pub(super) fn waiting(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Takes what is being waited for off the terminal.
    pub(super) fn quiet(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn print(&mut self, line: &str) -> Result<(), Stop> {
        let out = &mut *self.out;
        let mut print = || out.line(line).and_then(|()| out.flush());
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Whether every effect was observed.
    pub(super) fn complete(&self) -> bool {
        Effect::ALL.iter().all(|effect| self.seen.iter().any(|(seen, _)| seen == effect))
    }

    /// The list of all effects.
    pub(super) fn summary(&mut self) -> Result<(), Stop> {
        self.quiet();
        self.print(&format!("\n     {}", paint(STRONG, "Observed")))?;
        for effect in Effect::ALL {
            let observed = self.seen.iter().find(|(seen, _)| *seen == effect).map(|(_, observed)| observed.clone());
            let line = match observed {
                Some(observed) => format!("     {}  {:<35}  {}", paint(GOOD, "yes"), effect.name(), paint(DIM, &clean(&observed))),
                None => format!("     {}   {}", paint(BAD, "no"), effect.name()),
            };
            self.print(&line)?;
        }
        Ok(())
    }

    /// What was not observed, and what may help to find out why.
    pub(super) fn missing(&mut self, missed: &Missed, stage: &Stage) -> Result<(), Stop> {
        self.print(&format!("\n     {}  {}", paint(BAD, "not observed:"), clean(missed.text())))?;
        if let Some(why) = stage.rules_missing() {
            self.print(&format!("     {}  {}", paint(WARN, "the likely reason:"), clean(why)))?;
        }
        for line in stage.log_end() {
            self.print(&format!("     {}", paint(DIM, &format!("daemon: {}", clean(&line)))))?;
        }
        Ok(())
    }

    /// Where to look, while everything still runs.
    pub(super) fn look_around(&mut self, stage: &Stage) -> Result<(), Stop> {
        self.print(&format!("\n     {}", paint(STRONG, "Look around")))?;
        let config = stage.config().display().to_string();
        let rows = [
            ("events", format!("{}/api/v1/events", stage.admin)),
            ("runs", format!("{}/api/v1/runs", stage.admin)),
            ("metrics", format!("{}/metrics", stage.admin)),
            ("orchestrator", format!("{}/sandbox/state", stage.sandbox)),
            ("deliveries", format!("{}/sandbox/deliveries", stage.sandbox)),
            ("ledger", format!("{}/sandbox/sinks/ledger", stage.sandbox)),
            ("list", format!("tripline events list -c {config}")),
            ("follow", format!("tripline events tail -c {config}")),
            ("send", format!("tripline send --type queueItem.transactionFailed -c {config}")),
        ];
        for (what, at) in rows {
            self.line(what, &at)?;
        }
        self.print("\n     Ctrl-C ends it; the daemon and its folder go with it.")
    }
}
