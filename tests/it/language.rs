//! Rule files in bad shape, and the tools that tell why a rule did or did not: through the real binary.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Daemon, Folder, failed_item, start_sandbox, until};

fn folder() -> Folder {
    Folder::new("http://127.0.0.1:9")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a command: its exit code, and what it says, which must hold every word.
fn check(folder: &Folder, arguments: &[&str], code: i32, words: &[&str]) -> String {
    let output = folder.output(arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "`{word}` of {arguments:?} in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("overflowed"), "{said}");
    said
}

const GOOD: &str = "rule: good\nevents: job.faulted\nsteps: [{emit: {type: acme.seen}}]\n";

/// A rule file that is a fault by itself: where, and the words of the remedy.
#[test]
fn rule_files_in_bad_shape_say_what_where_and_how_to_mend_it() {
    let head = "rule: r\nevents: job.faulted\n";
    let steps = "steps: [{emit: {type: acme.seen}}]\n";
    for (text, place, words) in [
        (format!("rule: r\nevents: *\n{steps}"), "2:", &["\"*\" in quotes"][..]),
        (format!("{head}when: !has(job.Info)\n{steps}"), "3:", &["quote the whole value: '!has(job.Info)'"]),
        (format!("{head}when: job.Id > 1 ? true : false\n{steps}"), "3:", &["quote the whole value"]),
        (format!("{head}when: job.Info == \"a #b\"\n{steps}"), "3:", &["begins a comment"]),
        (format!("{head}steps: [{{emit: {{type: a.b, data: {{id: ${{job.Id}}}}}}}}]\n"), "3:", &["put it in quotes"]),
        (format!("{head}steps:\n  - emit: {{type: a.b, data: {{id: {{{{ job.Id }}}}}}}}\n"), "4:", &["error[yaml]"]),
        (format!("{head}steps:\n  - emit:\n      type: a.b\n      data: {{{{ job.Id }}}}\n"), "6:", &["templates are written `${…}`"]),
        (format!("{head}match: {{Job: {{State: Faulted}}}}\n{steps}"), "3:22", &["write: State: [Faulted]"]),
        (format!("{head}match: {{Job: {{State: no}}}}\n{steps}"), "3:22", &["write: State: [\"no\"]"]),
        (format!("{head}match: {{Job: {{Key: 0123}}}}\n{steps}"), "3:20", &["write: Key: [\"0123\"]"]),
        (format!("{head}description: \"a\"\"\n{steps}"), "3:", &["a quote too many"]),
        (format!("{head}description: 'it's'\n{steps}"), "3:", &["'' inside a value in single quotes"]),
        (format!("{head}\twhen: x\n{steps}"), "3:", &["replace the tab"]),
        (format!("{head}mode: live\nmode: off\n{steps}"), "4:1", &["duplicate key `mode`, first in line 3"]),
        (format!("{head}whne: job.Id > 1\n{steps}"), "3:1", &["did you mean `when`?"]),
        (format!("rule: r\non: job.faulted\nevents: job.faulted\n{steps}"), "2:1", &["in other YAML tools `on` means true"]),
        (format!("{head}when: {}job.Id > 1{}\n{steps}", "(".repeat(1000), ")".repeat(1000)), "3:", &["nested deeper than 64"]),
        (format!("{head}when: job.Id == 0{}\n{steps}", " || job.Id == 0".repeat(260)), "3:", &["more than 512 operators"]),
        (format!("{head}when: job.Info.matches(\"(a\")\n{steps}"), "3:16", &["unclosed group"]),
        (format!("{head}when: job.Info.matches(\"a(?!b)\")\n{steps}"), "3:16", &["look-around"]),
        (format!("{head}when: \"job.Id > 4 && 1 > 'x'\"\n{steps}"), "3:7", &["`1 > 'x'`", "double("]),
        (format!("rule: {}\nevents: job.faulted\n{steps}", "x".repeat(300)), "1:7", &["1 to 128"]),
        (format!("{head}steps: {}\n", "[".repeat(5_000)), "3:", &["error["]),
        (format!("{head}steps: {}x{}\n", "[".repeat(199), "]".repeat(199)), "3:", &["error["]),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b\n".to_owned(), "3:", &["error[yaml]"]),
        ("\0\u{1}\u{2}: ]\n".to_owned(), "1:", &["error["]),
        ("- just\n- a list\n".to_owned(), "1:1", &["expected a mapping"]),
        ("just text".to_owned(), "1:1", &["expected a mapping"]),
    ] {
        let folder = folder();
        folder.rule("bad", &text);
        folder.rule("good", GOOD);
        let mut words = words.to_vec();
        let at = format!("rules/bad.yaml:{place}");
        words.push(&at);
        let shown = check(&folder, &["check"], 1, &words);
        assert!(shown.len() < 8_000, "{} characters for {}", shown.len(), &text[..text.len().min(200)]);
        check(&folder, &["test"], 1, &[&at]);
    }
}

#[test]
fn words_that_yaml_takes_for_something_else_stay_text() {
    let folder = folder();
    folder.rule(
        "words",
        "rule: no\nevents: job.faulted\nmatch: {Job: {a: [no, on, off, y, 0123, 1_000, ~x]}}\nsteps:\n  - emit: {type: a.b, data: {v: [no, on, 0123, 1_000, 2026-01-01]}}\ntests:\n  - name: \"off\"\n    event: {type: job.faulted, data: {Job: {a: \"no\"}}}\n    expect: [{emit: {data: {v: [\"no\", \"on\", \"0123\", \"1_000\", \"2026-01-01\"]}}}]\n  - name: leading zero\n    event: {type: job.faulted, data: {Job: {a: \"0123\"}}}\n    expect: {matched: true}\n",
    );
    check(&folder, &["test"], 0, &["2 passed, 0 failed"]);
}

/// What stops a reader elsewhere stops it here with a word, soon, and in little memory.
#[test]
fn bombs_giants_and_links_are_refused_by_name() {
    let folder = folder();
    let bomb: String = std::iter::once("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned())
        .chain((1..12).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(","))))
        .collect();
    folder.rule("bomb", &bomb);
    check(&folder, &["check"], 1, &["rules/bomb.yaml"]);
    std::fs::remove_file(folder.path("rules/bomb.yaml")).expect("removed");

    // A hundred mebibytes, sparse: what is read is bounded, not what is there.
    let giant = std::fs::File::create(folder.path("rules/giant.yaml")).expect("a file");
    giant.set_len(100 << 20).expect("a length");
    folder.rule("good", GOOD);
    check(&folder, &["check"], 1, &["giant.yaml", "error[file-too-large]", "split it into several files"]);
    std::fs::remove_file(folder.path("rules/giant.yaml")).expect("removed");

    // Links in a circle and into nothing are no rules that are silently left out.
    std::os::unix::fs::symlink("b.yaml", folder.path("rules/a.yaml")).expect("a link");
    std::os::unix::fs::symlink("a.yaml", folder.path("rules/b.yaml")).expect("a link");
    std::os::unix::fs::symlink("nowhere.yaml", folder.path("rules/c.yaml")).expect("a link");
    check(&folder, &["check"], 2, &["rules/a.yaml", "rules/b.yaml", "rules/c.yaml` does not exist"]);
    ["a", "b", "c"].iter().for_each(|name| std::fs::remove_file(folder.path(&format!("rules/{name}.yaml"))).expect("removed"));

    // A link to a rule is one; a folder is none, and neither is a hidden file or one of another kind.
    folder.write("elsewhere.yaml", "rule: linked\nevents: job.faulted\nsteps: [{emit: {type: acme.seen}}]\n");
    std::os::unix::fs::symlink("../elsewhere.yaml", folder.path("rules/linked.yaml")).expect("a link");
    std::fs::create_dir(folder.path("rules/folder.yaml")).expect("a folder");
    folder.write("rules/.hidden.yaml", "]");
    folder.write("rules/notes.txt", "]");
    check(&folder, &["check"], 0, &["ok: 2 rules"]);

    std::fs::write(folder.path("rules/latin.yaml"), b"rule: caf\xe9\n").expect("written");
    check(&folder, &["check"], 1, &["rules/latin.yaml:1:10", "no UTF-8 text: byte 0xe9"]);
    std::fs::write(
        folder.path("rules/latin.yaml"),
        "\u{feff}rule: \u{1f680}\r\nevents: job.faulted\r\nsteps: [{emit: {type: acme.seen}}]\r\n",
    )
    .expect("written");
    check(&folder, &["check"], 0, &["ok: 3 rules"]);
    folder.write("rules/empty.yaml", "# nothing\n");
    check(&folder, &["check"], 0, &["warning[no-rules]: the file has 0 rules"]);
}

#[test]
fn circles_of_rules_and_what_has_no_index_are_named() {
    let folder = folder();
    let rule = |name: &str, from: &str, to: &str| {
        format!(
            "rule: {name}\nevents: queueItem.added\nqueues: [{from}]\nsteps: [{{enqueue: {{queue: {to}, reference: \"{name}-${{item.Id}}\"}}}}]\n"
        )
    };
    folder.rule("one", &rule("one", "A", "B"));
    folder.rule("two", &rule("two", "B", "A"));
    folder.rule("any", "rule: any\nevents: job.faulted\nmatch: {Job: {Info: [{exists: false}]}}\nsteps: [{emit: {type: acme.seen}}]\n");
    let shown = check(&folder, &["check", "-v"], 0, &["rules/one.yaml:4:9", "warning[rule-loop]", "`one` → `two` → `one`"]);
    assert!(shown.contains("`any` has nothing in `match` to be indexed by"), "{shown}");
}

const TESTED: &str = "\
rule: review-large
events: queueItem.transactionFailed
queues: [Invoices]
when: content.Amount > 1000 && item.RetryNumber >= 2
steps:
  - id: item
    enqueue: {queue: Invoices-Review, reference: \"r-${item.Reference}\", content: {Amount: \"${content.Amount}\"}}
  - emit: {type: acme.reviewed, data: {item: \"${steps.item.Id}\"}}
tests:
  - name: passes
    event: {type: queueItem.transactionFailed, data: {Queue: {Name: Invoices}, QueueItem: {Reference: A, RetryNumber: 2, SpecificContent: {Amount: 5000}}}}
    replies: {item: {Id: 1}}
    expect: [{enqueue: {reference: r-A}}]
  - name: fails on <purpose> & says so
    event: {type: queueItem.transactionFailed, data: {Queue: {Name: Invoices}, QueueItem: {Reference: A, RetryNumber: 2, SpecificContent: {Amount: 5000}}}}
    replies: {item: {Id: 1}}
    expect: [{enqueue: {reference: r-B, content: {Amount: 1}}}]
";

#[test]
fn tests_are_chosen_by_name_and_reported_for_ci() {
    let folder = folder();
    folder.rule("large", TESTED);
    folder.rule("other", "rule: report-job\nevents: job.faulted\nsteps: [{emit: {type: acme.seen}}]\ntests:\n  - {name: seen, event: {type: job.faulted}, expect: [{emit: {type: acme.seen}}]}\n");
    check(&folder, &["test", "report-*"], 0, &["1 passed, 0 failed"]);
    check(&folder, &["test", "report-job", "re*"], 1, &["2 passed, 1 failed"]);
    check(&folder, &["test", "nothing-*"], 1, &["no rule is named like `nothing-*`"]);
    check(&folder, &["test", "a**b"], 2, &["two `*` in a row"]);
    let failed = check(&folder, &["test", "--junit", "report.xml"], 1, &["2 passed, 1 failed"]);
    assert!(failed.contains("expect[0].enqueue.reference: expected \"r-B\", got \"r-A\""), "{failed}");
    assert!(failed.contains("expect[0].enqueue.content.Amount: expected 1, got 5000"), "{failed}");
    let xml = std::fs::read_to_string(folder.path("report.xml")).expect("a report");
    for word in [
        "<testsuites name=\"tripline\" tests=\"3\" failures=\"1\" errors=\"0\">",
        "<testcase name=\"fails on &lt;purpose&gt; &amp; says so\" classname=\"review-large\"",
        "<failure message=\"expect[0].enqueue.reference: expected &quot;r-B&quot;, got &quot;r-A&quot;\">",
        "expect[0].enqueue.content.Amount: expected 1, got 5000</failure>",
    ] {
        assert!(xml.contains(word), "{word} in {xml}");
    }
    check(&folder, &["test", "--junit", "nowhere/report.xml"], 2, &["cannot write `nowhere/report.xml`"]);
}

#[test]
fn explain_names_the_part_that_fails_and_what_it_saw() {
    let folder = folder();
    let rule = |name: &str, lines: &str| {
        folder.rule(name, &format!("rule: {name}\nevents: queueItem.*\n{lines}\nsteps: [{{emit: {{type: acme.seen}}}}]\n"));
    };
    rule("part", "when: content.Amount > 1000 && item.RetryNumber >= 5");
    rule("number", "match: {QueueItem: {RetryNumber: [\"2\"]}}");
    rule("text", "match: {QueueItem: {Reference: [{numeric: [\">\", 5]}]}}");
    rule("butnot", "match: {QueueItem: {Missing: [{anything-but: x}]}}");
    rule("object", "match: {QueueItem: {SpecificContent: [{exists: true}]}}");
    rule("near", "match: {QueueItem: {RetryNummer: [2]}}");
    rule("case", "match: {queueitem: {RetryNumber: [2]}}");
    rule("value-case", "match: {QueueItem: {Status: [failed]}}");
    rule("queue-case", "queues: [invoices]");
    rule("array", "match: {QueueItem: {Tags: [{anything-but: [a, b]}]}}");
    rule("type-error", "when: content.InvoiceId > 5");
    let mut body = failed_item(7);
    body["QueueItem"]["Tags"] = json!(["a", "b"]);
    folder.write("body.json", &body.to_string());
    let output = folder.output(&["explain", "body.json", "--json"]);
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    let because = |name: &str| {
        let rules = explained["rules"].as_array().expect("rules");
        rules.iter().find(|rule| rule["rule"] == name).unwrap_or_else(|| panic!("{name} in {explained}"))["because"].clone()
    };
    for (name, path, expected, found, hint) in [
        ("part", "when", json!("item.RetryNumber >= 5"), json!({"item.RetryNumber": 2}), ""),
        ("number", "match.QueueItem.RetryNumber", json!(["2"]), json!(2), "write 2 without quotes"),
        ("text", "match.QueueItem.Reference", json!([{"numeric": [">", 5]}]), json!("INV-7"), ""),
        ("butnot", "match.QueueItem.Missing", json!([{"anything-but": "x"}]), Value::Null, "{exists: false}"),
        ("object", "match.QueueItem.SpecificContent", json!([{"exists": true}]), json!("an object with 2 fields"), "is an object here"),
        ("near", "match.QueueItem.RetryNummer", json!([2]), Value::Null, "but `QueueItem.RetryNumber`"),
        ("case", "match.queueitem.RetryNumber", json!([2]), Value::Null, "but `QueueItem`"),
        ("value-case", "match.QueueItem.Status", json!(["failed"]), json!("Failed"), "only in case"),
        ("queue-case", "queues", json!(["invoices"]), json!("Invoices"), "with their case"),
        ("array", "match.QueueItem.Tags", json!([{"anything-but": ["a", "b"]}]), json!(["a", "b"]), "here every value is"),
        ("type-error", "when", json!("content.InvoiceId > 5"), json!({"content.InvoiceId": "A-7"}), "double("),
    ] {
        let because = because(name);
        assert_eq!((&because["path"], &because["expected"], &because["found"]), (&json!(path), &expected, &found), "{name}");
        let said = because["hint"].as_str().unwrap_or_default();
        assert!(said.contains(hint) && said.is_empty() == hint.is_empty(), "{name}: {said}");
    }
    check(&folder, &["explain", "body.json"], 0, &["when: expected \"item.RetryNumber >= 5\", found {\"item.RetryNumber\":2}"]);
}

/// A run that happened becomes a test that passes, with the values its steps had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_becomes_a_test_that_passes() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let (rule, _) = TESTED.split_once("tests:").expect("tests");
    folder.rule("large", rule);
    let daemon = Daemon::start(&folder).await;
    let mut body = failed_item(7);
    body["QueueItem"]["SpecificContent"]["Password"] = json!("canary-of-a-person");
    daemon.deliver(&body).await.expect("an answer");
    let run = until("the run succeeds", async || daemon.runs("succeeded").await.pop()).await;
    let id = run["event"].as_str().expect("an event").to_owned();
    let shown = check(&folder, &["events", "show", &id, "--as-test"], 0, &["# for `tests:` of the rule review-large", "replies:"]);
    assert!(!shown.contains("canary") && !shown.contains("TenantId"), "{shown}");
    let tests: Vec<&str> = shown.lines().filter(|line| !line.starts_with('#')).collect();
    folder.rule("large", &format!("{rule}tests:\n{}\n", tests.join("\n")));
    check(&folder, &["test", "--require-tests"], 0, &["1 passed, 0 failed"]);
    // Without the daemon too; for a rule that does not match it says why.
    daemon.kill9();
    let again = check(&folder, &["events", "show", &id, "--as-test", "--rule", "review-large"], 0, &[]);
    assert_eq!(again, shown);
    folder.rule("large", &rule.replace("RetryNumber >= 2", "RetryNumber >= 5"));
    check(&folder, &["events", "show", &id, "--as-test"], 1, &["meets no rule; name one with --rule"]);
    check(&folder, &["events", "show", &id, "--as-test", "--rule", "review-large"], 0, &["{matched: false, because: when}"]);
    check(&folder, &["events", "show", &id, "--as-test", "--rule", "review-larg"], 1, &["did you mean `review-large`?"]);
}
