//! The files that people deploy with: systemd takes the units, and their exposure stays low.

use std::path::Path;
use std::process::Command;

use crate::support::{rounds, skip};

/// The highest exposure that the unit may have, in tenths (`systemd-analyze security` goes from 0 to 10).
const EXPOSURE_TENTHS_MAX: u32 = 15;

fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            Some((output.status.success(), text))
        }
        Err(_) => {
            skip("the units", "there is no systemd-analyze on this machine");
            None
        }
    }
}

/// The units in a folder of their own, with the binary of this build in place of the installed one.
fn units() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    for name in ["tripline.service", "tripline.socket"] {
        let text = std::fs::read_to_string(from.join(name)).expect("a unit");
        let text = text.replace("/usr/bin/tripline", env!("CARGO_BIN_EXE_tripline"));
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

#[test]
fn systemd_takes_the_units() {
    let folder = units();
    let path = |name: &str| folder.path().join(name).display().to_string();
    if let Some((good, text)) = analyze(&["verify", "--man=no", &path("tripline.service"), &path("tripline.socket")]) {
        assert!(good && !text.contains("tripline."), "{text}");
    }
}

#[test]
fn the_unit_is_hardly_exposed() {
    let folder = units();
    let path = folder.path().join("tripline.service").display().to_string();
    if let Some((good, text)) = analyze(&["security", "--offline=yes", "--no-pager", &path]) {
        assert!(good, "{text}");
        let level = text.rsplit("exposure level for tripline.service: ").next().and_then(|rest| rest.split_whitespace().next());
        let tenths = level.and_then(|level| level.replace('.', "").parse::<u32>().ok()).unwrap_or_else(|| panic!("no level in {text}"));
        assert!(tenths <= EXPOSURE_TENTHS_MAX, "{text}");
    }
}

#[test]
fn a_crash_leaves_no_memory_with_secrets_behind() {
    let unit = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/tripline.service")).expect("a unit");
    for line in ["LimitCORE=0", "UMask=0077", "StateDirectoryMode=0700"] {
        assert!(unit.lines().any(|found| found == line), "no `{line}`");
    }
}

#[test]
fn the_image_runs_without_root_and_knows_its_health() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile")).expect("a Dockerfile");
    for line in ["USER 65532:65532", "VOLUME [\"/var/lib/tripline\"]", "HEALTHCHECK", "\"healthcheck\"", "TRIPLINE_LISTEN=0.0.0.0:8080"] {
        assert!(text.contains(line), "no `{line}`");
    }
}

/// `deploy/container/verify.sh`, whose steps are printed; it compiles with optimisation, hence only by `make image`.
#[test]
fn the_image_takes_a_signed_delivery_as_an_unprivileged_user_with_a_root_that_it_cannot_write() {
    /// The script says with this that something it needs is not there.
    const NOT_HERE: i32 = 75;
    let what = "the image";
    if rounds("TRIPLINE_IMAGE", 0) == 0 {
        return skip(what, "it is built with optimisation, which takes long; `make image` does it");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("sh").arg(root.join("deploy/container/verify.sh")).output().expect("sh");
    let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(NOT_HERE) {
        return skip(what, why.trim());
    }
    println!("{said}");
    assert!(output.status.success(), "{said}{why}");
    assert!(said.contains("signed delivery: 202") && said.contains("the image is good"), "{said}");
}
