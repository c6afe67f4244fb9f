//! Files: how they are read with an answer for everything that can be wrong with one, and which ones hold rules.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::World;
use super::settings::Config;
use crate::fault::{Fault, Faults, Place, Severity, SourceText};

/// The code of a file that cannot be read: nothing can be said of what is in it.
pub const FILE_UNREADABLE: &str = "file-unreadable";

/// The longest configuration file that is read, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// The most rule files.
pub const RULE_FILES_MAX: usize = 20_000;

/// Where a configuration is looked for when none is named.
pub const SEARCHED: [&str; 2] = ["tripline.yaml", "/etc/tripline/tripline.yaml"];

/// What relative paths of a configuration are relative to: the folder of its file.
pub(super) struct Base(PathBuf);

impl Base {
    /// The folder of `file`, made absolute.
    pub(super) fn of(file: &Path, world: &dyn World) -> Self {
        let file = absolute(file, world);
        Self(file.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned))
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// The absolute path of what is written.
    pub(super) fn resolve(&self, written: &str) -> PathBuf {
        tidy(&self.0.join(written))
    }
}

/// The absolute form of a path of the command line.
pub(super) fn absolute(path: &Path, world: &dyn World) -> PathBuf {
    if path.is_absolute() { tidy(path) } else { tidy(&world.current_dir().join(path)) }
}

/// Without `.` and slashes at the end; `..` stays, for it may go through a symbolic link.
fn tidy(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

/// Reads a text file of at most `max` bytes, or says why not.
pub(super) fn read_text(path: &Path, what: &str, max: usize, world: &dyn World) -> Result<Arc<SourceText>, Fault> {
    let shown = path.display();
    let bytes = world.read_at_most(path, max).map_err(|error| {
        let fault = |message: String| Fault::general(FILE_UNREADABLE, message);
        match error.kind() {
            io::ErrorKind::NotFound => fault(format!("{what} `{shown}` does not exist")),
            io::ErrorKind::IsADirectory => fault(format!("{what} `{shown}` is a folder; expected a file")),
            io::ErrorKind::PermissionDenied => {
                fault(format!("{what} `{shown}` may not be read")).help("check its owner and mode, and those of its folders")
            }
            _ => fault(format!("{what} `{shown}` cannot be read: {error}")),
        }
    })?;
    if bytes.len() > max {
        let message = format!("{what} `{shown}` has more than {max} bytes, which is the most that is read");
        return Err(Fault::general("file-too-large", message).help("split it into several files"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Arc::new(SourceText { path: path.to_owned(), text })),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let before = String::from_utf8_lossy(&bytes[..good]);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            let source = Arc::new(SourceText { path: path.to_owned(), text: String::from_utf8_lossy(&bytes).into_owned() });
            let place = Place { source, line: to_u32(line), column: to_u32(column), length: 1 };
            let message = format!("{what} is no UTF-8 text: byte 0x{:02x}", bytes.get(good).copied().unwrap_or_default());
            Err(Fault::error("file-encoding", place, message).help("save it as UTF-8"))
        }
    }
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Config {
    /// The rule files, sorted by path, with their texts. Folders are read for `*.yaml` and `*.yml`, not deeper; hidden
    /// files are left out.
    pub fn rule_files(&self, world: &dyn World) -> (Vec<Arc<SourceText>>, Faults) {
        let mut faults = Faults::new();
        let mut paths = Vec::new();
        for written in &self.rules {
            match world.list(written) {
                Ok(files) => paths.extend(files.into_iter().filter(|file| is_rule_file(file))),
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => paths.push(written.clone()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let message = format!("`rules`: `{}` does not exist", written.display());
                    faults.push(Fault::general("rules-missing", message).help("make the folder, or mend `rules` in the configuration"));
                }
                Err(error) => {
                    let message = format!("`rules`: `{}` cannot be listed: {error}", written.display());
                    faults.push(Fault::general(FILE_UNREADABLE, message));
                }
            }
        }
        if paths.is_empty() && faults.is_empty() {
            let names: Vec<String> = self.rules.iter().map(|path| format!("`{}`", path.display())).collect();
            let fault = Fault::general("no-rules", format!("0 rules: there is no *.yaml in {}", names.join(", ")));
            faults.push(Fault { severity: Severity::Warning, ..fault }.help("write one, or see `tripline init` for an example"));
        }
        paths.sort();
        paths.dedup();
        if paths.len() > RULE_FILES_MAX {
            let message = format!("`rules` names {} files; at most {RULE_FILES_MAX} are read", paths.len());
            faults.push(Fault::general("too-many-files", message).help("put several rules into one file, separated by `---`"));
            return (Vec::new(), faults);
        }
        let mut texts = Vec::with_capacity(paths.len());
        for path in paths {
            match read_text(&path, "rule file", crate::yaml::TEXT_MAX, world) {
                Ok(text) => texts.push(text),
                Err(fault) => faults.push(fault),
            }
        }
        (texts, faults)
    }
}

/// Whether a file of a folder holds connectors: as rules, or JSON.
pub(super) fn is_connector_file(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    is_rule_file(path) || (!hidden && path.extension().is_some_and(|extension| extension == "json"))
}

fn is_rule_file(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    !hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}
