//! Connectors made of OpenAPI descriptions, through the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openapi").join(name)
}

fn import(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tripline"));
    command.args(["connector", "import"]).args(arguments).current_dir(folder).stdin(Stdio::null());
    command.output().expect("runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    let all = format!("{}{}", out(output), err(output));
    assert!(!all.contains("panicked") && !all.contains("overflowed"), "{all}");
    output.status.code()
}

#[test]
fn a_description_becomes_a_file_and_the_report_says_what_is_not_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let everything = fixture("everything.yaml");
    let arguments = [everything.to_str().expect("a path"), "--out", "connectors/everything.yaml"];
    let done = import(folder.path(), &arguments);
    assert_eq!(code(&done), Some(0), "{}{}", out(&done), err(&done));
    let said = out(&done);
    for words in [
        "imported: 13 of 24 operations (23 asked for) into connectors/everything.yaml, connector everything-api",
        "held back: remote-reference (2)",
        "`paths.yaml#/away` is in another document",
        "#/paths/~1away",
        "left out: pattern (1)",
        "secrets are read from: EVERYTHING_API_CLIENT_ID, EVERYTHING_API_CLIENT_SECRET",
    ] {
        assert!(said.contains(words), "`{words}` in: {said}");
    }
    let target = folder.path().join("connectors/everything.yaml");
    let first = std::fs::read_to_string(&target).expect("written");
    assert!(first.starts_with("# yaml-language-server: $schema="), "{first}");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("connectors")).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing else is left behind");

    // Not again, unless it is said.
    let again = import(folder.path(), &arguments);
    assert_eq!((code(&again), err(&again).contains("--force")), (Some(1), true), "{}", err(&again));
    std::fs::write(&target, "mine").expect("written");
    assert_eq!(code(&import(folder.path(), &[&arguments[..], &["--force", "-q"]].concat())), Some(0));
    assert_eq!(std::fs::read_to_string(&target).expect("written"), first);
}

#[test]
fn without_a_file_it_goes_to_stdout_and_json_is_one_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = fixture("plain31.json");
    let plain = plain.to_str().expect("a path");
    let printed = import(folder.path(), &[plain, "--name", "mine"]);
    assert_eq!(code(&printed), Some(0));
    assert!(out(&printed).contains("\nconnector: mine\n") && err(&printed).contains("imported: 1 of 1 operation"), "{}", err(&printed));
    let object = import(folder.path(), &[plain, "--name", "mine", "--json"]);
    let object: Value = serde_json::from_slice(&object.stdout).expect("JSON");
    assert_eq!(object["text"].as_str(), Some(out(&printed).as_str()));
    assert_eq!((&object["imported"], &object["of"], &object["left_out"][0]["reason"]), (&1.into(), &1.into(), &"webhooks".into()));

    // From stdin.
    let mut command = Command::new(env!("CARGO_BIN_EXE_tripline"));
    let file = std::fs::File::open(plain).expect("opens");
    let piped = command.args(["connector", "import", "-", "--name", "mine"]).stdin(file).output().expect("runs");
    assert_eq!(out(&piped), out(&printed));
}

#[test]
fn what_cannot_be_imported_says_why_and_how_to_mend_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("swagger.json", r#"{"swagger": "2.0", "paths": {}}"#);
    write("broken.json", "{\"openapi\": \"3.0.0\",\n  \"paths\": {,}}");
    write("twice.json", r#"{"openapi": "3.0.0", "paths": {"/a": {}, "/a": {}}}"#);
    write("deep.json", &format!(r#"{{"openapi": "3.0.0", "x": {}"#, "[".repeat(1_000_000)));
    write("empty.yaml", "");
    std::fs::write(folder.path().join("bytes.json"), [0xff, 0xfe, 0x00]).expect("written");
    let no_server = fixture("no-server.yaml");
    let no_server = no_server.to_str().expect("a path");
    let everything = fixture("everything.yaml");
    let everything = everything.to_str().expect("a path");
    for (arguments, expected, words) in [
        (&["swagger.json"][..], 1, &["Swagger 2.0", "swagger2openapi"][..]),
        (&["broken.json"], 1, &["broken.json:2:"]),
        (&["twice.json"], 1, &["duplicate key `/a`"]),
        (&["deep.json"], 1, &["nested more than"]),
        (&["empty.yaml"], 1, &["the file is empty"]),
        (&["bytes.json"], 2, &["no UTF-8"]),
        (&["nowhere.json"], 2, &["cannot read `nowhere.json`"]),
        (&[no_server], 1, &["no absolute URL", "--base-url", "--name NAME"]),
        (&[no_server, "--name", "x", "--base-url", "x.example"], 1, &["`x.example` is no base URL"]),
        (&[everything, "--operations", "create_thin"], 1, &["`create_thin`", "did you mean `create_thing`?"]),
        (&[everything, "--operations", " , "], 2, &["no operation is named"]),
        (&[everything, "--operations", "protobuf"], 1, &["none of 24 operations", "media-type"]),
    ] {
        let output = import(folder.path(), arguments);
        let said = format!("{}{}", out(&output), err(&output));
        assert_eq!(code(&output), Some(expected), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "`{word}` of {arguments:?} in: {said}");
        }
    }
    let json = import(folder.path(), &["broken.json", "--json"]);
    let object: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&object["faults"][0]["code"], &object["faults"][0]["line"]), (&"json".into(), &2.into()));
    assert!(!folder.path().join("connectors").exists());
}
