//! The arguments.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use super::later::Ignored;
use super::print_as::PrintArgs;
use super::when::{When, parse_when};

/// Options of every command stand apart from those of the command itself.
const GENERAL: &str = "General options";

/// An event daemon for UiPath Orchestrator: when this happens to that queue item, do that.
#[derive(Debug, Parser)]
#[command(
    name = "tripline",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 yes, 1 no, 2 could not tell, 78 when `run` refuses its configuration or state.\n\
                  Secrets are never arguments: they are read from the environment, files or systemd credentials."
)]
pub(super) struct Args {
    /// Configuration file [default: ./tripline.yaml, then /etc/tripline/tripline.yaml]
    #[arg(short, long, value_name = "FILE", global = true, help_heading = GENERAL)]
    pub(super) config: Option<PathBuf>,
    /// Say more; twice for more still
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = GENERAL)]
    verbose: u8,
    /// Say less: errors only
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "verbose", help_heading = GENERAL)]
    quiet: u8,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Args {
    /// Above zero with `-v`, below with `-q`.
    pub(super) fn verbosity(&self) -> i8 {
        i8::try_from(self.verbose.min(9)).unwrap_or(9) - i8::try_from(self.quiet.min(9)).unwrap_or(9)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// A simulated Orchestrator, the real daemon and example rules: a story, then a look around
    Demo(super::demo::DemoArgs),
    /// Write a commented configuration, an example rule with tests, and a generated secret
    Init {
        /// Folder to write to; made where it is missing
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Run the daemon
    Run,
    /// Read and check the configuration and all rules; every fault with its place and a remedy
    Check {
        /// One JSON object: {"faults": […]}
        #[arg(long)]
        json: bool,
        /// Ask Orchestrator as well: token, folders, queues, processes, webhooks; nothing is changed
        #[arg(long)]
        online: bool,
    },
    /// Run the tests inside rule files
    Test {
        /// Only these rules; `*` in a name stands for any text
        #[arg(value_name = "RULE")]
        rules: Vec<String>,
        /// Write a report in JUnit's XML, for CI
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// One JSON object: {"passed", "failed", "tests": […]}
        #[arg(long)]
        json: bool,
        /// A rule file without tests fails
        #[arg(long)]
        require_tests: bool,
    },
    /// Say for each rule whether it matches an event, or the first condition that fails
    Explain {
        /// A webhook body, or an event as printed by `events show`; `-` reads stdin
        #[arg(value_name = "EVENT.json")]
        event: PathBuf,
        /// Take a webhook body as one of this source [default: each source in turn]
        #[arg(long)]
        source: Option<String>,
        /// A header that came with the body: `NAME: VALUE`; may be repeated
        #[arg(short = 'H', long = "header", value_name = "HEADER")]
        headers: Vec<String>,
        /// One JSON object for each event
        #[arg(long)]
        json: bool,
    },
    /// The journal: what came in
    #[command(arg_required_else_help = true)]
    Events {
        #[command(subcommand)]
        command: EventsCommand,
    },
    /// What rules did
    #[command(arg_required_else_help = true)]
    Runs {
        #[command(subcommand)]
        command: RunsCommand,
    },
    /// Sign a sample or given body with a source's secret and post it to the daemon
    Send {
        /// Send a sample of this event type, as `--list` names them; with a file of another service whose event's name comes in
        /// a header, that name
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Send this file as it stands; `-` reads stdin
        file: Option<PathBuf>,
        /// Send this header too: `NAME: VALUE`; may be repeated
        #[arg(short = 'H', long = "header", value_name = "HEADER")]
        headers: Vec<String>,
        /// As this source [default: the only one]
        #[arg(long)]
        source: Option<String>,
        /// Post to this URL in place of the daemon's own address
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        /// List the types that have a sample
        #[arg(long, conflicts_with_all = ["event_type", "file", "to"])]
        list: bool,
    },
    /// Serve a simulated Orchestrator, for development and tests
    Sandbox {
        #[command(flatten)]
        options: super::sandbox::SandboxArgs,
    },
    /// Ask the daemon whether it is ready; for containers
    Healthcheck {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Print a completion script
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Put events through the rules again, by id, time, type, source, key or rule
    Replay(super::replay::ReplayArgs),
    /// Hold back a rule, a target or all; without a name: list what is held back
    Pause(super::pause::PauseArgs),
    /// Let a rule, a target or all go on
    Resume(super::pause::ResumeArgs),
    /// Webhooks in Orchestrator: what the sources need, made so, and tried
    #[command(arg_required_else_help = true)]
    Webhooks {
        #[command(subcommand)]
        command: super::webhooks::WebhooksCommand,
    },
    /// Bring past changes of a polled source: the daemon reads them, this command watches
    Backfill(super::backfill::BackfillArgs),
    /// Run changed rules over the journal's events: the difference of what would be done; nothing is called
    Backtest(super::backtest::BacktestArgs),
    /// Connectors: what other services offer to rules
    #[command(arg_required_else_help = true)]
    Connector {
        #[command(subcommand)]
        command: ConnectorCommand,
    },
    /// Print the JSON Schema of a kind of file, for editors
    Schema {
        /// Which file
        #[arg(value_name = "FILE")]
        of: SchemaOf,
    },
    /// The state folder: verify it, rebuild its checkpoints, dump it, restore it
    #[command(arg_required_else_help = true)]
    State {
        #[command(subcommand)]
        command: super::state::StateCommand,
    },
    #[command(hide = true)]
    Sources(Ignored),
    #[command(hide = true)]
    Targets(Ignored),
    #[command(hide = true)]
    Top(Ignored),
    #[command(hide = true)]
    Doctor(Ignored),
}

/// Where the daemon is. Its token is read from `TRIPLINE_ADMIN_TOKEN` or the configuration, never an argument.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArgs {
    /// The daemon's admin address: HOST:PORT, a URL, or unix:/path [env: TRIPLINE_ADMIN] [default: from the configuration]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin: Option<String>,
}

/// Which ones to list.
#[derive(Debug, clap::Args)]
pub(super) struct Filters {
    /// From then on: RFC 3339, a date, or how long ago (`2h`)
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(super) since: Option<When>,
    /// Up to then
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(super) until: Option<When>,
    /// Event type: `queueItem.transactionFailed` or `queueItem.*`
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) event_type: Option<String>,
    /// Source that brought the event
    #[arg(long)]
    pub(super) source: Option<String>,
    /// Rule that ran
    #[arg(long)]
    pub(super) rule: Option<String>,
    /// State of the run: `pending`, `succeeded`, `dead`, …
    #[arg(long, value_parser = parse_state)]
    pub(super) state: Option<crate::runs::RunState>,
    /// Part of the event's key or subject
    #[arg(long)]
    pub(super) key: Option<String>,
    /// At most this many, the newest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    pub(super) all: bool,
}

fn parse_state(text: &str) -> Result<crate::runs::RunState, String> {
    let states = crate::runs::RunState::ALL;
    states.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let names = states.map(crate::runs::RunState::as_str);
        match crate::fault::nearest(text, names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("expected one of {}", names.join(", ")),
        }
    })
}

#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// List events, newest last
    List {
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        print: PrintArgs,
    },
    /// Print one event as JSON
    Show {
        /// The event's id
        #[arg(value_name = "EVENT")]
        id: String,
        /// Print it as a test to paste into a rule file: what the rules do with it, secrets masked
        #[arg(long, conflicts_with_all = ["json", "format"])]
        as_test: bool,
        /// The rule to print a test for [default: each that it meets]
        #[arg(long, value_name = "RULE", requires = "as_test")]
        rule: Option<String>,
        /// For each rule of that time: whether it ran, or the first condition that failed
        #[arg(long, conflicts_with_all = ["as_test", "format"])]
        explain: bool,
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        print: PrintArgs,
    },
    /// Print events as they are accepted, until Ctrl-C
    Tail {
        /// Only this type: `queueItem.transactionFailed` or `queueItem.*`
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Only of this source
        #[arg(long)]
        source: Option<String>,
        /// Begin behind the event with this id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        print: PrintArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConnectorCommand {
    /// Make a connector of an OpenAPI description; what it cannot say is listed by its reason
    Import(super::connector::import::ImportArgs),
    /// What connectors there are
    List {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// What a connector offers: its configuration, operations with their inputs, triggers
    Show {
        /// The connector
        name: String,
        /// Only this operation
        operation: Option<String>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Run the tests inside connector files; nothing is sent
    Test {
        /// Only these connectors
        names: Vec<String>,
        /// A connector file in place of those of the configuration
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// A connector without tests fails
        #[arg(long)]
        require_tests: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Send one request of a connector and show it and its answer; `--all` reads all pages
    Call(super::connector::call::CallArgs),
}

/// Files that have a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaOf {
    // No doc comments: they would turn the help of the whole command into the long form.
    Config,
    Rule,
    Connector,
}

/// How runs are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GroupBy {
    // No doc comment: it would turn the help of the whole command into the long form.
    Cause,
}

#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// List runs, newest last; dead letters with `--state dead`
    List {
        #[command(flatten)]
        filters: Filters,
        /// Count them by their cause
        #[arg(long, value_name = "WHAT")]
        by: Option<GroupBy>,
        #[command(flatten)]
        admin: AdminArgs,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Print one run with its steps and attempts
    Show {
        /// The run's id
        #[arg(value_name = "RUN")]
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Try dead or ambiguous runs again from the step they stopped at, by id or by what they have in common
    Retry(super::settle::RetryArgs),
    /// Count the unfinished step of dead or ambiguous runs as done; they go on behind it
    Accept(super::settle::AcceptArgs),
    /// Put runs aside: nothing more happens
    Discard(super::settle::DiscardArgs),
}
