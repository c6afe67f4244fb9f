//! What the configuration reads besides its text: the environment and files. The only file of this module that
//! touches either.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What the configuration reads besides its text: the environment and files. Tests give their own.
pub trait World {
    /// An environment variable; nothing where it is unset or no UTF-8.
    fn var(&self, name: &str) -> Option<String>;
    /// A file's bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// A file's bytes, and no more than one beyond `max`: enough to tell that it is too large.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at_most(&self, path: &Path, max: usize) -> io::Result<Vec<u8>> {
        self.read(path).map(|mut bytes| {
            bytes.truncate(max.saturating_add(1));
            bytes
        })
    }
    /// The permission bits of a file, where the system has them.
    fn mode(&self, path: &Path) -> Option<u32>;
    /// The files directly in a folder, symbolic links followed, in no order; links that lead nowhere too.
    ///
    /// # Errors
    /// As the operating system says; `NotADirectory` for a file.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// The folder that relative paths of the command line are relative to.
    fn current_dir(&self) -> PathBuf;
}

/// The real environment and file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealWorld;

impl World for RealWorld {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn read_at_most(&self, path: &Path, max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[cfg(unix)]
    fn mode(&self, path: &Path) -> Option<u32> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).ok().map(|meta| meta.permissions().mode() & 0o7777)
    }

    #[cfg(not(unix))]
    fn mode(&self, _path: &Path) -> Option<u32> {
        None
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            // A link that leads nowhere or in a circle is not left out: reading it says what is wrong.
            if std::fs::metadata(&path).map_or(true, |meta| meta.is_file()) {
                files.push(path);
            }
        }
        Ok(files)
    }

    fn current_dir(&self) -> PathBuf {
        std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
    }
}

/// A world of values, for tests: variables, files with their modes, folders by the files in them.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeWorld {
    vars: std::collections::BTreeMap<String, String>,
    files: std::collections::BTreeMap<PathBuf, (Vec<u8>, u32)>,
    folders: std::collections::BTreeSet<PathBuf>,
}

#[cfg(test)]
impl FakeWorld {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn with_file(self, path: &str, text: &str) -> Self {
        self.with_bytes(path, text.as_bytes(), 0o600)
    }

    pub(crate) fn with_bytes(mut self, path: &str, bytes: &[u8], mode: u32) -> Self {
        self.files.insert(PathBuf::from(path), (bytes.to_owned(), mode));
        self
    }

    pub(crate) fn with_folder(mut self, path: &str) -> Self {
        self.folders.insert(PathBuf::from(path));
        self
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.folders.contains(path) || self.files.keys().any(|file| file.parent() == Some(path))
    }
}

#[cfg(test)]
impl World for FakeWorld {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.files.get(path) {
            Some((bytes, 0)) if !bytes.is_empty() => Err(io::ErrorKind::PermissionDenied.into()),
            Some((bytes, _)) => Ok(bytes.clone()),
            None if self.is_folder(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.files.get(path).map(|(_, mode)| *mode)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        if self.files.contains_key(folder) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if !self.is_folder(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.files.keys().filter(|file| file.parent() == Some(folder)).cloned().collect())
    }

    fn current_dir(&self) -> PathBuf {
        PathBuf::from("/home/ops")
    }
}
