//! Asks the linker for a smaller program in release builds, as far as it can: `lld` and glibc 2.36 can, others go without.
//!
//! A program that moves in memory carries a list of the pointers that move with it; packed (RELR) it takes a twentieth. Functions
//! with the same machine code are kept once (ICF). Both cost nothing while it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is asked for; each is left out where it is not understood.
const WANTED: [&str; 2] = ["-Wl,-z,pack-relative-relocs", "-Wl,--icf=all"];

/// A program that shows whether one linked so starts here.
const PROBE: &str = "fn main() {}";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let value = |name: &str| std::env::var(name).unwrap_or_default();
    // Debug builds gain nothing. A program for another machine cannot be tried here.
    let tried = value("PROFILE") == "release" && value("HOST") == value("TARGET") && value("CARGO_CFG_TARGET_ENV") == "gnu";
    if !tried {
        return;
    }
    let folder = PathBuf::from(value("OUT_DIR"));
    for flag in WANTED.into_iter().filter(|flag| starts_with(flag, &folder)) {
        println!("cargo::rustc-link-arg-bins={flag}");
    }
}

/// Whether a program linked with `flag` is made, and starts.
fn starts_with(flag: &str, folder: &Path) -> bool {
    let (source, program) = (folder.join("probe.rs"), folder.join("probe"));
    let mut compiler = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()));
    compiler.args(["--edition", "2024", "-C", &format!("link-arg={flag}"), "-o"]).args([&program, &source]);
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        compiler.arg("-C").arg(format!("linker={linker}"));
    }
    let rust_flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    compiler.args(rust_flags.split('\x1f').filter(|flag| !flag.is_empty()));
    std::fs::write(&source, PROBE).is_ok()
        && compiler.output().is_ok_and(|made| made.status.success())
        && Command::new(&program).output().is_ok_and(|ran| ran.status.success())
}
