//! The state folder and its lock: one process at a time.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::journal::files::Files;
use crate::journal::words::OpenError;

/// Makes the state folder, 0700, unless it is there.
pub(super) fn prepare(files: &Files, dir: &Path) -> Result<(), OpenError> {
    files.make_dir(dir).map_err(|error| {
        let shown = dir.display();
        OpenError::Io(match error.kind() {
            io::ErrorKind::NotFound => format!("the state folder `{shown}` cannot be made: the folder it is in does not exist; make that one, or set `state` to another place"),
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => format!("the state folder `{shown}` cannot be used: a file has that name; set `state` to another place"),
            io::ErrorKind::PermissionDenied => format!("the state folder `{shown}` cannot be made: permission denied; give this user the right to write there, or set `state` to another place"),
            _ => format!("the state folder `{shown}` cannot be made: {error}"),
        })
    })
}

/// An operation on the state folder failed.
pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> OpenError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "; give this user the right to read and write it",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; make room and start again, nothing is lost"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; the file system is mounted read-only",
        _ => "",
    };
    OpenError::Io(format!("cannot {what} `{}`: {error}{remedy}", path.display()))
}

/// Takes the lock, for as long as the file lives. Does not wait. [`sign`] writes who has it.
pub(super) fn take(files: &Files, dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let mut file = files.open(&path).map_err(|error| failed("open", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = (&mut file).take(32).read_to_string(&mut holder);
            let holder = match holder.trim() {
                pid if read.is_ok() && !pid.is_empty() => format!(" (pid {pid})"),
                _ => String::new(),
            };
            Err(OpenError::Locked(format!(
                "the state folder `{}` is in use by another process{holder}; stop that one, or set `state` to another folder",
                dir.display()
            )))
        }
        Err(TryLockError::Error(error)) => Err(failed("lock", &path, &error)),
    }
}

/// Writes our process id into the lock file, for whoever meets it.
pub(super) fn sign(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}
