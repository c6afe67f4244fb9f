//! `tripline connector import`: an OpenAPI description made into a connector file.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::cli::output::{DIM, GOOD, Out, STRONG, Stop, WARN, clean, count, paint, say};
use crate::cli::{NO, YES, report};
use crate::config::RealWorld;
use crate::connectors::import::{Import, Options, Part, Selection, by_reason, import};
use crate::fault::SourceText;
use crate::yaml::TEXT_MAX;

/// How many parts are shown for each reason; `-v` shows all.
const PARTS_SHOWN_MAX: usize = 3;

/// Arguments of `connector import`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ImportArgs {
    /// An OpenAPI 3.0 or 3.1 description, JSON or YAML; `-` reads stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the connector [default: made of the description's title]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where requests go, in place of the description's servers
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Import only these: names, or paths with or without a method; `*` stands for any text
    #[arg(long, value_name = "A,B,GET /PATH*")]
    operations: Option<String>,
    /// Write the connector to this file [default: print it, and the report to stderr]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file where it exists
    #[arg(long, requires = "out")]
    force: bool,
    /// Print the report as one JSON object; without `--out` with the connector in it
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(args: &ImportArgs, out: &mut Out) -> Result<u8, Stop> {
    let operations = match &args.operations {
        Some(text) => Selection::parse(text).map_err(|message| Stop::unknown(format!("--operations: {message}")))?,
        None => Selection::default(),
    };
    if let Some(target) = args.out.as_ref().filter(|target| !args.force && target.symlink_metadata().is_ok()) {
        return Err(exists(target));
    }
    let source = Arc::new(SourceText { path: args.file.clone(), text: read(&args.file)? });
    let options = Options { name: args.name.clone(), base_url: args.base_url.clone(), operations };
    let done = match import(&source, &options) {
        Ok(done) => done,
        Err(faults) if args.json => {
            out.json(&report::json(&faults, &RealWorld))?;
            return Ok(NO);
        }
        Err(faults) => {
            out.text(&report::text(&faults, &RealWorld))?;
            return Ok(NO);
        }
    };
    if let Some(target) = &args.out {
        write(target, &done.text, args.force)?;
    }
    if args.json {
        let mut object = done.report.to_json();
        object["connector"] = json!(done.name);
        match &args.out {
            Some(target) => object["file"] = json!(target.display().to_string()),
            None => object["text"] = json!(done.text),
        }
        out.json(&object)?;
        return Ok(YES);
    }
    let lines = told(&done, args.out.as_deref(), out.verbosity());
    match &args.out {
        Some(_) => lines.iter().try_for_each(|line| out.line(line))?,
        None => {
            out.text(&done.text)?;
            out.flush()?;
            lines.iter().for_each(|line| say(line));
        }
    }
    Ok(YES)
}

/// The text of a file, or of stdin for `-`; no more than is ever read.
fn read(file: &Path) -> Result<String, Stop> {
    let fail = |error: std::io::Error| Stop::unknown(format!("cannot read `{}`: {error}", file.display()));
    let limit = TEXT_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(fail)?;
    } else {
        std::fs::File::open(file).map_err(fail)?.take(limit).read_to_end(&mut bytes).map_err(fail)?;
    }
    String::from_utf8(bytes).map_err(|_| Stop::unknown(format!("cannot read `{}`: it is no UTF-8 text", file.display())))
}

fn exists(target: &Path) -> Stop {
    Stop::no(format!("`{}` exists and is not overwritten; `--force` replaces it", target.display()))
}

/// Writes the file whole or not at all: a daemon may be watching its folder.
fn write(target: &Path, text: &str, force: bool) -> Result<(), Stop> {
    let fail = |error: std::io::Error| Stop::unknown(format!("cannot write `{}`: {error}", target.display()));
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tripline-import-").suffix(".tmp");
    // There is no secret in it, and the daemon may be another user: as the umask says.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    if force {
        file.persist(target).map_err(|error| fail(error.error))?;
        return Ok(());
    }
    match file.persist_noclobber(target) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(target)),
        Err(error) => Err(fail(error.error)),
    }
}

/// The report for people.
fn told(done: &Import, target: Option<&Path>, verbosity: i8) -> Vec<String> {
    if verbosity < 0 {
        return Vec::new();
    }
    let report = &done.report;
    let asked = if report.wanted == report.of { String::new() } else { format!(" ({} asked for)", report.wanted) };
    let place = target.map(|target| format!(" into {}", target.display())).unwrap_or_default();
    let name = paint(STRONG, &clean(&done.name));
    let numbers = format!("{} of {}", report.imported.len(), count(report.of, "operation"));
    let mut lines = vec![format!("{}: {numbers}{asked}{place}, connector {name}", paint(GOOD, "imported"))];
    parts("held back", &report.held_back, verbosity, &mut lines);
    parts("left out", &report.left_out, verbosity, &mut lines);
    if !report.variables.is_empty() {
        lines.push(format!("{}: {}", paint(DIM, "secrets are read from"), report.variables.join(", ")));
    }
    lines
}

fn parts(what: &str, parts: &[Part], verbosity: i8, lines: &mut Vec<String>) {
    for (reason, group) in by_reason(parts) {
        lines.push(format!("{}: {reason} ({})", paint(WARN, what), group.len()));
        let shown = if verbosity > 0 { group.len() } else { PARTS_SHOWN_MAX };
        for part in group.iter().take(shown) {
            lines.push(format!("  {}", clean(&part.message)));
            lines.push(format!("    {}", paint(DIM, &clean(&part.pointer))));
        }
        if group.len() > shown {
            lines.push(paint(DIM, &format!("  … and {} more (-v shows all)", group.len() - shown)));
        }
    }
}
