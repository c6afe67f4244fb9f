//! Space that is held back, so that the journal opens on a full disk: a file of zeros beside it.
//!
//! Opening needs a little space (marker, lock, checkpoints). Where there is none, the file is removed first. From then on
//! nothing is taken in until it could be made again, so that the space is not used up by deliveries and is there for the
//! next opening as well.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::journal::files::{Files, is_full};

/// Bytes that are held back.
const RESERVE_BYTES: u64 = 4 << 20;

/// Opening wants to see as much free space.
const PROBE_BYTES: u64 = 1 << 20;

/// Where it could not be made, it is tried again after this time.
const AGAIN: Duration = Duration::from_secs(60);

/// The file, as it stands.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    There,
    /// Made when nobody waits.
    Wanted(Option<Instant>),
    /// Given up: made before anything else is written.
    Owed,
}

impl Reserve {
    /// Looks whether there is space for opening the store in `dir`, and gives the reserve up if there is none.
    pub(super) fn open(files: &Files, dir: &Path) -> io::Result<Self> {
        let path = dir.join("reserve");
        let there = path.exists();
        let new = !dir.join("journal").exists();
        let probe = dir.join("open.tmp");
        let probed = match files.create(&probe).and_then(|file| files.reserve(&file, &probe, 0, PROBE_BYTES)) {
            Err(error) if !is_full(&error) => return Err(error),
            probed => probed,
        };
        files.remove(&probe)?;
        let mut reserve = Self { path, state: State::Owed };
        let state = match probed {
            Ok(()) if there => State::There,
            Ok(()) if new => State::Wanted(None),
            // It was used for an earlier opening, or never made.
            Ok(()) => match reserve.make(files) {
                Ok(()) => State::There,
                Err(error) if is_full(&error) => State::Owed,
                Err(error) => return Err(error),
            },
            Err(_) if there => {
                tracing::error!("no space to open the journal: using what was held back for this");
                files.remove(&reserve.path)?;
                State::Owed
            }
            // It may do without.
            Err(_) => State::Owed,
        };
        reserve.state = state;
        Ok(reserve)
    }

    /// Whether it was given up and must be made before anything else is written.
    pub(super) fn is_owed(&self) -> bool {
        self.state == State::Owed
    }

    /// Gives it up, for what lets other space go; `false` when there is none.
    pub(super) fn give_up(&mut self, files: &Files) -> io::Result<bool> {
        if self.state != State::There {
            return Ok(false);
        }
        tracing::warn!("no space to let old segments go: using what was held back for opening the journal");
        files.remove(&self.path)?;
        self.state = State::Owed;
        Ok(true)
    }

    /// Makes it where it was given up.
    pub(super) fn repay(&mut self, files: &Files) -> io::Result<()> {
        if self.state == State::Owed {
            self.make(files)?;
        }
        Ok(())
    }

    /// Makes it where it is missing and was not tried lately.
    pub(super) fn make_at_leisure(&mut self, files: &Files) {
        let State::Wanted(tried) = self.state else { return };
        if tried.is_some_and(|tried| tried.elapsed() < AGAIN) {
            return;
        }
        if let Err(error) = self.make(files) {
            self.state = State::Wanted(Some(Instant::now()));
            tracing::warn!(%error, "cannot hold back space for opening on a full disk");
        }
    }

    fn make(&mut self, files: &Files) -> io::Result<()> {
        let temp = self.path.with_extension("tmp");
        let made = files.create(&temp).and_then(|file| {
            files.reserve(&file, &temp, 0, RESERVE_BYTES)?;
            files.sync(&file, &temp)
        });
        if let Err(error) = made.and_then(|()| files.rename(&temp, &self.path)) {
            files.remove(&temp)?;
            return Err(error);
        }
        self.state = State::There;
        Ok(())
    }
}
