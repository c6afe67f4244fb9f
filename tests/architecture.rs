//! The floors of ARCHITECTURE.md as a test: a module uses only floors below its own, decisions touch nothing outside,
//! and files stay short enough to be held in the head.

use std::fs;
use std::path::{Path, PathBuf};

/// Top floor first, in the order of the table in `src/lib.rs`.
const FLOORS: &[&[&str]] = &[
    &["cli"],
    &["daemon", "sandbox"],
    &["intake", "poll", "register", "router", "watch", "dispatch", "admin"],
    &["orchestrator", "calls"],
    &["journal", "http", "clock", "panics"],
    &["config"],
    &["runs", "hooks"],
    &["rules"],
    &["connectors"],
    &["signature", "normalize", "retry", "embedded"],
    &["expr", "yaml"],
    &["event", "time", "fault", "headers", "secret", "metric", "printable"],
];

/// Modules on one floor that may know each other: words and their plumbing.
const NEIGHBOURS: &[(&str, &str)] = &[("event", "time"), ("journal", "clock"), ("http", "clock"), ("secret", "fault")];

/// What the sandbox may use: the plumbing and the words, no decision that it is there to test.
const SANDBOX_MAY_USE: &[&str] = &["http", "event", "time", "clock"];

/// Lines of a file without its unit tests.
const FILE_LINES_MAX: usize = 400;

/// The highest floor of decisions: `config`.
const DECISIONS: usize = 6;

/// Words that must not stand in decisions.
const BANNED_IN_DECISIONS: &[&str] = &["tokio::", "sled::", "hyper::", "reqwest::", "::now()", "env::var"];

/// The one exception: what `config` reads goes through `config::World`, whose real form reads the environment.
const WORLD: &str = "config/world.rs";

fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).expect("below src").to_owned();
            let module = relative.components().next().expect("a name").as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).expect("text");
            (module, relative, text)
        })
        .filter(|(module, _, _)| module != "lib" && module != "main")
        .collect()
}

/// The text without its unit tests and comments: what counts as code of the module.
fn code(text: &str) -> String {
    let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// A file that holds only tests.
fn is_test_file(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests" || stem == "fuzz") || path.components().any(|c| c.as_os_str() == "tests")
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().rev().position(|floor| floor.contains(&module))
}

/// Names after `crate::` in the code.
fn used(code: &str) -> Vec<String> {
    code.match_indices("crate::").map(|(at, _)| code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn every_module_stands_on_a_floor() {
    for (module, path, _) in sources() {
        assert!(floor(&module).is_some(), "{} stands on no floor: choose one in tests/architecture.rs", path.display());
    }
}

#[test]
fn modules_use_only_lower_floors() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        if is_test_file(&path) {
            continue;
        }
        let Some(own) = floor(&module) else { continue };
        for name in used(&code(&text)) {
            if name == module {
                continue;
            }
            match floor(&name) {
                Some(other) if other < own => {}
                Some(_) if NEIGHBOURS.contains(&(module.as_str(), name.as_str())) => {}
                Some(_) => wrong.push(format!("{}: `{module}` uses `{name}`, which is not below it", path.display())),
                None => wrong.push(format!("{}: `crate::{name}` is no module; name the module in the path", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_sandbox_shares_no_decision_with_what_it_tests() {
    for (module, path, text) in sources() {
        if module == "sandbox" {
            for name in used(&code(&text)) {
                let allowed = name == "sandbox" || SANDBOX_MAY_USE.contains(&name.as_str());
                assert!(allowed, "{} uses `{name}`", path.display());
            }
        }
    }
}

#[test]
fn decisions_touch_nothing_outside() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        if floor(&module).is_some_and(|f| f <= DECISIONS) && !is_test_file(&path) && !path.ends_with(WORLD) {
            let code = code(&text);
            wrong.extend(BANNED_IN_DECISIONS.iter().filter(|word| code.contains(**word)).map(|word| format!("{}: {word}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_name_their_module() {
    for (_, path, text) in sources() {
        assert!(!text.contains("crate::{"), "{}: write one `use crate::module::…` per module", path.display());
        assert!(!text.contains("super::super"), "{}: name the module in place of `super::super`", path.display());
    }
}

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    for (_, path, text) in sources() {
        let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
        let lines = text[..end].lines().count();
        if lines > FILE_LINES_MAX && !is_test_file(&path) {
            long.push(format!("{}: {lines} lines; split it by its nouns (at most {FILE_LINES_MAX})", path.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
