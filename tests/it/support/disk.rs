//! File systems of a test's own: an ext4 image behind a loop device, or memory of a fixed size. Both need root; a test that cannot
//! have one says so and passes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says on the real standard error, which a passing test does not hide, that a test was skipped.
pub(crate) fn skip(test: &str, why: &str) {
    writeln!(std::io::stderr(), "\nSKIPPED {test}: {why}").expect("standard error");
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test")
}

/// A file system, mounted while this lives.
pub(crate) struct Disk {
    at: PathBuf,
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whatever still has a file open, the mount does not outlive the test.
        if let Err(why) = run("umount", &["-l", text(&self.at)]) {
            eprintln!("left behind: {why}");
        }
    }
}

impl Disk {
    /// Makes an image with an empty ext4 in it.
    pub(crate) fn make(image: &Path, bytes: u64) -> Result<(), String> {
        std::fs::File::create(image).and_then(|file| file.set_len(bytes)).map_err(|error| format!("an image: {error}"))?;
        run("mkfs.ext4", &["-q", "-F", text(image)])
    }

    /// Mounts an image.
    pub(crate) fn mount(image: &Path, at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run("mount", &["-o", "loop", text(image), text(at)])?;
        Ok(Self { at: at.to_owned() })
    }

    /// An ext4 of its own.
    pub(crate) fn ext4(image: &Path, at: &Path, bytes: u64) -> Result<Self, String> {
        Self::make(image, bytes)?;
        Self::mount(image, at)
    }

    /// One in memory.
    pub(crate) fn memory(at: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", text(at)])?;
        Ok(Self { at: at.to_owned() })
    }

    /// Makes it read-only, `ro`, or not, `rw`.
    pub(crate) fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}"), text(&self.at)]).expect("mounted anew");
    }

    /// Has the file system meet an error of its own, after which it takes no more writes.
    pub(crate) fn break_down(&self) -> Result<(), String> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let device = mounts.lines().find_map(|line| line.strip_prefix("/dev/")?.split_once(&format!(" {} ", text(&self.at))));
        let path = format!("/sys/fs/ext4/{}/trigger_fs_error", device.ok_or("no device")?.0);
        std::fs::write(&path, "1").map_err(|error| format!("{path}: {error}"))
    }

    /// Copies what an image's device was given so far, as a power cut leaves it.
    pub(crate) fn copy(image: &Path, to: &Path) -> Result<(), String> {
        run("cp", &["--sparse=always", text(image), text(to)])
    }

    /// Uses up all space; what is written is removed by removing the file that comes back.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.at.join("ballast");
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).expect("a file");
        for step in [1 << 20, 1 << 14, 1 << 10] {
            while file.write_all(&vec![1; step]).is_ok() {}
        }
        drop(file.sync_all());
        path
    }
}
