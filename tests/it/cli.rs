//! The command line: exit codes, what goes to which stream, JSON shapes, and what happens when nobody reads.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Daemon, Folder, failed_item, start_sandbox, until};

/// Nothing listens there: the discard port, which needs privileges to bind.
const NOBODY: &str = "127.0.0.1:9";

const RULE: &str = "\
rule: follow-up
events: queueItem.transactionFailed
queues: [Invoices]
when: content.Amount > 1000
steps:
  - enqueue: {queue: Review, reference: \"r-${item.Reference}\"}
tests:
  - name: a failure is followed up
    event: {type: queueItem.transactionFailed, data: {Queue: {Name: Invoices}, QueueItem: {Id: 1, Reference: A, SpecificContent: {Amount: 5000}}}}
    expect:
      - enqueue: {queue: Review, reference: r-A}
";

fn folder() -> Folder {
    let folder = Folder::new(&format!("http://{NOBODY}"));
    folder.rule("follow-up", RULE);
    folder
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", stdout(output), stderr(output)))
}

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn check(folder: &Folder, arguments: &[&str], expected: i32, word: &str) -> Output {
    let output = folder.output(arguments);
    let all = format!("{}{}", stdout(&output), stderr(&output));
    assert_eq!(code(&output), expected, "{arguments:?}: {all}");
    assert!(all.contains(word), "`{word}` of {arguments:?} in: {all}");
    assert!(!all.contains("panicked"), "{all}");
    output
}

#[test]
fn help_and_versions_go_where_they_belong() {
    let folder = folder();
    let none = folder.output(&[]);
    assert_eq!(code(&none), 2);
    assert!(none.stdout.is_empty() && stderr(&none).contains("Usage: tripline"), "{}", stderr(&none));
    for help in ["-h", "--help"] {
        let output = folder.output(&[help]);
        assert_eq!(code(&output), 0);
        assert!(output.stderr.is_empty() && stdout(&output).contains("Usage: tripline"));
    }
    for version in ["-V", "--version"] {
        let output = folder.output(&[version]);
        assert_eq!((code(&output), stdout(&output).as_str()), (0, concat!("tripline ", env!("CARGO_PKG_VERSION"), "\n")));
    }
    check(&folder, &["events"], 2, "list");
}

#[test]
fn wrong_usage_is_2_with_a_suggestion() {
    let folder = folder();
    for (arguments, word) in [
        (&["chekc"][..], "check"),
        (&["check", "--jsno"], "--json"),
        (&["check", "--json", "--json"], "multiple times"),
        (&["check", "-c", "a", "-c", "b"], "multiple times"),
        (&["check", "--config="], "--config"),
        (&["check", "-v", "-q"], "cannot be used with"),
        (&["events", "list", "--since", "2026-02-30"], "a date"),
        (&["events", "list", "--since", "yesterday"], "2h"),
        (&["events", "list", "--limit", "0"], "1..="),
        (&["events", "list", "--all", "--limit", "5"], "cannot be used with"),
        (&["runs", "list", "--state", "ded"], "did you mean `dead`?"),
        (&["runs", "list", "--by", "moon"], "cause"),
        (&["runs", "retry"], "required"),
        (&["send", "--type", "queueItem.aded"], "did you mean `queueItem.added`?"),
        (&["send", "--type", "a", "b"], "leave --type out"),
        (&["completions", "cmd"], "bash"),
        // There is no way to give a secret as an argument: arguments are public.
        (&["check", "--secret", "x"], "unexpected argument"),
        (&["events", "list", "--token", "x"], "unexpected argument"),
    ] {
        check(&folder, arguments, 2, word);
    }
}

#[test]
fn commands_of_later_versions_say_so() {
    let folder = folder();
    for command in ["doctor", "top"] {
        check(&folder, &[command, "--any", "thing"], 2, &format!("`{command}` is not in this version"));
    }
}

/// Nothing has it.
#[test]
fn what_is_no_id_is_not_found() {
    let folder = folder();
    for (arguments, word) in [
        (["events", "show", "x"], "no event id"),
        (["runs", "show", "x"], "no run id"),
        (["runs", "retry", "x"], "no run id"),
        (["runs", "accept", "x"], "no run id"),
        (["runs", "discard", "x"], "no run id"),
    ] {
        check(&folder, &arguments, 1, word);
    }
}

#[test]
fn init_makes_what_check_and_test_accept_and_overwrites_nothing() {
    let folder = folder();
    check(&folder, &["init", "new"], 0, "tripline.yaml");
    let secret = folder.path("new/secrets/webhook");
    let text = std::fs::read_to_string(&secret).expect("a secret");
    assert!(text.trim_end().len() == 64 && text.trim_end().bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
    assert_eq!(std::fs::metadata(&secret).expect("a file").permissions().mode() & 0o777, 0o600);
    let checked = check(&folder, &["check", "-c", "new/tripline.yaml"], 0, "ok: 1 rule, 2 sources, 1 orchestrator");
    assert!(!stdout(&checked).contains("error"), "{}", stdout(&checked));
    check(&folder, &["test", "-c", "new/tripline.yaml", "--require-tests"], 0, "3 passed, 0 failed");
    check(&folder, &["init", "new"], 1, "new/tripline.yaml");
    assert_eq!(std::fs::read_to_string(&secret).expect("a secret"), text);
    // Nothing half: one file in the way, and no other is written.
    std::fs::create_dir_all(folder.path("half/rules")).expect("a folder");
    folder.write("half/rules/escalate-failed-invoice.yaml", "mine");
    check(&folder, &["init", "half"], 1, "escalate-failed-invoice.yaml");
    assert!(!folder.path("half/tripline.yaml").exists() && !folder.path("half/secrets").exists());
}

#[test]
fn check_says_yes_no_or_could_not_tell() {
    let folder = folder();
    let output = check(&folder, &["check"], 0, "ok: 1 rule, 1 source, 1 orchestrator");
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
    assert!(check(&folder, &["check", "-q"], 0, "").stdout.is_empty());
    folder.rule(
        "any",
        "rule: any\nevents: job.completed\nmatch: {Job: {Info: [{exists: false}]}}\nsteps:\n  - emit: {type: seen, data: {}}\n",
    );
    let output = check(&folder, &["check", "-v"], 0, "`any` has nothing in `match` to be indexed by");
    assert!(!stdout(&output).contains("`follow-up` has nothing"), "{}", stdout(&output));
    std::fs::remove_file(folder.path("rules/any.yaml")).expect("removed");
    check(&folder, &["check", "-c", "missing.yaml"], 2, "`missing.yaml` does not exist");
    check(&folder, &["check", "-c", "rules"], 2, "is a folder");
    folder.write("empty.yaml", "");
    check(&folder, &["check", "-c", "empty.yaml"], 1, "it needs `sources`");
    folder.write("-odd.yaml", "rules: rules\n");
    check(&folder, &["check", "--config=-odd.yaml"], 0, "no-sources");
    folder.write("bad.yaml", "lissen: 1\nlimits:\n  body: 5\nrules: nowhere\n");
    let output = check(&folder, &["check", "-c", "bad.yaml"], 1, "3 errors");
    assert!(stdout(&output).contains("bad.yaml:1:1: error[unknown-key]: unknown key `lissen`"), "{}", stdout(&output));
    assert!(stdout(&output).contains("1 | lissen: 1") && stdout(&output).contains("^^^^^^"), "{}", stdout(&output));
    folder.rule("broken", "rule: x\nwhne: y\nsteps: []\n");
    let output = check(&folder, &["check"], 1, "rules/broken.yaml:2:1: error");
    assert!(stdout(&output).contains("warning[secret-plain]"), "all faults at once: {}", stdout(&output));
    assert!(stdout(&output).contains("did you mean `when`?"), "{}", stdout(&output));
    let bytes = std::ffi::OsStr::from_bytes(b"\xff.yaml");
    let output = folder.command(&["check", "-c"]).arg(bytes).output().expect("runs");
    assert_eq!(code(&output), 2, "{}", stderr(&output));
}

#[test]
fn check_tells_all_faults_of_all_files_at_once_each_with_a_remedy() {
    let folder = folder();
    folder.write(
        "rules/bad.yaml",
        "rule: bad\nevents: job.faulted\nsources: [gone, later]\nsteps:\n  - {id: a, wait: never}\n  - {id: a, wait: 5m}\n",
    );
    std::fs::create_dir_all(folder.path("connectors")).expect("a folder");
    folder.write("connectors/crm.yaml", "connector: crm\nbase_url: https://crm.corp\noperatons: {}\n");
    // What the broken source would have been called is nothing that a rule is to be blamed for.
    let config = "listen: here\nlimits: {connections: 0, body: 5, header_timeout: 3 parsecs}\nconnectors: connectors/\nstate: ''\nlog: {level: loud}\n\
        sources: {later: {webhook: {path: x}}, gone: 5}\n";
    folder.write("bad.yaml", config);
    let told = json_of(&check(&folder, &["check", "-c", "bad.yaml", "--json"], 1, ""));
    let faults = told["faults"].as_array().expect("a list");
    let of = |file: &str| {
        faults.iter().filter(|fault| fault["file"] == file).map(|fault| fault["code"].as_str().expect("a code")).collect::<Vec<_>>()
    };
    assert!(of("bad.yaml").len() > 6, "{told:#}");
    assert_eq!(of("rules/bad.yaml"), ["bad-moment", "duplicate-id"], "{told:#}");
    assert!(of("connectors/crm.yaml").contains(&"unknown-key"), "{told:#}");
    for fault in faults {
        assert!(fault["help"].as_str().is_some_and(|help| !help.is_empty()), "{fault:#}");
    }
    check(&folder, &["test", "-c", "bad.yaml"], 1, "rules/bad.yaml:6:10");
}

#[test]
fn check_as_json_has_the_documented_shape() {
    let folder = folder();
    let faults = json_of(&check(&folder, &["check", "--json"], 0, ""));
    // Secrets are written out in these tests, which is a warning.
    assert!(faults["faults"].as_array().expect("a list").iter().all(|fault| fault["severity"] == "warning"), "{faults}");
    folder.write("bad.yaml", "lissen: 1\n");
    let faults = json_of(&check(&folder, &["check", "-c", "bad.yaml", "--json"], 1, ""));
    let fault = &faults["faults"][0];
    let mut names: Vec<&str> = fault.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["code", "column", "file", "help", "line", "message", "severity"]);
    assert_eq!((&fault["file"], &fault["line"], &fault["column"]), (&json!("bad.yaml"), &json!(1), &json!(1)));
    assert_eq!((&fault["severity"], &fault["code"]), (&json!("error"), &json!("unknown-key")));
}

#[test]
fn secrets_are_warnings_to_check_and_errors_to_run_and_never_printed() {
    let folder = folder();
    let text = std::fs::read_to_string(folder.path("tripline.yaml")).expect("a file");
    folder.write("env.yaml", &text.replace("[\"canary-webhook-secret-0123456789\"]", "[{env: TRIPLINE_TEST_NOT_SET}]"));
    check(&folder, &["check", "-c", "env.yaml"], 0, "warning[secret-unresolved]");
    check(&folder, &["run", "-c", "env.yaml"], 78, "error[secret-unresolved]");
    for arguments in [&["check", "-v"][..], &["check", "--json"], &["check", "-c", "env.yaml"], &["test"]] {
        let output = folder.output(arguments);
        assert!(!format!("{}{}", stdout(&output), stderr(&output)).contains("canary"), "{arguments:?}: {}", stdout(&output));
    }
}

#[test]
fn run_refuses_a_wrong_configuration_with_78() {
    let folder = folder();
    check(&folder, &["run", "-c", "missing.yaml"], 78, "does not exist");
    for (name, text, word) in [
        ("unknown", "lissen: 1\n", "did you mean `listen`?"),
        ("admin", "admin: 0.0.0.0:0\n", "admin_token"),
        ("yaml", "a: [\n", "error[yaml]"),
        ("rules", "rules: nowhere\n", "`rules`"),
    ] {
        folder.write(&format!("{name}.yaml"), text);
        check(&folder, &["run", "-c", &format!("{name}.yaml")], 78, word);
    }
    let output = folder.command(&["run"]).env("TRIPLINE_LISTEN", "here").output().expect("runs");
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("TRIPLINE_LISTEN"), "{}", stderr(&output));
}

#[test]
fn tests_pass_fail_and_name_the_difference() {
    let folder = folder();
    check(&folder, &["test"], 0, "1 passed, 0 failed");
    let report = json_of(&check(&folder, &["test", "--json"], 0, ""));
    assert_eq!((&report["passed"], &report["failed"]), (&json!(1), &json!(0)));
    assert_eq!(report["tests"], json!([{"rule": "follow-up", "name": "a failure is followed up", "passed": true, "why": null}]));
    check(&folder, &["test", "folow-up"], 1, "did you mean `follow-up`?");
    check(&folder, &["test", "follow-up"], 0, "1 passed");
    folder.rule("follow-up", &RULE.replace("reference: r-A}", "reference: other}"));
    let output = check(&folder, &["test"], 1, "FAIL follow-up > a failure is followed up");
    assert!(stdout(&output).contains("other") && stdout(&output).contains("r-A"), "{}", stdout(&output));
    let report = json_of(&check(&folder, &["test", "--json"], 1, ""));
    assert!(report["failed"] == json!(1) && report["tests"][0]["why"].is_string(), "{report}");
    let (bare, _) = RULE.split_once("tests:").expect("tests");
    folder.rule("follow-up", bare);
    check(&folder, &["test"], 0, "0 passed, 0 failed");
    check(&folder, &["test", "--require-tests"], 1, "has no tests");
    folder.rule("broken", "rule: [\n");
    check(&folder, &["test"], 1, "broken.yaml");
    check(&folder, &["test", "-c", "missing.yaml"], 2, "does not exist");
}

#[test]
fn explain_takes_bodies_events_and_stdin() {
    let folder = folder();
    folder.write("body.json", &failed_item(7).to_string());
    let output = check(&folder, &["explain", "body.json"], 0, "matched");
    assert!(stdout(&output).contains("queueItem.transactionFailed") && stdout(&output).contains("follow-up"), "{}", stdout(&output));
    let explained = json_of(&check(&folder, &["explain", "body.json", "--json"], 0, ""));
    assert_eq!(explained["event"]["type"], "queueItem.transactionFailed");
    assert_eq!(explained["rules"], json!([{"rule": "follow-up", "matched": true, "because": null}]));
    let mut small = failed_item(8);
    small["QueueItem"]["SpecificContent"]["Amount"] = json!(5);
    let mut child = folder.command(&["explain", "-", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("stdin").write_all(small.to_string().as_bytes()).expect("written");
    let explained = json_of(&child.wait_with_output().expect("ends"));
    let rule = &explained["rules"][0];
    assert_eq!((&rule["matched"], &rule["because"]["path"]), (&json!(false), &json!("when")));
    for field in ["path", "expected", "found", "hint"] {
        assert!(rule["because"].get(field).is_some(), "{rule}");
    }
    folder.write("event.json", &explained["event"].to_string());
    assert_eq!(json_of(&folder.output(&["explain", "event.json", "--json"]))["rules"], explained["rules"]);
    folder.write("broken.json", "{\"Type\": ");
    check(&folder, &["explain", "broken.json"], 0, "tripline.unparsed");
    check(&folder, &["explain", "missing.json"], 2, "missing.json");
    check(&folder, &["explain", "body.json", "--source", "hok"], 2, "did you mean `hook`?");
    folder.write("odd.json", "{\"type\": 5}");
    check(&folder, &["explain", "odd.json"], 2, "expected a string");
}

#[test]
fn a_closed_stdout_is_no_error() {
    let folder = folder();
    for arguments in [&["check"][..], &["check", "--json"], &["test"], &["completions", "bash"], &["send", "--list"], &["--help"]] {
        let mut child = folder.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().expect("stderr").read_to_string(&mut said).expect("text");
        let status = child.wait().expect("ends");
        assert_eq!(status.code(), Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn colours_are_for_terminals_and_nobody_else() {
    let folder = folder();
    folder.write("bad.yaml", "lissen: 1\n");
    let run = |name: &str, value: &str, more: &str| {
        let mut command = folder.command(&["check", "-c", "bad.yaml"]);
        let output = command.env(name, value).env(more, "1").output().expect("runs");
        stdout(&output).contains('\u{1b}')
    };
    assert!(!run("TERM", "xterm-256color", "UNRELATED"), "not a terminal");
    assert!(run("TERM", "xterm-256color", "CLICOLOR_FORCE"), "asked for");
    assert!(!run("NO_COLOR", "1", "UNRELATED"));
    let narrow = folder.command(&["check", "-c", "bad.yaml"]).env("COLUMNS", "20").env("TERM", "dumb").output().expect("runs");
    assert!(stdout(&narrow).contains("unknown key `lissen` in the configuration"), "{}", stdout(&narrow));
}

#[test]
fn without_a_daemon_the_answer_says_so() {
    let folder = folder();
    for arguments in [
        &["events", "list", "--admin", NOBODY][..],
        &["events", "tail", "--admin", NOBODY],
        &["runs", "list", "--admin", NOBODY],
        &["healthcheck", "--admin", NOBODY],
        &["healthcheck", "--admin", "unix:/nowhere/admin.sock"],
    ] {
        check(&folder, arguments, 2, "no daemon at");
    }
    let id = "01JD8Z3V6Q4K3W5T9M2N7P8R1S-0123456789abcdef";
    check(&folder, &["runs", "retry", id, "--admin", NOBODY], 2, "only the daemon changes");
    check(&folder, &["healthcheck", "--admin", "http://u:p@x"], 2, "without credentials");
    // An address that is named needs no configuration.
    let output =
        Command::new(env!("CARGO_BIN_EXE_tripline")).args(["healthcheck", "--admin", NOBODY]).current_dir("/").output().expect("runs");
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("no daemon at"), "{}", stderr(&output));
    // Nobody ran here yet: there is no journal to read either.
    folder.write("fixed.yaml", "admin: 127.0.0.1:9\nrules: rules\n");
    check(&folder, &["events", "list", "-c", "fixed.yaml"], 2, "no journal in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_the_same_with_and_without_the_daemon() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("follow-up", &RULE.replace("queue: Review", "queue: Invoices-Review"));
    let daemon = Daemon::start(&folder).await;
    check(&folder, &["healthcheck"], 0, "ready");
    check(&folder, &["events", "list"], 0, "no events");
    check(&folder, &["send", "--type", "job.completed"], 0, "202");
    check(&folder, &["send"], 0, "202");
    folder.write("body.json", &failed_item(77_777_777_777).to_string());
    check(&folder, &["send", "body.json"], 0, "202");
    check(&folder, &["send", "body.json"], 0, "\"folded\":1");
    until("both runs succeed", async || (daemon.runs("succeeded").await.len() == 2).then_some(())).await;

    let lists: [&[&str]; 6] = [
        &["events", "list", "--json"],
        &["events", "list", "--json", "--type", "queueItem.*", "--limit", "1"],
        &["events", "list", "--json", "--rule", "follow-up"],
        &["events", "list", "--json", "--since", "1h", "--source", "hook", "--all"],
        &["runs", "list", "--json", "--state", "succeeded"],
        &["runs", "list", "--json", "--key", "items/77777777777"],
    ];
    let with: Vec<Vec<Value>> = lists.iter().map(|arguments| json_lines(&check(&folder, arguments, 0, ""))).collect();
    assert_eq!(with.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1, 2, 3, 2, 1]);
    let types: Vec<&str> = with[0].iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types, ["job.completed", "queueItem.transactionFailed", "queueItem.transactionFailed"]);
    assert_eq!((&with[0][2], &with[0][2]["folded"]["count"]), (&with[1][0], &json!(1)));
    let run = &with[4][0];
    for field in ["id", "rule", "event", "state", "attempts", "created", "updated", "next_at", "cause", "steps"] {
        assert!(run.get(field).is_some(), "`{field}` in {run}");
    }
    let (event, run) = (with[0][2]["id"].as_str().expect("an id"), run["id"].as_str().expect("an id"));
    let table = check(&folder, &["events", "list"], 0, event);
    assert!(stdout(&table).contains("queues/Invoices/items/77777777777") && stdout(&table).contains("+1"), "{}", stdout(&table));
    check(&folder, &["runs", "list", "--by", "cause"], 0, "none");
    check(&folder, &["runs", "retry", run], 1, "only dead runs");
    let shown = [check(&folder, &["events", "show", event], 0, "Invoices"), check(&folder, &["runs", "show", run], 0, "follow-up")];
    folder.write("event.json", &stdout(&shown[0]));
    assert_eq!(json_of(&check(&folder, &["explain", "event.json", "--json"], 0, ""))["rules"][0]["matched"], json!(true));

    daemon.kill9();
    check(&folder, &["healthcheck"], 2, "no daemon at");
    let without: Vec<Vec<Value>> = lists.iter().map(|arguments| json_lines(&check(&folder, arguments, 0, ""))).collect();
    assert_eq!(with, without);
    assert_eq!(stdout(&check(&folder, &["events", "show", event], 0, "")), stdout(&shown[0]));
    assert_eq!(stdout(&check(&folder, &["runs", "show", run], 0, "")), stdout(&shown[1]));
    check(&folder, &["events", "show", "01JD8Z3V6Q4K3W5T9M2N7P8R1S"], 1, "there is no event");
    check(&folder, &["events", "show", "01JD8Z3V6Q4K3W5T9M2N7P8R1S"], 1, "one of 2024-11-22T03:37:09.591Z may have had its time");
    check(&folder, &["runs", "show", "01JD8Z3V6Q4K3W5T9M2N7P8R1S-0123456789abcdef"], 1, "for dead runs `retention.dead`");
    check(&folder, &["send"], 2, "is `tripline run` running?");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_behind_a_unix_socket_is_found() {
    let folder = folder();
    let text = std::fs::read_to_string(folder.path("tripline.yaml")).expect("a file");
    folder.write("tripline.yaml", &text.replace("admin: 127.0.0.1:0", "admin: unix:admin.sock"));
    let mut child = folder.command(&["run"]).stderr(Stdio::null()).spawn().expect("starts");
    until("it is ready", async || (code(&folder.output(&["healthcheck", "-q"])) == 0).then_some(())).await;
    check(&folder, &["send"], 0, "202");
    assert_eq!(json_lines(&check(&folder, &["events", "list", "--json"], 0, "")).len(), 1);
    let socket = format!("unix:{}", folder.path("admin.sock").display());
    check(&folder, &["healthcheck", "--admin", &socket], 0, "ready");
    child.kill().expect("killed");
    child.wait().expect("gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_follows_until_ctrl_c() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let daemon = Daemon::start(&folder).await;
    let (_, first) = daemon.deliver(&failed_item(1)).await.expect("an answer");
    let mut child = folder
        .command(&["events", "tail", "--json", "--type", "queueItem.*", "--after", first["events"][0].as_str().expect("an id")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let read = tokio::task::spawn_blocking(move || lines.next().expect("a line").expect("text"));
    daemon.deliver(&json!({"Type": "ping", "EventId": "p"})).await.expect("an answer");
    let (_, second) = daemon.deliver(&failed_item(2)).await.expect("an answer");
    let line: Value = serde_json::from_str(&read.await.expect("read")).expect("JSON");
    assert_eq!(line["id"], second["events"][0]);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(kill.success());
    let status = until("tail ends", async || child.try_wait().expect("waits")).await;
    assert_eq!(status.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_follows_the_files_of_a_journal_whose_daemon_is_gone() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let daemon = Daemon::start(&folder).await;
    let (_, first) = daemon.deliver(&failed_item(1)).await.expect("an answer");
    daemon.deliver(&json!({"Type": "ping", "EventId": "p"})).await.expect("an answer");
    let (_, second) = daemon.deliver(&failed_item(2)).await.expect("an answer");
    daemon.kill9();
    let after = first["events"][0].as_str().expect("an id");
    let mut child = folder
        .command(&["events", "tail", "--json", "--type", "queueItem.*", "--after", after])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let read = tokio::task::spawn_blocking(move || (lines.next().expect("a line").expect("text"), lines));
    let (line, mut lines) = read.await.expect("read");
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON")["id"], second["events"][0]);
    // What comes later comes too, whoever writes it.
    let daemon = Daemon::start(&folder).await;
    let (_, third) = daemon.deliver(&failed_item(3)).await.expect("an answer");
    let line = tokio::task::spawn_blocking(move || lines.next().expect("a line").expect("text")).await.expect("read");
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON")["id"], third["events"][0]);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill").success());
    let status = until("tail ends", async || child.try_wait().expect("waits")).await;
    assert_eq!(status.code(), Some(130));
    let mut said = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut said).expect("text");
    assert!(said.contains("no daemon at") && said.contains("following the journal's files"), "{said}");
}

#[tokio::test]
async fn the_variable_that_moves_the_admin_listener_moves_the_commands_too() {
    let folder = folder();
    let with_admin = |arguments: &[&str], admin: &str| {
        let mut command = folder.command(arguments);
        command.env("TRIPLINE_ADMIN", admin);
        command
    };
    let mut child = with_admin(&["run"], "127.0.0.1:0").stderr(Stdio::null()).spawn().expect("starts");
    let ready = async || with_admin(&["healthcheck", "-q"], "127.0.0.1:0").status().expect("runs").success().then_some(());
    until("it is ready", ready).await;
    assert!(with_admin(&["send", "--type", "ping"], "127.0.0.1:0").output().expect("runs").status.success());
    child.kill().expect("killed");
    child.wait().expect("gone");
    // Nobody listens any more: the journal of the configuration is read.
    for admin in ["127.0.0.1:0", NOBODY] {
        let output = with_admin(&["events", "list", "--json"], admin).output().expect("runs");
        assert_eq!((code(&output), json_lines(&output).len()), (0, 1), "{}", stderr(&output));
    }
}
