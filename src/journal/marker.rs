//! The marker `store.json`: which format the state folder has, in which boot it was last opened, and whether it was closed.
//!
//! ```text
//! {"format": 1, "boot": "<boot id>", "clean": true, "rebuild": false}
//! ```
//!
//! Replaced as a whole (temp, fsync, rename, folder fsync). `rebuild` says that the checkpoints failed while they were
//! in use.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::journal::files::{Files, read_plain};
use crate::journal::format::FORMAT;

/// The content of the marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) format: u32,
    pub(super) boot: String,
    pub(super) clean: bool,
    #[serde(default)]
    pub(super) rebuild: bool,
}

impl Marker {
    /// As this version writes it.
    pub(super) fn now(boot: &str, clean: bool) -> Self {
        Self { format: FORMAT, boot: boot.to_owned(), clean, rebuild: false }
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("store.json")
}

/// What a marker file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Missing,
    /// Not readable as a marker of any version.
    Unreadable,
    /// Of a newer version.
    Newer(u32),
    Marker(Marker),
}

/// Reads the marker of a state folder.
pub(super) fn read(state: &Path) -> io::Result<Found> {
    /// The one thing that every version has.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let text = match read_plain(&path(state)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        text => text?,
    };
    Ok(match serde_json::from_slice::<Version>(&text) {
        Ok(version) if version.format > FORMAT => Found::Newer(version.format),
        Ok(_) => serde_json::from_slice(&text).map_or(Found::Unreadable, Found::Marker),
        Err(_) => Found::Unreadable,
    })
}

/// Replaces the marker.
pub(super) fn write(files: &Files, state: &Path, marker: &Marker) -> io::Result<()> {
    files.replace(&path(state), &serde_json::to_vec(marker)?)
}

/// Removes the marker: checkpoints without one are not trusted.
pub(super) fn remove(files: &Files, state: &Path) -> io::Result<()> {
    std::fs::remove_file(path(state))?;
    files.sync_dir(state)
}

/// Why the checkpoints are not to be trusted, if they are not.
pub(super) fn distrust(found: &Found, boot: &str) -> Option<String> {
    match found {
        Found::Missing => Some("there is no marker".to_owned()),
        Found::Unreadable | Found::Newer(_) => Some("the marker is not readable".to_owned()),
        Found::Marker(marker) if marker.format < FORMAT => Some(format!("their layout is that of format {}", marker.format)),
        Found::Marker(marker) if marker.rebuild => Some("they failed while they were in use".to_owned()),
        Found::Marker(marker) if marker.clean || (marker.boot == boot && !boot.is_empty()) => None,
        Found::Marker(_) => Some("the machine went down while they were open".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_trusted_after_a_clean_end_or_in_the_same_boot() {
        let marker = |boot: &str, clean, rebuild| Found::Marker(Marker { format: FORMAT, boot: boot.to_owned(), clean, rebuild });
        for (found, trusted) in [
            (marker("a", true, false), true),
            (marker("b", true, false), true),
            (marker("a", false, false), true),
            (marker("b", false, false), false),
            (marker("a", true, true), false),
            (Found::Missing, false),
            (Found::Unreadable, false),
        ] {
            assert_eq!(distrust(&found, "a").is_none(), trusted, "{found:?}");
        }
        assert!(distrust(&marker("", false, false), "").is_some(), "an unknown boot proves nothing");
    }
}
