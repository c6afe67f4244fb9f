//! Lists of steps, steps that wait, and what is done when a run is given up.

use super::*;
use crate::rules::{Part, Within};

const RULE: &str = r#"
rule: split
events: queueItem.added
steps:
  - id: lines
    enqueue_each: {over: "${content.Lines}", as: line, parallel: 4, queue: Q, reference: "${item.Reference}-${line.No}", content: {No: "${line.No}"}}
  - id: told
    for_each: content.Lines.filter(l, l.No > 1)
    as: line
    steps:
      - id: job
        start_job: {process: P, input: {No: "${line.No}", First: "${steps.lines[0].Id}"}, wait: true}
        timeout: 2h
      - if: line.No > 2
        emit: {type: done, data: {job: "${steps.job.State}"}}
  - wait: 90m
  - await_item: {id: "${steps.lines[1].Id}"}
  - emit: {type: end, data: {jobs: "${steps.told.map(t, t.job.State)}"}}
on_give_up:
  - id: alert
    http: {method: POST, url: "https://h/x", body: {why: "${error.message}", code: "${error.code}", first: "${steps.?lines.orValue([])}"}}
"#;

fn with_lines() -> Event {
    let lines = json!([{"No": 1}, {"No": 2}, {"No": 3}]);
    Event::from_json(
        &json!({"type": "queueItem.added", "data": {"QueueItem": {"Id": 7, "Reference": "A", "SpecificContent": {"Lines": lines}}}}),
    )
    .expect("an event")
}

fn rendered(rules: &RuleSet, part: Part, step: usize, steps: &Value, error: Option<&Value>) -> Result<Rendered, ExpressionFault> {
    let (event, vars) = (with_lines(), json!({}));
    rules.rules()[0].render_within(&Within { part, error }, step, &input(&event, steps, &vars))
}

#[test]
fn elements_have_their_name_and_see_what_was_done_before_their_list() {
    let rules = set(RULE);
    let none = json!({});
    assert_eq!(rendered(&rules, Part::Main, 0, &none, None), Ok(Rendered::Each { count: 3, parallel: 4 }));
    let Ok(Rendered::Request(request)) = rendered(&rules, Part::Element { step: 0, index: 2 }, 0, &none, None) else { panic!() };
    assert_eq!(request.to_json(), json!({"enqueue": {"queue": "Q", "reference": "A-3", "content": {"No": 3}}}));
    let done = json!({"lines": [{"Id": 10}, {"Id": 11}, {"Id": 12}]});
    assert_eq!(rendered(&rules, Part::Main, 1, &done, None), Ok(Rendered::Each { count: 2, parallel: 1 }));
    let Ok(Rendered::Request(request)) = rendered(&rules, Part::Element { step: 1, index: 0 }, 0, &done, None) else { panic!() };
    let job = &request.to_json()["start_job"];
    assert_eq!((&job["input"], &job["wait"]), (&json!({"No": 2, "First": 10}), &json!(true)));
    let fault = rendered(&rules, Part::Element { step: 1, index: 2 }, 0, &done, None).expect_err("the list is shorter");
    assert_eq!(fault.place, "steps[1].for_each", "{fault}");
}

#[test]
fn derived_references_differ_per_element_and_labels_name_it() {
    let rules = set(&RULE.replace(" reference: \"${item.Reference}-${line.No}\",", ""));
    let reference = |index| match rendered(&rules, Part::Element { step: 0, index }, 0, &json!({}), None) {
        Ok(Rendered::Request(Request::Enqueue(item))) => item.reference,
        other => panic!("{other:?}"),
    };
    assert_ne!(reference(0), reference(1));
    let rule = &rules.rules()[0];
    assert_eq!(rule.label(Part::Element { step: 0, index: 2 }, 0), "lines.3");
    assert_eq!(rule.label(Part::Element { step: 1, index: 0 }, 0), "told.1.job");
    assert_eq!(rule.label(Part::Element { step: 1, index: 0 }, 1), "told.1.2");
    assert_eq!(rule.label(Part::GiveUp, 0), "on_give_up.alert");
    assert_eq!(rule.label(Part::Main, 2), "3");
}

#[test]
fn on_give_up_sees_the_error_and_what_was_done() {
    let rules = set(RULE);
    let error = json!({"code": "refused", "message": "no", "step": "told"});
    let Ok(Rendered::Request(request)) = rendered(&rules, Part::GiveUp, 0, &json!({}), Some(&error)) else { panic!() };
    assert_eq!(request.to_json()["http"]["body"], json!({"why": "no", "code": "refused", "first": []}));
}

#[test]
fn what_is_no_list_is_a_fault() {
    for (over, says) in [("item.Id", "found a single value"), ("data.QueueItem", "found an object"), ("item.Nothing", "missing")] {
        let rules = set(&format!("rule: r\nevents: queueItem.added\nsteps:\n  - for_each: {over}\n    steps: [{{emit: {{type: x}}}}]\n"));
        let fault = rendered(&rules, Part::Main, 0, &json!({}), None).expect_err(over);
        assert!(fault.message.contains(says), "{fault}");
    }
    let many = set(&format!("rule: r\nevents: queueItem.added\nsteps:\n  - enqueue_each: {{over: [{}], queue: Q}}\n", "1,".repeat(1_001)));
    let fault = rendered(&many, Part::Main, 0, &json!({}), None).expect_err("too many");
    assert!(fault.message.contains("at most 1000"), "{fault}");
}

#[test]
fn tests_see_the_steps_of_all_elements_one_after_another() {
    let tests = r#"
tests:
  - name: three lines
    event: {type: queueItem.added, data: {QueueItem: {Reference: A, SpecificContent: {Lines: [{No: 1}, {No: 2}, {No: 3}]}}}}
    replies: {lines: [{Id: 10}, {Id: 11}, {Id: 12}], job: {State: Successful}}
    expect:
      - enqueue: {reference: A-1}
      - enqueue: {reference: A-3}
      - start_job: {input: {No: 2, First: 10}, wait: true}
      - start_job: {input: {No: 3}}
      - emit: {type: done, data: {job: Successful}}
      - wait: 90m
      - await_item: {id: 11}
      - emit: {type: end, data: {jobs: [Successful, Successful]}}
  - name: no lines
    event: {type: queueItem.added, data: {QueueItem: {Reference: A, SpecificContent: {Lines: []}}}}
    replies: {lines: [{}, {Id: 1}]}
    expect: [{wait: 1h30m}, {await_item: {id: 1}}, {emit: {data: {jobs: []}}}]
"#;
    let rules = set(&format!("{}{tests}", RULE.trim_end()));
    for report in rules.test(&[], &json!({}), now()) {
        assert!(report.passed, "{}: {:?}", report.name, report.why);
    }
}

#[test]
fn a_list_may_be_written_out() {
    let rules = set(
        "rule: r\nevents: queueItem.added\nsteps:\n  - for_each: \"[1, 2]\"\n    as: n\n    steps: [{emit: {type: x, data: {no: \"${n}\"}}}]\n",
    );
    assert_eq!(rendered(&rules, Part::Main, 0, &json!({}), None), Ok(Rendered::Each { count: 2, parallel: 1 }));
}
