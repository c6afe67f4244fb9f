//! Which rules an event meets, and why others did not.

use super::*;

const STEP: &str = "steps: [{http: {url: https://h/}}]";

fn met(rules: &str, event_json: &Value) -> Vec<String> {
    set(rules).matching(&event(event_json.clone()), now()).into_iter().map(|met| met.rule.name.to_string()).collect()
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut value = failed();
    for (pointer, change) in changes {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        value.pointer_mut(parent).expect("there")[key] = change.clone();
    }
    value
}

/// The rule `r` with one more line, explained for an event.
fn because(line: &str, event_json: &Value) -> Option<Because> {
    let events = if line.contains("events:") { "" } else { "events: \"*\"\n" };
    let rules = set(&format!("rule: r\n{events}{line}\n{STEP}\n"));
    let event = event(event_json.clone());
    let explained = rules.explain(&event, now()).remove(0);
    let fault = rules.matching(&event, now()).first().is_some_and(|met| met.fault.is_some());
    assert_eq!(explained.matched, explained.because.is_none());
    assert!(fault || explained.matched == (rules.matching(&event, now()).len() == 1), "{line}");
    explained.because
}

#[test]
fn types_are_compared_without_case_and_families_by_their_star() {
    let emitted = with(&[("/via", json!("emit")), ("/type", json!("acme.paid"))]);
    let own = with(&[("/type", json!("tripline.unparsed")), ("/data", Value::Null)]);
    for (events, event_json, expected) in [
        ("queueItem.transactionFailed", failed(), true),
        ("QUEUEITEM.TransactionFailed", failed(), true),
        ("[job.created, queueItem.*]", failed(), true),
        ("\"*\"", failed(), true),
        ("queueItem.added", failed(), false),
        ("job.*", failed(), false),
        ("\"*\"", emitted.clone(), false),
        ("acme.*", emitted.clone(), false),
        ("acme.paid", emitted.clone(), true),
        ("\"*\"", own.clone(), false),
        ("tripline.unparsed", own.clone(), true),
        ("queueItems.added", with(&[("/type", json!("queueItem.added"))]), true),
    ] {
        let found = because(&format!("events: {events}"), &event_json);
        assert_eq!(found.is_none(), expected, "{events} {}: {found:?}", event_json["type"]);
        if let Some(found) = found {
            assert_eq!((found.path.as_str(), &found.found), ("events", &event_json["type"]));
        }
    }
    let hint = because("events: \"*\"", &emitted).and_then(|b| b.hint).unwrap_or_default();
    assert!(hint.contains("in full"), "{hint}");
}

#[test]
fn sources_reconcile_and_unsigned_ones_are_named() {
    let from = |source: &str| with(&[("/source", json!(source))]);
    for (line, source, expected) in [
        ("", "prod-hook", true),
        ("", "prod-poll", true),
        ("", "lab", false),
        ("sources: [lab]", "lab", true),
        ("sources: prod-hook", "prod-hook", true),
        ("sources: prod-hook", "prod-poll", true),
        ("sources: prod-poll", "prod-hook", false),
        ("sources: prod-hook", "lab", false),
    ] {
        let found = because(line, &from(source));
        assert_eq!(found.is_none(), expected, "{line} {source}");
        if let Some(found) = found {
            assert_eq!((found.path.as_str(), found.found), ("sources", json!(source)));
        }
    }
}

#[test]
fn shorthands_name_queue_process_and_folder() {
    let job = |data: Value| json!({"type": "job.completed", "data": data});
    for (line, event_json, failing) in [
        ("queues: [Invoices]", failed(), None),
        ("queues: [Other]", failed(), Some(("queues", json!("Invoices")))),
        ("queues: [invoices]", failed(), Some(("queues", json!("Invoices")))),
        ("queues: Invoices", job(json!({})), Some(("queues", Value::Null))),
        ("processes: P", job(json!({"Job": {"Release": {"Name": "P"}}})), None),
        ("processes: P", job(json!({"Job": {"ReleaseName": "P"}})), None),
        ("processes: P", job(json!({"Release": {"Name": "P"}})), None),
        ("processes: P", job(json!({"Job": {"ReleaseName": "Q"}})), Some(("processes", json!("Q")))),
        ("folders: [11]", failed(), None),
        ("folders: [12]", failed(), None),
        ("folders: [13, {id: 11}]", failed(), None),
        ("folders: [{key: k-1}]", failed(), None),
        ("folders: Finance", failed(), Some(("folders", json!({"id": 11, "key": "K-1"})))),
        ("folders: finance", with(&[("/folder", json!({"id": 5, "path": "Finance"}))]), None),
        ("mode: off", failed(), Some(("mode", json!("off")))),
    ] {
        let found = because(line, &event_json);
        assert_eq!(found.as_ref().map(|b| (b.path.as_str(), b.found.clone())), failing, "{line}");
    }
    assert!(because("queues: [invoices]", &failed()).and_then(|b| b.hint).is_some_and(|h| h.contains("case")));
    assert!(because("folders: Finance", &failed()).and_then(|b| b.hint).is_some_and(|h| h.contains("`id`")));
}

#[test]
fn a_condition_that_lacks_a_field_is_no_match_and_one_of_wrong_type_is_a_fault() {
    for (when, path) in [
        ("content.Amount > 1000", None),
        ("content.Amount > vars.limit", None),
        ("event.source == 'prod-hook' && rule.name == 'r'", None),
        ("content.Amount > 100000", Some("when")),
        ("content.Missing > 1", Some("when")),
        ("content.Nothing > 1", Some("when")),
        ("job.Key == 'x'", Some("when")),
        ("now > timestamp(item.DueDate)", Some("when")),
    ] {
        let found = because(&format!("when: {when}"), &failed());
        assert_eq!(found.as_ref().map(|b| b.path.as_str()), path, "{when}: {found:?}");
    }
    let hint = because("when: content.Missing > 1", &failed()).and_then(|b| b.hint).unwrap_or_default();
    assert!(hint.contains("`content.Missing` is missing"), "{hint}");

    let rules = set(&format!("rule: r\nevents: \"*\"\nwhen: content.Text > 4\n{STEP}\n"));
    let met = rules.matching(&event(failed()), now());
    let fault = met[0].fault.as_ref().expect("a fault");
    assert_eq!(fault.place, "when");
    assert!(fault.message.contains("double("), "{fault}");
    assert!(rules.explain(&event(failed()), now())[0].because.as_ref().is_some_and(|b| b.path == "when"));
}

#[test]
fn rules_come_in_the_order_of_files_and_documents() {
    let rule = |name: &str, line: &str| format!("rule: {name}\nevents: \"*\"\n{line}\n{STEP}\n");
    let files = [
        file("1.yaml", &format!("{}---\n{}", rule("z", ""), rule("a", "mode: shadow"))),
        file("2.yaml", &format!("{}---\n{}---\n{}", rule("m", ""), rule("off", "mode: off"), rule("b", "queues: X"))),
    ];
    let rules = RuleSet::load(&files, &known(), &no_samples).0.expect("fine");
    let names: Vec<_> = rules.matching(&event(failed()), now()).into_iter().map(|met| met.rule.name.to_string()).collect();
    assert_eq!(names, ["z", "a", "m"]);
    assert_eq!(rules.get("b").expect("there").place, "2.yaml:11");
    assert!(rules.get("nope").is_none());
}

#[test]
fn odd_data_meets_nothing_and_breaks_nothing() {
    let rules = format!(
        "rule: r\nevents: \"*\"\nqueues: Q\nmatch: {{Queue: {{Name: [Q]}}}}\nwhen: item.Id > 1\n{STEP}\n---\nrule: s\nevents: \"*\"\nwhen: data.x.y == 1\n{STEP}\n"
    );
    for data in [
        Value::Null,
        json!([]),
        json!([{"Queue": {"Name": "Q"}}]),
        json!("x"),
        json!(5),
        json!(true),
        json!({}),
        json!({"Queue": null}),
        json!({"x": {}}),
    ] {
        assert_eq!(met(&rules, &json!({"type": "t", "data": data})), Vec::<String>::new(), "{data}");
    }
}

#[test]
fn patterns_are_asked_before_the_condition() {
    let line = "match: {QueueItem: {ProcessingException: {Type: [BusinessException]}}}\nwhen: content.Text > 4";
    let found = because(line, &failed()).expect("no match");
    assert_eq!(found.path, "match.QueueItem.ProcessingException.Type");
    assert_eq!(found.found, json!("ApplicationException"));
}

#[test]
fn events_that_no_rule_can_meet_are_known_before_they_are_accepted() {
    let text = "rule: a\nevents: queueItem.added\nmatch:\n  QueueItem: {Reference: [wanted]}\nwhen: data.Queue.Id > 5\nsteps:\n  - http: {method: POST, url: 'https://host/x'}\n---\nrule: b\nmode: off\nevents: '*'\nsteps:\n  - http: {method: POST, url: 'https://host/x'}\n";
    let in_force = |generation| RulesInForce { set: Arc::new(set(text)), generation };
    let (wanted, other) = (json!({"QueueItem": {"Reference": "wanted"}}), json!({"QueueItem": {"Reference": "other"}}));
    let unmet = |generation, events: &[(&str, &Value)]| in_force(generation).unmet(events.iter().copied());
    assert_eq!(unmet(3, &[("queueItem.added", &other), ("job.faulted", &wanted)]), 3);
    assert_eq!(unmet(3, &[("queueItem.added", &other), ("QUEUEITEM.added", &wanted)]), 0, "one is enough, whatever `when` will say");
    assert_eq!(unmet(0, &[("queueItem.added", &other)]), 0, "a generation that is not recorded says nothing");
}

#[test]
fn a_condition_that_does_not_hold_names_its_part_and_what_it_saw() {
    for (when, expected, found, hint) in [
        ("content.Amount > 100000", "content.Amount > 100000", json!({"content.Amount": 20000}), ""),
        ("item.Id == 7 && (content.Amount > 100000 && item.Id == 8)", "content.Amount > 100000", json!({"content.Amount": 20000}), ""),
        (
            "item.Id == 7 && now > timestamp(item.DueDate)",
            "now > timestamp(item.DueDate)",
            json!({"now": "2026-03-01T10:00:00Z", "timestamp(item.DueDate)": "2026-04-01T00:00:00Z", "item.DueDate": "2026-04-01T00:00:00Z"}),
            "",
        ),
        (
            "item.Id == 8 || item.Priority == \"High\"",
            "item.Id == 8 || item.Priority == \"High\"",
            json!({"item.Id": 7, "item.Priority": "Low"}),
            "",
        ),
        (
            "size(content.Lines) > 2",
            "size(content.Lines) > 2",
            json!({"size(content.Lines)": 2, "content.Lines": "an array with 2 elements"}),
            "",
        ),
        ("item.Priority == \"low\"", "item.Priority == \"low\"", json!({"item.Priority": "Low"}), "only in case"),
        ("item.Id == 7 && content.Missing > 1", "content.Missing > 1", Value::Null, "`content.Missing` is missing"),
        ("item.Id == 7 && content.Text > 4", "content.Text > 4", json!({"content.Text": "5"}), "double("),
        ("item.Id == 8 && content.Text > 4", "item.Id == 8", json!({"item.Id": 7}), ""),
        ("!(item.Id == 7)", "!(item.Id == 7)", json!({"item.Id": 7}), ""),
        ("false || 1 > 2", "false || 1 > 2", json!(false), ""),
    ] {
        let text = format!("when: {}", serde_json::to_string(when).expect("text"));
        let because = because(&text, &failed()).unwrap_or_else(|| panic!("{when} holds"));
        assert_eq!((&because.path[..], &because.expected, &because.found), ("when", &json!(expected), &found), "{when}");
        let said = because.hint.unwrap_or_default();
        assert!(if hint.is_empty() { said.is_empty() } else { said.contains(hint) }, "{when}: {said}");
    }
}
