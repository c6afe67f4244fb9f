//! `<state>/daemon.json`: where the running daemon can be reached, for the commands that talk to it.
//!
//! `{"pid": 1234, "listen": "127.0.0.1:8080", "admin": "127.0.0.1:8081", "started": "2026-…Z"}`; a unix socket is
//! written `unix:/path`. Mode 0600, replaced by rename, removed at a good end.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::AdminAddress;
use crate::journal::read_plain;
use crate::time::Timestamp;

/// Its name in the state folder.
pub const STATE_FILE: &str = "daemon.json";

/// What is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonFile {
    /// Process id.
    pub pid: u32,
    /// Ingress address with its real port.
    pub listen: String,
    /// Admin address, or `unix:/path`.
    pub admin: String,
    /// When the process started.
    pub started: Timestamp,
}

impl DaemonFile {
    /// For this process.
    pub(super) fn of(listen: std::net::SocketAddr, admin: &AdminAddress, started: Timestamp) -> Self {
        Self { pid: std::process::id(), listen: listen.to_string(), admin: admin.to_string(), started }
    }

    /// Whether the file in `state` names another process that still runs. Its lock decides in the end; this only keeps us
    /// from writing over the file of a daemon that we are about to lose to.
    pub(super) fn of_another_that_runs(state: &Path) -> bool {
        let Some(file) = Self::read(state) else { return false };
        file.pid != std::process::id() && Path::new("/proc").join(file.pid.to_string()).exists()
    }

    /// What is in the file of `state`, where there is a readable one.
    #[must_use]
    pub fn read(state: &Path) -> Option<Self> {
        let text = read_plain(&state.join(STATE_FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes it into the state folder, which is made where it is missing. The folder above is not: where that is missing, a disk
    /// is not mounted, or the path is wrong.
    ///
    /// # Errors
    /// As the file system says, with the path.
    pub(super) fn write(&self, state: &Path) -> Result<PathBuf, String> {
        let path = state.join(STATE_FILE);
        let write = || -> std::io::Result<()> {
            match std::fs::DirBuilder::new().mode(0o700).create(state) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let temporary = state.join(format!("{STATE_FILE}.{}", self.pid));
            // What an earlier process of this number left there, whatever it is.
            drop(std::fs::remove_file(&temporary));
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(serde_json::to_string(self)?.as_bytes())?;
            file.write_all(b"\n")?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(|e| format!("cannot write {}: {e}; the daemon's user must own the state folder", path.display()))?;
        Ok(path)
    }

    /// Removes it, if it is still ours.
    pub(super) fn remove(&self, state: &Path) {
        let path = state.join(STATE_FILE);
        if Self::read(state).as_ref() == Some(self)
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%error, path = %path.display(), "the daemon file stays behind");
        }
    }
}
