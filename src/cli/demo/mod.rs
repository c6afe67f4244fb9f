//! `tripline demo`: a simulated Orchestrator in this process, the real daemon as a child process, example rules, and a
//! story in which every line is printed from an observed answer.
//!
//! The rules are those of `--rules`, else of the checkout that it runs in ([`RULES`]), so that a change in them shows; without
//! that file nothing can be observed, and the demo says so with exit code 1. Elsewhere a copy plays that comes with the program.
//! Everything else lives in a temporary folder that goes with the demo, and so does the daemon.

mod ask;
mod blind;
mod chapters;
mod kill;
mod stage;
mod tell;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::output::{Out, Stop};
use super::{INTERRUPTED, NO, YES, client};
use ask::Missed;
use stage::Stage;
use tell::Tell;

/// Where the rules are, seen from a checkout.
const RULES: &str = "rules/demo.yaml";
/// Only a checkout has this file.
const CHECKOUT: &str = "src/cli/demo/mod.rs";

/// For the whole story. It takes a few seconds; a loaded machine gets more.
const STORY_LIMIT: Duration = Duration::from_secs(180);

/// A simulated Orchestrator, the real daemon and example rules: a story of a few seconds, then a look around
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// End once everything was observed, with 0, or with 1 when something was not
    #[arg(long)]
    once: bool,
    /// The rules that the story is about [default: rules/demo.yaml of a checkout, else those that come with the program]
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// Tells the story; without `--once` stays until Ctrl-C.
pub(super) fn run(args: &DemoArgs, out: &mut Out) -> Result<u8, Stop> {
    client::runtime()?.block_on(async {
        let cannot = |error: std::io::Error| Stop::unknown(format!("cannot listen for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let asked_to_end = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        tokio::pin!(asked_to_end);
        let mut tell = Tell::new(out);
        let in_checkout = || Path::new(CHECKOUT).exists().then(|| PathBuf::from(RULES));
        let mut stage = Stage::build(args.rules.clone().or_else(in_checkout)).await.map_err(Stop::unknown)?;
        let ended = tokio::select! {
            told = tokio::time::timeout(STORY_LIMIT, story(&mut stage, &mut tell)) => {
                told.unwrap_or_else(|_| Err(Missed::new(format!("the story did not end within {} s", STORY_LIMIT.as_secs())).into()))
            }
            () = &mut asked_to_end => {
                tell.quiet();
                return Ok(INTERRUPTED);
            }
        };
        let missed = match ended {
            Ok(()) => None,
            Err(End::Missed(missed)) => Some(missed),
            Err(End::Stop(stop)) => return Err(stop),
        };
        tell.summary()?;
        if let Some(missed) = missed {
            tell.missing(&missed, &stage)?;
            return Ok(NO);
        }
        if !tell.complete() {
            return Ok(NO);
        }
        if !args.once {
            tell.look_around(&stage)?;
            asked_to_end.await;
        }
        Ok(YES)
    })
}

/// Why the story ends early.
enum End {
    /// Something was not observed.
    Missed(Missed),
    /// It cannot be told: nobody reads it any more.
    Stop(Stop),
}

impl From<Missed> for End {
    fn from(missed: Missed) -> Self {
        Self::Missed(missed)
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

async fn story(stage: &mut Stage, tell: &mut Tell<'_>) -> Result<(), End> {
    chapters::stage(stage, tell).await?;
    chapters::work(stage, tell).await?;
    chapters::duplicate(stage, tell).await?;
    chapters::unwilling(stage, tell).await?;
    kill::kill(stage, tell).await?;
    kill::account(stage, tell).await?;
    blind::blind(stage, tell).await
}
