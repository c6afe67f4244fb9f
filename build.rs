//! Asks the linker for a smaller program, and one of which fewer pages are read, in release builds: as far as it can.
//!
//! - A program that moves in memory carries a list of the pointers that move with it; packed (RELR) it takes a twentieth. It
//!   then starts with glibc 2.36 or newer only, so this is asked for where the machine that builds has that.
//! - Functions with the same machine code are kept once (ICF).
//! - Functions that every start runs stand next to each other: see `start.txt`. An idle daemon holds the pages of its code, and
//!   so half as many.
//!
//! The last two are known to `lld`, the linker of `rustc` on x86-64.

#![allow(clippy::disallowed_methods, reason = "a build script is told by the environment what it builds")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The packed list of pointers.
const PACKED: &str = "-Wl,-z,pack-relative-relocs";

/// Equal functions once.
const FOLDED: &str = "-Wl,--icf=all";

/// The functions of a start.
const START: &str = "start.txt";

/// What shows whether a program linked so starts here.
const PROBE: &str = "fn main() {}";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={START}");
    let value = |name: &str| std::env::var(name).unwrap_or_default();
    // Debug builds gain nothing. A program for another machine cannot be tried here.
    if value("PROFILE") != "release" || value("HOST") != value("TARGET") || value("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    let folder = PathBuf::from(value("OUT_DIR"));
    if starts_with(&[PACKED], &folder) {
        println!("cargo::rustc-link-arg-bins={PACKED}");
    }
    let names = std::fs::read_to_string(START).unwrap_or_default();
    let script = folder.join("start.ld");
    let ordered = format!("-Wl,-T,{}", script.display());
    if std::fs::write(&script, script_of(&names)).is_ok() && starts_with(&[FOLDED, &ordered], &folder) {
        println!("cargo::rustc-link-arg-bins={FOLDED}");
        println!("cargo::rustc-link-arg-bins={ordered}");
    }
}

/// The linker script that has these functions before all others.
fn script_of(names: &str) -> String {
    let names = names.lines().filter(|name| !name.is_empty() && !name.starts_with('#'));
    let lines: String = names.map(|name| format!("*(.text.{name} .text.unlikely.{name})\n")).collect();
    format!("SECTIONS {{ .text.start : {{\n{lines}}} }} INSERT BEFORE .text;\n")
}

/// Whether a program linked with `flags` is made, and starts.
fn starts_with(flags: &[&str], folder: &Path) -> bool {
    let (source, program) = (folder.join("probe.rs"), folder.join("probe"));
    let mut compiler = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()));
    compiler.args(["--edition", "2024", "-o"]).args([&program, &source]);
    compiler.args(flags.iter().flat_map(|flag| ["-C".to_owned(), format!("link-arg={flag}")]));
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        compiler.arg("-C").arg(format!("linker={linker}"));
    }
    let rust_flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    compiler.args(rust_flags.split('\x1f').filter(|flag| !flag.is_empty()));
    std::fs::write(&source, PROBE).is_ok()
        && compiler.output().is_ok_and(|made| made.status.success())
        && Command::new(&program).output().is_ok_and(|ran| ran.status.success())
}
