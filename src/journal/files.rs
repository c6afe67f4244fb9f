//! Every operation on the file system that the journal depends on goes through here.
//!
//! One seam, so that a test can make any single one of them fail and see what becomes of the promise. Knows nothing of
//! what is written. Only plain files are opened: what else stands under a name (a pipe, a device) would be waited for.

use std::fmt;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, IoSlice, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, major, minor, statx};
use rustix::io::Errno;

/// Zeros are written in pieces of so many bytes: little enough to be kept by an idle process.
const ZEROS_BYTES: usize = 1 << 16;

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileOp {
    /// A file is made or opened for writing.
    Open,
    /// Bytes are written at an offset.
    Write,
    /// Zeros are written ahead of the records.
    Reserve,
    /// `fdatasync` or `fsync` of a file.
    Sync,
    /// A file gets its name.
    Rename,
    /// A folder is synced.
    SyncDir,
    /// A file is cut behind its last record.
    Truncate,
    /// A file is removed.
    Remove,
}

/// Asked before each operation; an error is what the operation answers then.
pub(super) type Hook = dyn Fn(FileOp, &Path) -> io::Result<()> + Send + Sync;

/// The file system, with an optional hook before each operation.
#[derive(Clone, Default)]
pub(super) struct Files(Option<Arc<Hook>>);

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Files(hooked)" } else { "Files" })
    }
}

impl Files {
    /// With a hook, for tests of failures.
    #[cfg(test)]
    pub(super) fn hooked(hook: Arc<Hook>) -> Self {
        Self(Some(hook))
    }

    fn ask(&self, op: FileOp, path: &Path) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |hook| hook(op, path))
    }

    /// Opens a file for reading and writing, 0600; made when missing, kept as it is otherwise.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        self.ask(FileOp::Open, path)?;
        plain(path, OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600))
    }

    /// Opens an empty file for reading and writing, 0600; what was there is gone, unless it is a folder.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.ask(FileOp::Open, path)?;
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            std::fs::remove_file(path)?;
        }
        plain(path, OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600))
    }

    /// Writes all of `bytes` at `offset`.
    pub(super) fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.ask(FileOp::Write, path)?;
        file.write_all_at(bytes, offset)
    }

    /// Writes all of `slices`, one behind the other, from `offset` on.
    pub(super) fn write_slices_at(&self, file: &File, path: &Path, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        self.ask(FileOp::Write, path)?;
        while !slices.is_empty() {
            match rustix::io::pwritev(file, slices, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut slices, written);
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Has the file system keep space for `from..to` without writing it: what is there reads as zeros. Where it cannot do
    /// that, zeros are written and synced, because it may find only then that there is no space for them.
    pub(super) fn reserve(&self, file: &File, path: &Path, from: u64, to: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        self.ask(FileOp::Reserve, path)?;
        match fallocate(file, FallocateFlags::empty(), from, to.saturating_sub(from)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.zero(file, path, from, to)?;
                self.sync(file, path)
            }
            Ok(()) => Ok(()),
            Err(error) => {
                // What some file systems took before they found too little: others need it, we cannot use it.
                file.set_len(from)?;
                Err(error.into())
            }
        }
    }

    /// Writes zeros in `from..to`, so that the blocks are there and written.
    pub(super) fn zero(&self, file: &File, path: &Path, from: u64, to: u64) -> io::Result<()> {
        self.ask(FileOp::Reserve, path)?;
        let zeros = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).min(ZEROS_BYTES)];
        let mut at = from;
        while at < to {
            let count = (to - at).min(zeros.len() as u64) as usize;
            file.write_all_at(&zeros[..count], at)?;
            at += count as u64;
        }
        Ok(())
    }

    /// `fdatasync`.
    pub(super) fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.ask(FileOp::Sync, path)?;
        file.sync_data()
    }

    /// Renames; durable after [`Files::sync_dir`].
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(FileOp::Rename, from)?;
        std::fs::rename(from, to)
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.ask(FileOp::SyncDir, dir)?;
        File::open(dir)?.sync_all()
    }

    /// Cuts a file at `length`: what was prepared behind it is given back.
    pub(super) fn truncate(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        self.ask(FileOp::Truncate, path)?;
        file.set_len(length)
    }

    /// Removes a file that may be gone already; durable after [`Files::sync_dir`].
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(FileOp::Remove, path)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// A whole small file, replaced at once: temp, fsync, rename, folder fsync.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temp = path.with_extension("tmp");
        let file = self.create(&temp)?;
        self.write_at(&file, &temp, bytes, 0)?;
        self.sync(&file, &temp)?;
        self.rename(&temp, path)?;
        path.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }

    /// Makes a folder, 0700, unless it is there.
    pub(super) fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.ask(FileOp::Open, dir)?;
        match std::fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            Ok(()) => dir.parent().filter(|p| !p.as_os_str().is_empty()).map_or(Ok(()), |parent| self.sync_dir(parent)),
            Err(error) => Err(error),
        }
    }
}

/// Which file it is, whatever its name.
///
/// Nothing else is asked of the file system: one that was asked for a file's times gives the next write a time of its own, and a
/// block more is written with each sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: (u32, u32),
    number: u64,
}

impl Identity {
    /// That of an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Self::found(statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::INO), || file.metadata())
    }

    /// That of what stands under `path`.
    pub(super) fn named(path: &Path) -> io::Result<Self> {
        Self::found(statx(CWD, path, AtFlags::empty(), StatxFlags::INO), || std::fs::metadata(path))
    }

    /// Of what was answered, or, where a sandbox forbids to ask so, of all that is said of the file.
    fn found(answer: Result<Statx, Errno>, all: impl FnOnce() -> io::Result<Metadata>) -> io::Result<Self> {
        match answer {
            Err(Errno::NOSYS | Errno::PERM) => {
                let found = all()?;
                Ok(Self { device: (major(found.dev()), minor(found.dev())), number: found.ino() })
            }
            answer => Ok(answer.map(|found| Self { device: (found.stx_dev_major, found.stx_dev_minor), number: found.stx_ino })?),
        }
    }
}

/// Opens a file for reading.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    plain(path, OpenOptions::new().read(true))
}

/// All of a file.
pub(crate) fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file as `options` say, and never waits for whoever is at the other end of a pipe.
fn plain(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let found = match &opened {
        Ok(file) => file.metadata(),
        // A folder is not opened for writing, a socket not at all.
        Err(_) => std::fs::metadata(path),
    };
    match found {
        Ok(found) if !found.is_file() => Err(foreign(path, found.file_type())),
        _ => opened,
    }
}

/// Why something that is no plain file is not used.
fn foreign(path: &Path, found: FileType) -> io::Error {
    let what = match found {
        found if found.is_dir() => "folder",
        found if found.is_fifo() => "named pipe",
        found if found.is_socket() => "socket",
        _ => "device",
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    io::Error::other(format!("`{name}` is a {what} where a file should be; move it away"))
}

/// Whether an error says that there is no room, which may change by itself: no space, no quota, or a limit on file size.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_wherever_it_stands_and_however_it_is_asked_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        let file = Files::default().open(&path("one")).expect("opens");
        let other = Files::default().open(&path("other")).expect("opens");
        let identity = Identity::of(&file).expect("is there");
        std::fs::rename(path("one"), path("renamed")).expect("moves");
        assert_eq!(Identity::named(&path("renamed")).expect("is there"), identity);
        assert_ne!(Identity::of(&other).expect("is there"), identity);
        assert_eq!(Identity::named(&path("one")).expect_err("is not there").kind(), io::ErrorKind::NotFound);
        for forbidden in [Errno::NOSYS, Errno::PERM] {
            assert_eq!(Identity::found(Err(forbidden), || file.metadata()).expect("is there"), identity);
        }
    }
}
