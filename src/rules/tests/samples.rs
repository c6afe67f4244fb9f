//! Tests inside rule files.

use super::*;

const RULE: &str = "\
rule: escalate
events: queueItem.transactionFailed
queues: [Invoices]
when: content.Amount > 1000
steps:
  - id: item
    enqueue: {queue: \"${vars.review_queue}\", reference: \"review-${item.Reference}\", content: {Amount: \"${content.Amount}\"}}
  - if: content.Amount > 10000
    http: {url: https://h/, body: {text: \"item ${steps.item.Id}\"}}
tests:
";

const EVENT: &str =
    "{type: queueItem.transactionFailed, data: {Queue: {Name: Invoices}, QueueItem: {Reference: A-1, SpecificContent: {Amount: 20000}}}}";

fn run(tests: &str) -> Vec<TestReport> {
    set(&format!("{RULE}{tests}")).test(&[], &known().vars, now())
}

/// One test with this `expect` and more lines; why it failed.
fn why(expect: &str) -> Option<String> {
    let reports = run(&format!("  - name: t\n    event: {EVENT}\n    replies: {{item: {{Id: 99}}}}\n    expect: {expect}\n"));
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].passed, reports[0].why.is_none());
    reports[0].why.clone()
}

#[test]
fn what_is_written_is_compared_and_in_order() {
    for expect in [
        "[{enqueue: {queue: Invoices-Review, reference: review-A-1}}, {http: {body: {text: item 99}}}]",
        "[{http: {method: POST}}]",
        "[{enqueue: {content: {Amount: 20000.0}}}]",
        "[{enqueue: {}}]",
        "{matched: true}",
    ] {
        assert_eq!(why(expect), None, "{expect}");
    }
    for (expect, says) in [
        (
            "[{enqueue: {queue: Other, content: {Amount: 1}}}]",
            "expect[0].enqueue.queue: expected \"Other\", got \"Invoices-Review\"\nexpect[0].enqueue.content.Amount: expected 1, got 20000",
        ),
        ("[{enqueue: {priority: High}}]", "expect[0].enqueue.priority: expected \"High\", got nothing"),
        ("[{http: {}}, {enqueue: {}}]", "expect[1].enqueue: expected a step, got no further one"),
        ("[{emit: {}}]", "expect[0].emit: expected such a step, got enqueue, http"),
        ("[{enqueue: {content: {Amount: \"20000\"}}}]", "expected \"20000\", got 20000"),
        ("[]", "expected none, got enqueue, http"),
        ("{matched: false}", "the rule matches"),
    ] {
        let found = why(expect).unwrap_or_else(|| panic!("{expect} passed"));
        assert!(found.contains(says), "{expect}: {found}");
    }
}

#[test]
fn no_match_can_be_expected_with_its_reason() {
    let event = "{type: queueItem.transactionFailed, data: {Queue: {Name: Other}}}";
    for (expect, says) in [
        ("{matched: false}", None),
        ("{matched: false, because: queues}", None),
        ("{matched: false, because: when}", Some("expected `when`, got `queues`: expected [\"Invoices\"], found \"Other\"")),
        ("[{enqueue: {}}]", Some("does not match: `queues`")),
        ("{matched: true}", Some("does not match: `queues`")),
    ] {
        let report = &run(&format!("  - name: t\n    event: {event}\n    expect: {expect}\n"))[0];
        match says {
            None => assert!(report.passed, "{expect}: {report:?}"),
            Some(says) => assert!(report.why.as_deref().is_some_and(|why| why.contains(says)), "{expect}: {report:?}"),
        }
    }
}

#[test]
fn a_test_that_expects_nothing_or_meets_a_fault_fails() {
    let text = format!("{RULE}  - name: t\n    event: {EVENT}\n");
    let (rules, faults) = load(&text);
    assert!(lines(&faults).contains("no-expect"));
    assert_eq!(rules.expect("loads").test(&[], &known().vars, now())[0].why.as_deref(), Some("the test has no `expect`"));
    // Without a reply a step's value is empty.
    let report = &run(&format!("  - name: t\n    event: {EVENT}\n    expect: [{{http: {{}}}}]\n"))[0];
    assert!(report.why.as_deref().is_some_and(|why| why.contains("`steps.item.Id` is missing")), "{report:?}");
    let text = EVENT.replace("20000", "\"20000\"");
    let report = &run(&format!("  - name: t\n    event: {text}\n    expect: {{matched: false}}\n"))[0];
    assert!(report.why.as_deref().is_some_and(|why| why.contains("when: ") && why.contains("double(")), "{report:?}");
}

#[test]
fn steps_whose_condition_does_not_hold_ask_for_nothing() {
    let small = EVENT.replace("20000", "2000");
    let report = &run(&format!("  - name: t\n    event: {small}\n    expect: [{{http: {{}}}}]\n"))[0];
    assert!(!report.passed);
}

#[test]
fn samples_are_events_or_bodies_beside_the_rule() {
    let read = |path: &Path| match path.to_str() {
        Some("rules/samples/event.json") => Ok(failed().to_string()),
        Some("rules/samples/body.json") => Ok(json!({
            "Type": "queueItem.transactionFailed", "EventId": "1", "Timestamp": "2026-03-01T10:00:00Z", "TenantId": 1,
            "Queue": {"Id": 1, "Name": "Invoices"}, "QueueItem": {"Id": 7, "Reference": "B-1", "SpecificContent": {"Amount": 5000}},
        })
        .to_string()),
        Some("rules/samples/bad.json") => Ok("{\"a\": 1,}".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let load = |tests: &str| RuleSet::load(&[file("rules/r.yaml", &format!("{RULE}{tests}"))], &known(), &read);
    let case = |name: &str, sample: &str, reference: &str| {
        format!(
            "  - name: {name}\n    event: {{file: samples/{sample}.json, source: prod-hook}}\n    replies: {{item: {{Id: 1}}}}\n    expect: [{{enqueue: {{reference: {reference}}}}}]\n"
        )
    };
    let (rules, faults) = load(&(case("a", "event", "review-A-1") + &case("b", "body", "review-B-1")));
    let reports = rules.unwrap_or_else(|| panic!("{}", lines(&faults))).test(&[], &known().vars, now());
    assert!(reports.iter().all(|report| report.passed) && reports.len() == 2, "{reports:?}");
    for (sample, says) in [("bad", "line 1"), ("none", "no such file")] {
        let (rules, faults) = load(&case("a", sample, "x"));
        assert!(rules.is_none() && lines(&faults).contains(says), "{}", lines(&faults));
    }
}

#[test]
fn only_the_rules_asked_for_are_tested() {
    let rules = set(&format!("{RULE}  - {{name: t, event: {EVENT}, expect: {{matched: true}}}}\n"));
    assert_eq!(rules.test(&["escalate".to_owned()], &known().vars, now()).len(), 1);
    assert_eq!(rules.test(&["other".to_owned()], &known().vars, now()).len(), 0);
}

#[test]
fn any_type_and_any_data_may_be_tested() {
    let rules = set(
        "rule: v1\nevents: \"*\"\nmatch: {a: [1]}\nsteps: [{http: {method: POST, url: \"http://127.0.0.1:9/x\", body: {}}}]\ntests:\n  - {name: t, event: {type: t, data: {a: 1}}, expect: {matched: true}}\n  - {name: u, event: {type: t, data: {b: [1, null]}}, expect: {matched: false}}\n",
    );
    let reports = rules.test(&[], &known().vars, now());
    assert!(reports.iter().all(|report| report.passed), "{reports:?}");
}
