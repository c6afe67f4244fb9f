//! `tripline init`: a configuration to begin with. It passes `check` and `test` as it stands, and overwrites nothing.

use std::io::Write;
use std::path::Path;

use super::output::{Out, Stop};

const CONFIG: &str = include_str!("init/tripline.yaml");
const RULE: &str = include_str!("init/rule.yaml");
const IGNORED: &str = "/state/\n/secrets/\n";

/// Bytes of randomness in the secret; written as twice as many hex digits, well below Orchestrator's 100 characters.
const SECRET_BYTES: usize = 32;

pub(super) fn run(dir: &Path, out: &mut Out) -> Result<u8, Stop> {
    // Paths are shown as people would type them: `tripline.yaml`, not `./tripline.yaml`.
    let base = if dir == Path::new(".") { Path::new("") } else { dir };
    let config = base.join("tripline.yaml");
    let rule = base.join("rules/escalate-failed-invoice.yaml");
    let secret = base.join("secrets/webhook");
    for path in [&config, &rule, &secret] {
        if path.symlink_metadata().is_ok() {
            return Err(Stop::no(format!(
                "`{}` exists and is not overwritten; nothing was written (name another folder: `tripline init DIR`)",
                path.display()
            )));
        }
    }
    let mut bytes = [0_u8; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Stop::unknown(format!("no randomness for the secret: {error}")))?;
    let value: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write(&rule, RULE, Mode::Open)?;
    write(&secret, &format!("{value}\n"), Mode::Secret)?;
    write(&config, CONFIG, Mode::Open)?;
    let ignored = base.join(".gitignore");
    if ignored.symlink_metadata().is_err() {
        write(&ignored, IGNORED, Mode::Open)?;
    }
    if out.verbosity() < 0 {
        return Ok(super::YES);
    }
    out.line(&format!("wrote {}", config.display()))?;
    out.line(&format!("wrote {}", rule.display()))?;
    out.line(&format!("wrote {} (mode 0600; give its content to the webhook in Orchestrator as `Secret`)", secret.display()))?;
    let flag = if dir == Path::new(".") { String::new() } else { format!(" -c {}", config.display()) };
    out.line("")?;
    out.line("next:")?;
    out.line(&format!("  edit {}: the orchestrator's URL and how to authenticate", config.display()))?;
    out.line(&format!("  tripline check{flag}"))?;
    out.line(&format!("  tripline test{flag}"))?;
    out.line(&format!("  tripline run{flag}"))?;
    Ok(super::YES)
}

enum Mode {
    /// As the umask says.
    Open,
    /// For nobody else: the folder 0700, the file 0600.
    Secret,
}

fn write(path: &Path, text: &str, mode: Mode) -> Result<(), Stop> {
    let result = || -> std::io::Result<()> {
        let mut folder = std::fs::DirBuilder::new();
        let mut options = std::fs::OpenOptions::new();
        folder.recursive(true);
        options.write(true).create_new(true);
        if matches!(mode, Mode::Secret) {
            restrict(&mut folder, &mut options);
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            folder.create(parent)?;
        }
        options.open(path)?.write_all(text.as_bytes())
    };
    result().map_err(|error| Stop::unknown(format!("cannot write `{}`: {error}", path.display())))
}

#[cfg(unix)]
fn restrict(folder: &mut std::fs::DirBuilder, file: &mut std::fs::OpenOptions) {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    folder.mode(0o700);
    file.mode(0o600);
}

#[cfg(not(unix))]
fn restrict(_folder: &mut std::fs::DirBuilder, _file: &mut std::fs::OpenOptions) {}
