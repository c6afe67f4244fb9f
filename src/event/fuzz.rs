//! Fuzzed input that is near something meaningful: raw bytes alone rarely get past the first look of a parser. What led
//! somewhere once is kept in `tests/corpus`, a folder for each target, and is tried in every run of the tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Asks a target all inputs that are kept for it, then new ones.
macro_rules! over_inputs {
    ($target:expr) => {{
        fn here() {}
        let target = $target;
        $crate::event::fuzz::kept(std::any::type_name_of_val(&here)).iter().for_each(|input| target(input));
        bolero::check!().for_each(target);
    }};
}
pub(crate) use over_inputs;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The inputs that are kept for the target with a function of this name inside: of `a::fuzz::b`, those in `a.b`.
pub(crate) fn kept(inside: &str) -> Vec<Vec<u8>> {
    let path = inside.split("::").skip(1).filter(|part| !matches!(*part, "fuzz" | "here")).collect::<Vec<_>>();
    let Ok(entries) = std::fs::read_dir(corpus().join(path.join("."))) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).expect("an input")).collect()
}

/// The targets: the tests in files named `fuzz.rs` that try inputs.
fn targets(dir: &Path, module: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            targets(&path, &format!("{module}{name}."), found);
        } else if name == "fuzz" {
            let text = std::fs::read_to_string(&path).expect("text");
            let tests = text.split("#[test]\nfn ").skip(1).filter(|test| test.contains("    over_inputs!(|"));
            found.extend(tests.map(|test| format!("{module}{}", test.split('(').next().expect("a name"))));
        }
    }
}

#[test]
fn inputs_are_kept_for_every_target_and_for_no_other() {
    let mut found = BTreeSet::new();
    targets(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    let kept: BTreeSet<String> = std::fs::read_dir(corpus())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|folder| std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()))
        .map(|folder| folder.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, kept, "`make fuzz` and `make corpus` keep inputs for a new target; remove the folder of one that is gone");
    assert!(kept.contains("yaml.any_text_is_read_or_refused_with_places"));
}

/// Edits made to one seed.
const EDITS_MAX: usize = 64;

/// Bytes that mean something to one parser or another.
const TOKENS: &[&[u8]] = &[
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"0x10",
    b"9223372036854775808",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"\n",
    b"\t",
    b"  ",
    b"${",
    b"$${",
    b"}",
    b"*",
    b"&a ",
    b"*a",
    b"!tag ",
    b"---\n",
    b"# ",
    b"'",
    b"|\n",
    b"? ",
    b"==",
    b"&&",
    b"||",
    b"(",
    b")",
    b".",
    b",",
    b"\xff",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
    b"\0",
    b"0001-01-01T00:00:00Z",
    b"$or",
    b"anything-but",
    b"numeric",
    b"sha256=",
    b"=",
    b"-_",
    b"+/",
];

/// One of the seeds with edits that `input` spells, or, for a quarter of all inputs, the rest of `input` itself.
pub(crate) fn near(seeds: &[&[u8]], input: &[u8]) -> Vec<u8> {
    let Some((first, rest)) = input.split_first() else { return Vec::new() };
    if seeds.is_empty() || first % 4 == 0 {
        return rest.to_vec();
    }
    let mut bytes = seeds[usize::from(first / 4) % seeds.len()].to_vec();
    for edit in rest.chunks_exact(4).take(EDITS_MAX) {
        let at = (usize::from(edit[1]) << 8 | usize::from(edit[2])) % (bytes.len() + 1);
        let end = bytes.len().min(at + usize::from(edit[3] % 32) + 1);
        match edit[0] % 6 {
            0 => bytes.insert(at, edit[3]),
            1 if at < bytes.len() => bytes[at] = edit[3],
            2 if at < end => drop(bytes.drain(at..end)),
            3 if at < end => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(end..end, copy));
            }
            4 => {
                let token = TOKENS[usize::from(edit[3]) % TOKENS.len()];
                drop(bytes.splice(at..at, token.iter().copied()));
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// The same for texts; what is no UTF-8 becomes a replacement character.
pub(crate) fn near_text(seeds: &[&str], input: &[u8]) -> String {
    let seeds: Vec<&[u8]> = seeds.iter().map(|seed| seed.as_bytes()).collect();
    String::from_utf8_lossy(&near(&seeds, input)).into_owned()
}
