//! Every fault says what, where and how to mend it.

use proptest::prelude::*;

use super::*;

/// Each `^` in the text marks where a fault is expected (it is taken out); `says` must be in one fault there.
fn check(text: &str, code: &str, says: &str) {
    let at = text.find('^').unwrap_or_else(|| panic!("no mark in {text}"));
    let before = &text[..at];
    let line = u32::try_from(before.matches('\n').count() + 1).expect("small");
    let column = u32::try_from(before.rsplit('\n').next().unwrap_or_default().chars().count() + 1).expect("small");
    let clean = text.replacen('^', "", 1);
    let (_, faults) = load(&clean);
    let found = faults.iter().any(|fault| {
        let place = fault.place.as_ref();
        fault.code == code && fault.one_line().contains(says) && place.is_some_and(|p| (p.line, p.column) == (line, column))
    });
    assert!(found, "expected [{code}] {says} at {line}:{column} of\n{clean}\ngot:\n{}", lines(&faults));
}

/// A rule with these lines in place of the usual ones.
fn rule(lines: &str) -> String {
    format!("rule: r\nevents: queueItem.added\n{lines}\n")
}

fn step(text: &str) -> String {
    rule(&format!("steps:\n  - {}", text.replace('\n', "\n    ")))
}

const STEP: &str = "steps: [{emit: {type: x}}]";

#[test]
fn faults_of_rules() {
    for (text, code, says) in [
        ("^events: \"*\"\nsteps: [{emit: {type: x}}]\n", "missing-key", "`rule`"),
        (&format!("rule: ^5\nevents: \"*\"\n{STEP}\n"), "wrong-type", "quote it"),
        (&format!("rule: ^\"\"\nevents: \"*\"\n{STEP}\n"), "rule-name", "1 to 128"),
        (&format!("rule: \"a^\\nb\"\nevents: \"*\"\n{STEP}\n"), "rule-name", "line breaks"),
        (&format!("^rule: r\n{STEP}\n"), "missing-key", "`events`"),
        (&format!("rule: r\n^on: x\nevents: x\n{STEP}\n"), "unknown-key", "write `events`"),
        (&format!("rule: r\nevents: ^[]\n{STEP}\n").replace("events: ^", "^events: "), "empty", "never match"),
        (&format!("rule: r\nevents: ^queueItem.transactionFaild\n{STEP}\n"), "unknown-type", "did you mean `queueItem.transactionFailed`?"),
        (&format!("rule: r\nevents: [queueItem.added, ^acme.paid]\n{STEP}\n"), "unknown-type", "unknown event type `acme.paid`"),
        (&format!("rule: r\nevents: ^queue*\n{STEP}\n"), "bad-type", "behind the dot"),
        (&format!("rule: r\nevents: ^tripline.*\n{STEP}\n"), "bad-type", "in full"),
        (&rule(&format!("^whne: x\n{STEP}")), "unknown-key", "did you mean `when`?"),
        (&rule(&format!("^priority: 3\n{STEP}")), "not-in-this-version", "`priority`"),
        (&rule(&format!("record: ^always\n{STEP}")), "wrong-type", "`record`"),
        (&rule(&format!("^skip_if_newer: true\n{STEP}")), "missing-key", "`ordered_by`"),
        (&rule(&format!("limits: {{rate: ^5}}\n{STEP}")), "wrong-type", "rate"),
        (&rule(&format!("limits: {{rate: ^5/fortnight}}\n{STEP}")), "bad-value", "fortnight"),
        (&rule(&format!("limits: {{concurrency: ^0}}\n{STEP}")), "out-of-range", "concurrency"),
        (&rule(&format!("limits: {{^burst: 3}}\n{STEP}")), "unknown-key", "burst"),
        (&rule(&format!("on_give_up: ^[]\n{STEP}")), "out-of-range", "`on_give_up` has 0 steps"),
        (&rule(&format!("on_give_up: ^x\n{STEP}")), "wrong-type", "expected a list"),
        (&rule(&format!("sources: [^prod-hok]\n{STEP}")), "unknown-source", "did you mean `prod-hook`?"),
        (&rule(&format!("queues: [^5]\n{STEP}")), "wrong-type", "quote it"),
        (&rule(&format!("^queues: []\n{STEP}")), "empty", "never match"),
        (&rule(&format!("queues: [\"^${{vars.q}}\"]\n{STEP}").replace("\"^$", "^\"$")), "bad-value", "not evaluated"),
        (&rule(&format!("folders: [^true]\n{STEP}")), "wrong-type", "a folder is true or false"),
        (&rule(&format!("mode: ^of\n{STEP}")), "bad-value", "live, shadow or off"),
        (&rule(&format!("when: ^false\n{STEP}")), "never-matches", "never hold"),
        (&rule(&format!("when: ^data.a == 1 && (data.b && 2 == data.a)\n{STEP}")), "never-matches", "`data.a` would have to be two things"),
        (&rule(&format!("when: ^data.a == 1 && (data.b || data.c) && 2 > 1\n{STEP}")), "always-matches", "`2 > 1` in `when`"),
        (&rule(&format!("when: ^\"data.a == 1 && 1 > 'x'\"\n{STEP}")), "expression", "`1 > 'x'` in `when`"),
        (&rule(&format!("when: ^true\n{STEP}")), "always-matches", "always holds"),
        (&rule(&format!("folders: ^[Finance, Shared/Sub]\n{STEP}")), "folder-path", "name it by its id"),
        (&rule(&format!("when: ^\"'5' > 4\"\n{STEP}")), "expression", "double("),
        (&rule("steps: ^{emit: {type: x}}"), "wrong-type", "expected a list"),
        (&rule("steps: ^[]"), "empty", "no steps"),
        ("^rule: r\nevents: \"*\"\n", "missing-key", "`steps`"),
        ("^- a\n", "wrong-type", "a rule is a list; expected a mapping"),
    ] {
        check(text, code, says);
    }
    check(&format!("rule: ^{}\nevents: \"*\"\n{STEP}\n", "é".repeat(129)), "rule-name", "this one has 129");
}

#[test]
fn faults_of_expressions_stand_inside_the_string() {
    for (text, code, says) in [
        (&rule(&format!("when: data.a ^= 1\n{STEP}")), "expression", "`==`"),
        (&rule(&format!("when: \"data.x == 'é' ^and data.b\"\n{STEP}")), "expression", "`&&`"),
        (&rule(&format!("when: |\n  data.a == 1 &&\n  data.b.^nope()\n{STEP}")), "expression", "unknown function `nope`"),
        (&rule(&format!("when: >-\n  data.a == 1 &&\n  ^Amount > 5\n{STEP}")), "unknown-name", "content.Amount"),
        (&rule(&format!("when: ^dta.a == 1\n{STEP}")), "unknown-name", "did you mean `data`?"),
        (&rule(&format!("when: has(data.a) && ^steps.x.Id == 1\n{STEP}")), "unknown-name", "no step has run"),
        (&rule(&format!("when: ^run.id == ''\n{STEP}")), "unknown-name", "no run yet"),
        (&rule(&format!("when: ^vars.limt > 1\n{STEP}")), "unknown-var", "did you mean `limit`?"),
        (&rule(&format!("when: ^5\n{STEP}")), "wrong-type", "expected an expression"),
        (&rule(&format!("when: data.x == ^\"a #b\"\n{STEP}")), "expression", "begins a comment"),
        (&rule(&format!("when: ^!has(data.x)\n{STEP}")), "yaml", "begins a tag"),
        (&rule(&format!("when: data.Text.^matches('(a')\n{STEP}")), "expression", "unclosed group"),
        (&step("emit: {type: x, data: {a: \"é ^${data.x\"}}"), "expression", "not closed"),
        (&step("emit: {type: x, data: {a: [1, \"${data.x +^}\"]}}"), "expression", "ends too early"),
        (&step("emit: {type: x, data: {a: \"${data.x} ${^nope.y}\"}}"), "unknown-name", "`nope`"),
        (&step("emit: {type: x, data: {a: \"${^error.message}\"}}"), "unknown-name", "`error` is known in `on_give_up` only"),
        (&step("if: data.a ==^\nemit: {type: x}").replace("==^", "==^ "), "expression", "ends too early"),
    ] {
        check(text, code, says);
    }
}

#[test]
fn faults_of_steps() {
    for (text, code, says) in [
        (&step("^id: x"), "no-action", "add one of: enqueue"),
        (&step("emit: {type: x}\n^http: {url: https://h/}"), "two-actions", "a step of its own"),
        (&step("^enqeue: {queue: Q}"), "unknown-key", "did you mean `enqueue`?"),
        (&step("call: {connector: ^x, operation: a}"), "unknown-connector", "no connector is named `x`"),
        (&step("call: {connector: chat, operation: ^post_mesage}"), "unknown-operation", "no operation `post_mesage`"),
        (&step("call: {connector: chat, operation: post_message, with: ^{channel: a}}"), "missing-input", "needs input `text`"),
        (
            &step("call: {connector: chat, operation: post_message, with: {channel: a, text: b, ^txt: c}}"),
            "unknown-input",
            "no input `txt`",
        ),
        (&step("call: {connector: chat, operation: post_message, with: {channel: ^7, text: b}}"), "bad-value", "expected a string"),
        (&step("wait: ^soon"), "bad-moment", "`wait`"),
        (&step("wait: ^{for: 5s}"), "wrong-type", "such as wait: 10m"),
        (&step("wait: ^100d"), "bad-moment", "at most 90d"),
        (&step("wait: 5s\n^timeout: 5s"), "bad-value", "`timeout` means nothing beside `wait`"),
        (&step("emit: {type: x}\n^as: line"), "unknown-key", "belongs beside `for_each`"),
        (&step("^for_each: data.Lines"), "missing-key", "`for_each` has no `steps`"),
        (&step("for_each: data.Lines\nsteps: ^[]"), "out-of-range", "`for_each` has 0 steps"),
        (&step("for_each: data.Lines\nas: ^item\nsteps: [{emit: {type: x}}]"), "bad-name", "means something else"),
        (&step("for_each: data.Lines\nas: ^a-b\nsteps: [{emit: {type: x}}]"), "bad-name", "no name"),
        (&step("for_each: data.Lines\nparallel: ^33\nsteps: [{emit: {type: x}}]"), "out-of-range", "1 to 32"),
        (&step("for_each: data.Lines\nsteps: [{for_each: ^data.X, steps: [{emit: {type: x}}]}]"), "nested", "emit an event per element"),
        (&step("for_each: data.Lines\nsteps: [{emit: {type: x, data: {a: \"${^eahc.Id}\"}}}]"), "unknown-name", "did you mean `each`"),
        (&step("for_each: data.Lines\n^timeout: 5s\nsteps: [{emit: {type: x}}]"), "bad-value", "steps inside"),
        (&step("emit: {type: x, data: {a: \"${^each.Id}\"}}"), "unknown-name", "`each`"),
        (&step("enqueue_each: {over: ^content.Lines, queue: Q}"), "wrong-type", "write over: \"${content.Lines}\""),
        (&step("enqueue_each: ^{queue: Q}"), "missing-key", "`over`"),
        (&step("await_item: ^{queue: Q}"), "missing-key", "`await_item` needs"),
        (&step("await_job: ^{}"), "missing-key", "`await_job` needs"),
        (&step("await_job: {id: 7}\ntimeout: ^100d"), "out-of-range", "`timeout`"),
        (&step("start_job: {process: P, wait: true, count: ^2}"), "bad-value", "awaits one job"),
        (&step("id: ^a b\nemit: {type: x}"), "bad-name", "1 to 64"),
        (&step("id: ^\"7\"\nemit: {type: x}"), "bad-name", "at least one letter"),
        (&step("id: a\nemit: {type: x}\n").replace("\n    \n", "\n  - id: ^a\n    emit: {type: y}\n"), "duplicate-id", "twice"),
        (&step("timeout: ^5d\nemit: {type: x}"), "out-of-range", "`timeout`"),
        (&step("enqueue: ^{priority: High}"), "missing-key", "`queue`"),
        (&step("enqueue: {queue: ^5}"), "wrong-type", "quote it"),
        (&step("enqueue: {queue: ^\" \"}"), "empty", "`queue` is empty"),
        (&step("enqueue: {queue: Q, priority: ^Urgent}"), "bad-value", "High, Normal or Low"),
        (&step("enqueue: {queue: Q, on_duplicate: ^ignore}"), "bad-value", "`accept` or `fail`"),
        (&step("enqueue: {queue: Q, defer: ^soon}"), "bad-moment", "`defer`"),
        (&step("enqueue: {queue: Q, due: ^10}"), "bad-moment", "no unit"),
        (&step("enqueue: {queue: Q, due: ^0001-01-01}"), "bad-moment", "no sensible date"),
        (&step("enqueue: {queue: Q, content: {^a.b: 1}}"), "content-key", "`a_b`"),
        (&step("enqueue: {queue: Q, content: {\"^a@odata.type\": x}}").replace("\"^a", "^\"a"), "content-key", "`@`"),
        (&step("enqueue: {queue: Q, content: {a: ^{b: 1}}}"), "nested-content", "single values"),
        (&step("enqueue: {queue: Q, content: {a: ^[1]}}"), "nested-content", "single values"),
        (&step("enqueue: {queue: Q, content: ^text}"), "wrong-type", "expected a mapping"),
        (&step(&format!("enqueue: {{queue: Q, content: ^{{a: {}}}}}", "x".repeat(256_001))), "content-size", "256000"),
        (&step("emit: {type: x, data: {a: ^\"item {{ item.Id }}\"}}"), "foreign-template", "`${…}`"),
        (&step("emit: {type: x, data: {a: \"${{ item.Id ^}}\"}}"), "expression", "one pair of braces"),
        (&step("enqueue: {queue: Q, reference: ^abc}"), "constant-reference", "the same for every event"),
        (&step("enqueue: {queue: Q, orchestrator: ^prd}"), "unknown-orchestrator", "did you mean `prod`?"),
        (&step("enqueue: {queue: Q, folder: ^7}"), "wrong-type", "folder: {id: 7}"),
        (&step("enqueue: {queue: Q, folder: ^{id: 7, key: x}}"), "bad-value", "exactly one"),
        (&step("start_job: ^{input: {}}"), "missing-key", "`process`"),
        (&step("start_job: {process: P, count: ^0}"), "out-of-range", "1 to 1000"),
        (&step("get_item: ^{queue: Q}"), "missing-key", "either `id`"),
        (&step("get_item: {id: ^abc}"), "bad-value", "expected a number"),
        (&step("emit: ^{data: {}}"), "missing-key", "`type`"),
        (&step("emit: {type: ^tripline.x}"), "bad-type", "belongs to tripline"),
        (&step("emit: {type: ^\"*\"}"), "bad-type", "without `*`"),
        (&step("http: ^{method: POST}"), "missing-key", "`url`"),
        (&step("http: {url: ^/relative}"), "relative-url", "https://host/path"),
        (&step("http: {url: ^ftp://h/x}"), "relative-url", "absolute"),
        (&step("http: {url: ^https:///x}"), "relative-url", "no host"),
        (&step("http: {url: \"^https://u:p@h/\"}").replace("\"^h", "^\"h"), "url-credentials", "headers"),
        (&step("http: {url: ^http://files.corp/x}"), "plain-http", "use https"),
        (&step("http: {url: https://h/, method: ^PSOT}"), "unknown-method", "did you mean `POST`?"),
        (&step("http: {url: https://h/, headers: {^a b: x}}"), "header-name", "no header name"),
        (&step("http: {url: https://h/, headers: {^Host: x}}"), "header-name", "itself"),
        (&step("http: {url: https://h/, headers: {A: x, ^a: y}}"), "header-name", "twice"),
        (&step("http: {url: https://h/, headers: {A: ^\"x\\r\\ny\"}}"), "header-value", "cannot carry"),
        (
            &step("id: a\nif: ^steps.b.Id == 1\nemit: {type: x}\n").replace("\n    \n", "\n  - id: b\n    emit: {type: y}\n"),
            "step-order",
            "before it has run",
        ),
        (&step("if: ^steps.b.Id == 1\nemit: {type: x}"), "unknown-step", "no step has the id `b`"),
    ] {
        check(text, code, says);
    }
    check(&step(&format!("enqueue: {{queue: Q, reference: ^{}}}", "x".repeat(129))), "reference-length", "129");
}

#[test]
fn faults_of_retry_and_tests() {
    for (text, code, says) in [
        (&rule(&format!("retry: {{first_wait: ^0s}}\n{STEP}")), "out-of-range", "`first_wait`"),
        (&rule(&format!("retry: {{attempts: ^1000000000}}\n{STEP}")), "out-of-range", "1 to 1000"),
        (&rule(&format!("retry: {{factor: ^0}}\n{STEP}")), "out-of-range", "`factor`"),
        (&rule(&format!("retry: {{factor: ^two}}\n{STEP}")), "out-of-range", "`factor`"),
        (&rule(&format!("retry: {{first_wait: ^1h, max_wait: 1m}}\n{STEP}")), "out-of-range", "longer than"),
        (&rule(&format!("retry: {{^max: 5}}\n{STEP}")), "unknown-key", "`max`"),
        (&rule(&format!("tests: ^{{}}\n{STEP}")), "wrong-type", "expected a list"),
        (&rule(&format!("tests:\n  - ^event: {{type: t}}\n    expect: []\n{STEP}")), "missing-key", "`name`"),
        (&rule(&format!("tests:\n  - ^name: a\n    event: {{type: t}}\n{STEP}")), "no-expect", "fails"),
        (&rule(&format!("tests:\n  - name: a\n    ^exepct: []\n    event: {{type: t}}\n{STEP}")), "unknown-key", "did you mean `expect`?"),
        (
            &rule(&format!("tests:\n  - name: a\n    event: {{typ: t}}\n    expect: []\n{STEP}").replace("{typ", "{^typ")),
            "unknown-key",
            "did you mean `type`?",
        ),
        (&rule(&format!("tests:\n  - name: a\n    event: {{type: t, time: ^soon}}\n    expect: []\n{STEP}")), "bad-event", "no timestamp"),
        (&rule(&format!("tests:\n  - name: a\n    now: ^soon\n    event: {{type: t}}\n    expect: []\n{STEP}")), "bad-moment", "`now`"),
        (&rule(&format!("tests:\n  - name: a\n    event: {{file: ^x.json}}\n    expect: []\n{STEP}")), "sample", "cannot read"),
        (
            &rule(&format!("tests:\n  - name: a\n    event: {{type: t}}\n    replies: {{^a: 1}}\n    expect: []\n{STEP}")),
            "unknown-step",
            "`a`",
        ),
        (
            &rule(&format!("tests:\n  - name: a\n    event: {{type: t}}\n    expect: {{matched: ^x}}\n{STEP}")),
            "wrong-type",
            "true or false",
        ),
        (
            &rule(&format!("tests:\n  - name: a\n    event: {{type: t}}\n    expect: {{matched: true, because: ^when}}\n{STEP}")),
            "bad-value",
            "matched: false",
        ),
        (
            &rule(&format!("tests:\n  - name: a\n    event: {{type: t}}\n    expect: [{{emit: {{^typ: x}}}}]\n{STEP}")),
            "unknown-key",
            "did you mean `type`?",
        ),
        (
            &rule(&format!("tests:\n  - name: a\n    event: {{type: t}}\n    expect: [{{call: {{^conector: x}}}}]\n{STEP}")),
            "unknown-key",
            "did you mean `connector`?",
        ),
        (&rule(&format!("tests:\n  - name: a\n    event: {{type: t}}\n    expect: ^{{emit: {{}}}}\n{STEP}")), "wrong-type", "`- `"),
    ] {
        check(text, code, says);
    }
}

#[test]
fn all_faults_of_all_files_are_found_at_once() {
    let first = format!("rule: a\nevents: \"*\"\nwhen: data.a ==\n{STEP}\n---\nrule: b\nevents: \"*\"\nmod: x\n{STEP}\n");
    let second = format!("rule: a\nevents: \"*\"\n{STEP}\n---\nevents: ]\n");
    let third = "rule: c\nevents: \"*\"\nsteps:\n  - enqueue: {priority: 5}\n    if: (\n  - http: {}\n";
    let files = [file("1.yaml", &first), file("2.yaml", &second), file("3.yaml", third)];
    let (set, faults) = RuleSet::load(&files, &known(), &no_samples);
    assert!(set.is_none());
    let text = lines(&faults);
    for expected in ["1.yaml:3:16", "1.yaml:8:1", "2.yaml:5:9", "3.yaml:4:14", "3.yaml:4:25", "3.yaml:5:", "3.yaml:6:11"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn a_name_that_is_used_twice_names_both_places() {
    let text = format!("rule: a\nevents: \"*\"\n{STEP}\n");
    let (set, faults) = RuleSet::load(&[file("1.yaml", &text), file("2.yaml", &format!("\n{text}"))], &known(), &no_samples);
    assert!(set.is_none());
    assert!(lines(&faults).contains("2.yaml:2:7: rule name `a` is used twice, first in 1.yaml:1"), "{}", lines(&faults));
}

#[test]
fn nothing_is_fine_and_said() {
    for text in ["", "# only a comment\n", "---\n"] {
        let (set, faults) = load(text);
        assert!(set.is_some() && lines(&faults).contains("0 rules"), "{text}: {}", lines(&faults));
    }
    assert!(RuleSet::load(&[], &known(), &no_samples).0.is_some());
}

#[test]
fn emoji_and_names_of_full_length_are_fine() {
    set(&format!("rule: \"{}\"\nevents: \"*\"\n{STEP}\n", "🚀".repeat(128)));
}

#[test]
fn rules_that_can_set_themselves_off_are_named() {
    let warned = |text: &str| {
        let (set, faults) = load(text);
        assert!(set.is_some(), "{}", lines(&faults));
        lines(&faults).contains("[self-trigger]")
    };
    let enqueue = "steps: [{enqueue: {queue: Q}}]";
    assert!(warned(&format!("rule: a\nevents: queueItem.*\n{enqueue}\n")));
    assert!(warned(&format!("rule: a\nevents: queueItem.added\nqueues: [Q]\n{enqueue}\n")));
    assert!(warned("rule: a\nevents: \"*\"\nqueues: Invoices-Review\nsteps: [{enqueue: {queue: \"${vars.review_queue}\"}}]\n"));
    assert!(!warned(&format!("rule: a\nevents: queueItem.added\nqueues: [P]\n{enqueue}\n")));
    assert!(!warned(&format!("rule: a\nevents: queueItem.added\nmatch: {{Queue: {{Name: [P]}}}}\n{enqueue}\n")));
    assert!(!warned(&format!("rule: a\nevents: job.completed\n{enqueue}\n")));
    assert!(warned("rule: a\nevents: [x.y]\nsteps: [{emit: {type: X.y}}]\n"));
    assert!(!warned("rule: a\nevents: \"*\"\nsteps: [{emit: {type: x.y}}]\n"));
    assert!(warned("rule: a\nevents: job.completed\nprocesses: P\nsteps: [{start_job: {process: P}}]\n"));
}

#[test]
fn a_type_that_some_rule_emits_is_known() {
    let (_, faults) = load(&format!(
        "rule: a\nevents: \"*\"\nsteps: [{{emit: {{type: acme.paid}}}}]\n---\nrule: b\nevents: acme.paid\n{STEP}\n---\nrule: c\nevents: prod-hook.x\n{STEP}\n"
    ));
    assert!(!lines(&faults).contains("unknown-type"), "{}", lines(&faults));
}

#[test]
fn many_rules_load() {
    let mut text = String::new();
    for i in 0..200 {
        text.push_str(&format!(
            "---\nrule: rule-{i}\nevents: queueItem.transactionFailed\nqueues: [Queue{i}]\nwhen: content.Amount > {i} && item.RetryNumber >= 2\nsteps:\n  - enqueue: {{queue: Review, reference: \"r{i}-${{item.Reference}}\", content: {{Invoice: \"${{content.InvoiceId}}\"}}}}\n"
        ));
    }
    assert_eq!(set(&text).rules().len(), 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_makes_loading_panic(text in "(?s).{0,200}") {
        std::hint::black_box(load(&text).1.len());
    }

    #[test]
    fn no_mix_of_keys_makes_loading_panic(lines in proptest::collection::vec(prop_oneof![
        Just("rule: r"), Just("events: \"*\""), Just("events: [queueItem.added, 5]"), Just("when: item.x > 1"), Just("when: ]"), Just("match: {a: [1]}"),
        Just("match: 5"), Just("steps:"), Just("  - emit: {type: x}"), Just("  - http: {url: \"${data.x}\"}"), Just("    id: a"), Just("    if: steps.a == 1"),
        Just("  - enqueue: {queue: Q, content: \"${content}\"}"), Just("tests:"), Just("  - name: t"), Just("    event: {type: t, data: {}}"),
        Just("    expect: []"), Just("    expect: {matched: false}"), Just("---"), Just("retry: {attempts: 3}"), Just("mode: off"), Just("queues: Q"),
        Just("folders: [1, a, {key: k}]"), Just("sources: prod-hook"), Just("  - "), Just("- x"), Just("x: &a [*a]"), Just("\t"), Just("? a"),
    ], 0..16)) {
        let (set, _) = load(&lines.join("\n"));
        if let Some(set) = set {
            let event = event(failed());
            std::hint::black_box((set.matching(&event, now()), set.explain(&event, now()), set.test(&[], &known().vars, now())));
        }
    }
}

#[test]
#[ignore = "prints figures; run with --ignored --nocapture"]
fn figures() {
    for count in [1_000, 10_000] {
        let mut text = String::new();
        for i in 0..count {
            text.push_str(&format!(
                "---\nrule: rule-{i}\nevents: queueItem.transactionFailed\nqueues: [Queue{i}]\nwhen: content.Amount > {i} && item.RetryNumber >= 2\nsteps:\n  - enqueue: {{queue: Review, reference: \"r{i}-${{item.Reference}}\", content: {{Invoice: \"${{content.InvoiceId}}\"}}}}\n"
            ));
        }
        let begun = std::time::Instant::now();
        let parsed = crate::yaml::parse(&file("r.yaml", &text)).expect("yaml").len();
        let parse = begun.elapsed();
        let begun = std::time::Instant::now();
        let rules = set(&text);
        let load = begun.elapsed();
        let begun = std::time::Instant::now();
        let event = event(failed());
        for _ in 0..1_000 {
            std::hint::black_box(rules.matching(&event, now()).len());
        }
        println!("{parsed} rules: YAML {parse:?}, load {load:?}, one event {:?}", begun.elapsed() / 1_000);
    }
}

#[test]
fn a_step_that_posts_to_our_own_ingress_is_refused() {
    let step = |url: &str| format!("rule: r\nevents: job.completed\nsteps:\n  - http: {{url: \"{url}\", body: {{}}}}\n");
    for url in ["http://127.0.0.1:8080/hooks/lab", "http://localhost:8080/hooks/lab", "http://[::1]:8080/${event.source}"] {
        let (set, faults) = load(&step(url));
        assert!(set.is_none() && lines(&faults).contains("own ingress"), "{url}: {}", lines(&faults));
    }
    for url in ["http://127.0.0.1:8081/x", "https://hooks.example.com/hooks/lab", "http://10.0.0.1:8080/hooks/lab"] {
        assert!(load(&step(url)).0.is_some(), "{url}");
    }
}

#[test]
fn a_pattern_of_another_kind_than_the_field_is_warned_of() {
    for (pattern, says) in [
        ("{QueueItem: {RetryNumber: [^\"2\"]}}", "write RetryNumber: [2]"),
        ("{QueueItem: {Id: [^seven]}}", "comes as a number"),
        ("{Queue: {Name: [^7]}}", "write Name: [\"7\"]"),
        ("{$or: [{QueueItem: {Priority: [^1, 2]}}, {Queue: {Id: [7]}}]}", "comes as a text"),
        ("{QueueItem.RetryNumber: [^\"2\"]}", "comes as a number"),
    ] {
        check(&rule(&format!("match: {pattern}\n{STEP}")), "pattern-kind", says);
    }
    // One that fits or an operator says that the others are meant; content is the user's own, and so are other services' events.
    let silent = [
        ("queueItem.added", "{QueueItem: {RetryNumber: [\"2\", 2]}}"),
        ("queueItem.added", "{QueueItem: {RetryNumber: [{exists: true}]}}"),
        ("queueItem.added", "{QueueItem: {SpecificContent: {Id: [\"7\"], Name: [7]}}}"),
        ("queueItem.added", "{Queue: {Name: [Invoices], Id: [7]}, QueueItem: {Key: [null]}}"),
        ("github.push", "{Job: {Id: [\"7\"]}}"),
        ("\"*\"", "{Job: {Id: [\"7\"]}}"),
    ];
    for (events, pattern) in silent {
        let (_, faults) = load(&format!("rule: r\nevents: {events}\nmatch: {pattern}\n{STEP}\n"));
        assert!(faults.iter().all(|fault| fault.code != "pattern-kind"), "{pattern}: {}", lines(&faults));
    }
}
