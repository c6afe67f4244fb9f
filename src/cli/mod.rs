//! The command line: for people.
//!
//! Each command is a file; this one parses, dispatches and decides the exit code: 0 yes, 1 no, 2 could not tell,
//! 78 when `run` refuses its configuration or state. Nothing else in the program prints or ends the process.

mod args;
mod as_test;
mod backfill;
mod backtest;
mod check;
mod check_online;
mod client;
mod connector;
mod demo;
mod events;
mod explain;
mod init;
mod junit;
mod later;
mod listing;
mod online;
mod output;
mod pause;
mod print_as;
mod remedies;
mod replay;
mod report;
mod run;
mod runs;
mod samples;
mod sandbox;
mod schema;
mod send;
mod settle;
mod setup;
mod state;
mod store;
mod test;
mod webhooks;
mod when;
mod whole_file;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command, ConnectorCommand, EventsCommand, RunsCommand};
use output::{Out, Stop};

/// Everything is as asked.
const YES: u8 = 0;
/// The answer is no: a bad rule, a failed test, something that is not there.
const NO: u8 = 1;
/// It could not be told: nothing reached, nothing read, wrong usage.
const UNKNOWN: u8 = 2;
/// `EX_CONFIG` of sysexits: `run` refuses its configuration or state; a supervisor should not try again.
const CONFIG: u8 = 78;
/// Ended by Ctrl-C, as shells number it.
const INTERRUPTED: u8 = 130;

/// Parses the arguments, does what they say, gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(UNKNOWN);
            // Nobody is left to be told when even this cannot be written.
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let mut out = Out::new(args.verbosity());
    let done = dispatch(&args, &mut out).and_then(|code| out.flush().map(|()| code));
    ExitCode::from(match done {
        Ok(code) => code,
        Err(Stop::Closed) => YES,
        Err(Stop::With { code, message }) => {
            output::complain(&message);
            code
        }
    })
}

fn dispatch(args: &Args, out: &mut Out) -> Result<u8, Stop> {
    let config = args.config.as_deref();
    match &args.command {
        Command::Run => run::run(config, args.verbosity()),
        Command::Demo(args) => demo::run(args, out),
        Command::Init { dir } => init::run(dir, out),
        Command::Check { json, online } => check::run(config, *json, *online, out),
        Command::Test { rules, junit, json, require_tests } => {
            let asked = test::Asked { only: rules, junit: junit.as_deref(), json: *json, require_tests: *require_tests };
            test::run(config, &asked, out)
        }
        Command::Explain { event, source, headers, json } => {
            let came = send::Came { source: source.as_deref(), headers: &send::headers(headers)? };
            explain::run(config, event, came, *json, out)
        }
        Command::Events { command } => match command {
            EventsCommand::List { filters, admin, print } => events::list(config, admin, filters, *print, out),
            EventsCommand::Show { id, as_test: true, rule, admin, .. } => as_test::run(config, admin, id, rule.as_deref(), out),
            EventsCommand::Show { id, explain: true, admin, print, .. } => events::explain(config, admin, id, print.is_json(), out),
            EventsCommand::Show { id, admin, print, .. } => events::show(config, admin, id, *print, out),
            EventsCommand::Tail { event_type, source, after, admin, print } => {
                let wanted = events::Wanted { event_type: event_type.as_deref(), source: source.as_deref() };
                events::tail(config, admin, &wanted, after.as_deref(), *print, out)
            }
        },
        Command::Runs { command } => match command {
            RunsCommand::List { filters, by, admin, json } => runs::list(config, admin, filters, *by, *json, out),
            RunsCommand::Show { id, admin, json } => runs::show(config, admin, id, *json, out),
            RunsCommand::Retry(args) => settle::retry(config, args, out),
            RunsCommand::Accept(args) => settle::accept(config, args, out),
            RunsCommand::Discard(args) => settle::discard(config, args, out),
        },
        Command::Send { event_type, file, headers, source, to, list } => {
            let what =
                send::What { event_type: event_type.as_deref(), file: file.as_deref(), headers: send::headers(headers)?, list: *list };
            send::run(config, &what, source.as_deref(), to.as_deref(), out)
        }
        Command::Sandbox { options } => sandbox::run(options, out),
        Command::Healthcheck { admin } => client::healthcheck(config, admin, out),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "tripline", &mut text);
            out.text(&String::from_utf8_lossy(&text))?;
            Ok(YES)
        }
        Command::Replay(args) => replay::run(config, args, out),
        Command::Pause(args) => pause::pause(config, args, out),
        Command::Resume(args) => pause::resume(config, args, out),
        Command::Webhooks { command } => webhooks::run(config, command, out),
        Command::Backfill(args) => backfill::run(config, args, out),
        Command::Backtest(args) => backtest::run(config, args, out),
        Command::Connector { command } => match command {
            ConnectorCommand::Import(args) => connector::import::run(args, out),
            ConnectorCommand::List { json } => connector::list::list(config, *json, out),
            ConnectorCommand::Show { name, operation, json } => connector::list::show(config, name, operation.as_deref(), *json, out),
            ConnectorCommand::Call(args) => connector::call::run(config, args, out),
            ConnectorCommand::Test { names, file, require_tests, json } => {
                let asked = connector::test::Asked { names, file: file.as_deref(), require_tests: *require_tests, json: *json };
                connector::test::run(config, &asked, out)
            }
        },
        Command::Schema { of } => schema::run(*of, out),
        Command::State { command } => state::run(config, command, out),
        Command::Sources(_) => Err(later::refuse("sources")),
        Command::Targets(_) => Err(later::refuse("targets")),
        Command::Top(_) => Err(later::refuse("top")),
        Command::Doctor(_) => Err(later::refuse("doctor")),
    }
}
