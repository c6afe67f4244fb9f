//! Rules that set each other off.

use super::*;

fn circles(text: &str) -> Vec<String> {
    let (set, faults) = load(text);
    assert!(set.is_some(), "{text}\n{}", lines(&faults));
    faults.iter().filter(|fault| fault.code == "rule-loop").map(|fault| fault.message.clone()).collect()
}

fn rule(name: &str, head: &str, step: &str) -> String {
    format!("rule: {name}\n{head}\nsteps: [{step}]\n---\n")
}

#[test]
fn circles_of_items_events_and_jobs_are_named_once() {
    let item = |queue: &str| format!("{{enqueue: {{queue: {queue}}}}}");
    let of = |queue: &str| format!("events: queueItem.transactionFailed\nqueues: [{queue}]");
    let emit = |event: &str| format!("{{emit: {{type: {event}}}}}");
    let job = |process: &str| format!("{{start_job: {{process: {process}}}}}");
    let done = |process: &str| format!("events: job.completed\nprocesses: [{process}]");
    for (text, expected) in [
        (rule("a", &of("A"), &item("B")) + &rule("b", &of("B"), &item("A")), vec!["`a` → `b` → `a`"]),
        (
            rule("a", &of("A"), &item("B")) + &rule("b", &of("B"), &item("C")) + &rule("c", &of("C"), &item("A")),
            vec!["`a` → `b` → `c` → `a`"],
        ),
        (rule("a", &of("A"), &item("B")) + &rule("b", &of("B"), &item("C")), vec![]),
        (rule("a", "events: x.y", &emit("x.z")) + &rule("b", "events: X.Z", &emit("x.y")), vec!["`a` → `b` → `a`"]),
        // What is emitted is heard by its full type only.
        (rule("a", "events: x.*", &emit("x.z")) + &rule("b", "events: x.z", &emit("x.y")), vec![]),
        (rule("a", &done("P"), &job("Q")) + &rule("b", &done("Q"), &job("P")), vec!["`a` → `b` → `a`"]),
        (
            rule("a", &of("A"), &job("P")) + &rule("b", &done("P"), &emit("x.y")) + &rule("c", "events: x.y", &item("A")),
            vec!["`a` → `b` → `c` → `a`"],
        ),
        // By a variable, by a literal of the pattern, by no queue at all.
        (rule("a", &of("Invoices-Review"), &item("B")) + &rule("b", &of("B"), &item("\"${vars.review_queue}\"")), vec!["`a` → `b` → `a`"]),
        (
            rule("a", "events: queueItem.added\nmatch: {Queue: {Name: [A]}}", &item("B"))
                + &rule("b", "events: queueItem.added\nmatch: {Queue: {Name: [C]}}", &item("A")),
            vec![],
        ),
        (rule("a", &of("A"), &item("B")) + &rule("b", "events: queueItem.added", &item("A")), vec!["`a` → `b` → `a`"]),
        // Two circles; a rule that is off is in none.
        (
            rule("a", &of("A"), &item("B"))
                + &rule("b", &of("B"), &item("A"))
                + &rule("c", &of("C"), &item("D"))
                + &rule("d", &of("D"), &item("C")),
            vec!["`a` → `b` → `a`", "`c` → `d` → `c`"],
        ),
        (rule("a", &of("A"), &item("B")) + &rule("b", &(of("B") + "\nmode: off"), &item("A")), vec![]),
    ] {
        let found = circles(&text);
        assert_eq!(found.len(), expected.len(), "{text}\n{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.ends_with(expected), "{text}\n{found}");
        }
    }
}

#[test]
fn long_chains_of_rules_are_read_in_no_time() {
    let mut text = String::new();
    for i in 0..3_000 {
        text.push_str(&rule(&format!("r{i}"), &format!("events: chain.t{i}"), &format!("{{emit: {{type: chain.t{}}}}}", i + 1)));
    }
    assert_eq!(circles(&text), Vec::<String>::new());
}
