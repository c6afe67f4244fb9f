//! A file that appears under its name when all of it is written and on disk, and not at all otherwise.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// While it is written it stands beside its name; what is not finished is removed.
pub(super) struct WholeFile {
    path: PathBuf,
    beside: PathBuf,
    file: BufWriter<File>,
    stopped: Arc<AtomicBool>,
}

impl WholeFile {
    /// A new file for this user alone; there must be none of this name.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        free(path)?;
        let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let beside = path.with_file_name(name);
        let stopped = when_stopped()?;
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        Ok(Self { path: path.to_owned(), beside, file: BufWriter::new(file), stopped })
    }

    /// Whether somebody asked for the end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Gives it its name, for good.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.file.get_ref().sync_all()?;
        free(&self.path)?;
        fs::rename(&self.beside, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        // Once it has its name there is nothing here any more.
        drop(fs::remove_file(&self.beside));
    }
}

fn free(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists already")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Set when the process is asked to end; from now on it does not die of that by itself.
fn when_stopped() -> io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    drop(entered);
    let stopped = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stopped);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        set.store(true, Ordering::Relaxed);
    })?;
    Ok(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).expect("lists").map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("dump");
        let mut file = WholeFile::create(&path).expect("made");
        file.write_all(b"half").expect("writes");
        assert!(!path.exists());
        drop(file);
        assert!(names(dir.path()).is_empty(), "what was not finished is gone");

        let mut file = WholeFile::create(&path).expect("made");
        file.write_all(b"all of it").expect("writes");
        file.finish().expect("finishes");
        assert_eq!((names(dir.path()), fs::read(&path).expect("reads")), (vec!["dump".to_owned()], b"all of it".to_vec()));
        assert!(WholeFile::create(&path).is_err(), "never over one that is there");

        let other = dir.path().join("other");
        let mut file = WholeFile::create(&other).expect("made");
        file.stopped.store(true, Ordering::Relaxed);
        assert!(file.write_all(b"more").is_err());
        drop(file);
        let file = WholeFile::create(&other).expect("made");
        fs::write(&other, b"somebody else's").expect("writes");
        assert!(file.finish().is_err());
        assert_eq!((names(dir.path()).len(), fs::read(&other).expect("reads")), (2, b"somebody else's".to_vec()));
    }
}
