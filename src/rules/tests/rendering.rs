//! What steps ask for.

use std::time::Duration;

use super::*;

fn fault(step: &str) -> String {
    match render(step) {
        Err(fault) => fault.to_string(),
        other => panic!("{step}: {other:?}"),
    }
}

#[test]
fn an_item_is_enqueued_as_written() {
    let found = request(
        "enqueue:\n  queue: ${vars.review_queue}\n  folder: Finance/In\n  priority: high\n  reference: review-${item.Reference}\n  \
         defer: 10m\n  due: 2026-05-01\n  risk_sla: ${item.DueDate}\n  content:\n    Invoice: ${content.InvoiceId}\n    Amount: ${content.Amount}\n    \
         Note: \"a ${content.Amount} $${x}\"\n    Fixed: 1.5\n    None: ${content.Nothing}\n",
    );
    assert_eq!(
        found,
        json!({"enqueue": {"folder": "Finance/In", "queue": "Invoices-Review", "priority": "High", "reference": "review-A-1",
            "defer": "2026-03-01T10:10:00Z", "due": "2026-05-01T00:00:00Z", "risk_sla": "2026-04-01T00:00:00Z",
            "content": {"Invoice": "A-1", "Amount": 20000, "Note": "a 20000 ${x}", "Fixed": 1.5, "None": null}}})
    );
}

#[test]
fn moments_are_durations_stamps_or_dates() {
    for (written, expected) in [
        ("90s", json!("2026-03-01T10:01:30Z")),
        ("2026-03-02T00:00:00+02:00", json!("2026-03-01T22:00:00Z")),
        ("${duration('1h')}", json!("2026-03-01T11:00:00Z")),
        ("${now + duration('1.5s')}", json!("2026-03-01T10:00:01.5Z")),
        ("${duration('1.5s')}", json!("2026-03-01T10:00:01.5Z")),
        ("${item.?Nope.orValue('2h')}", json!("2026-03-01T12:00:00Z")),
        ("${content.Nothing}", Value::Null),
    ] {
        assert_eq!(request(&format!("enqueue: {{queue: Q, defer: \"{written}\"}}"))["enqueue"]["defer"], expected, "{written}");
    }
    assert!(fault("enqueue: {queue: Q, defer: \"${content.InvoiceId}\"}").starts_with("steps[0].enqueue.defer: "));
    assert!(fault("enqueue: {queue: Q, defer: \"${content.Amount}\"}").contains("expected a duration"));
}

#[test]
fn references_are_derived_and_stand_still() {
    let derived = |step: &str, changed: &[(&str, Value)]| {
        let rules = set(&format!("rule: Überfällig 1\nevents: \"*\"\nsteps: [{step}]\n"));
        let mut json = failed();
        for (key, value) in changed {
            json[*key] = value.clone();
        }
        let (event, vars) = (event(json), known().vars);
        let steps = json!({});
        let Ok(Rendered::Request(Request::Enqueue(item))) = rules.rules()[0].render(0, &input(&event, &steps, &vars)) else {
            panic!("no request")
        };
        item.reference
    };
    let plain = derived("{enqueue: {queue: Q}}", &[]);
    assert!(plain.starts_with("-berf-llig-1:1:") && plain.len() <= 128 && plain.is_ascii(), "{plain}");
    assert_eq!(
        plain,
        derived("{enqueue: {queue: P}}", &[("received", json!("2026-03-01T00:00:00Z")), ("id", json!("01JD8Z3V6Q4K3W5T9M2N7P8R1T"))])
    );
    assert_ne!(plain, derived("{id: x, enqueue: {queue: Q}}", &[]));
    assert_ne!(plain, derived("{enqueue: {queue: Q}}", &[("key", json!("t|item|8|x|"))]));
    let long = set(&format!("rule: {}\nevents: \"*\"\nsteps: [{{id: {}, enqueue: {{queue: Q}}}}]\n", "r".repeat(128), "s".repeat(64)));
    let (event, steps, vars) = (event(failed()), json!({}), known().vars);
    let Ok(Rendered::Request(Request::Enqueue(item))) = long.rules()[0].render(0, &input(&event, &steps, &vars)) else {
        panic!("no request")
    };
    assert!(item.reference.len() <= 128);
}

#[test]
fn content_is_flat_and_its_hints_stay_behind() {
    assert!(fault("enqueue: {queue: Q, content: \"${content}\"}").contains("`Lines` is a list"));
    let flat = request("enqueue: {queue: Q, content: {A: \"${item.ProcessingException.Reason}\"}}");
    assert_eq!(flat["enqueue"]["content"], json!({"A": "boom"}));
    let copied = request("enqueue: {queue: Q, content: \"${{'A': content.Amount, 'A@odata.type': '#Int64'}}\"}");
    assert_eq!(copied["enqueue"]["content"], json!({"A": 20000}));
    assert!(fault("enqueue: {queue: Q, content: \"${{'A.b': 1}}\"}").contains("`.`"));
    assert!(
        fault("enqueue: {queue: Q, content: {A: \"${item.ProcessingException}\"}}")
            .contains("steps[0].enqueue.content.A: `A` is an object")
    );
    assert!(fault("enqueue: {queue: Q, content: \"${item.Id}\"}").contains("expected an object"));
}

#[test]
fn faults_say_where_and_how() {
    for (step, says) in [
        (
            "enqueue: {queue: Q, content: {A: \"${content.Missing}\"}}",
            "steps[0].enqueue.content.A: `content.Missing` is missing; write content.?Missing.orValue(",
        ),
        ("enqueue: {queue: \"${content.Nothing}\"}", "steps[0].enqueue.queue: `content.Nothing` is missing"),
        ("enqueue: {queue: \"${content.?Nope.orValue('')}\"}", "steps[0].enqueue.queue: is empty"),
        ("enqueue: {queue: Q, reference: \"r-${content.Nothing}\"}", "steps[0].enqueue.reference: `content.Nothing` is missing"),
        ("enqueue: {queue: Q, priority: \"${item.Reference}\"}", "High, Normal or Low"),
        ("start_job: {process: P, count: \"${content.Text + 'x'}\"}", "1 to 1000"),
        ("get_item: {id: \"${item.Reference}\"}", "whole number"),
        ("emit: {type: \"tripline.${item.Reference}\"}", "belongs to tripline"),
        ("emit: {type: x, data: {a: [{b: \"${content.Text + 1}\"}]}}", "steps[0].emit.data.a[0].b: `content.Text` is text"),
        ("if: content.Text > 4\nemit: {type: x}", "steps[0].if: `content.Text` is text"),
        ("http: {url: https://h/, headers: {X: \"${content.Evil}\"}}", "steps[0].http.headers.X: invalid header value"),
        ("http: {url: \"https://h/${run.id}\"}", "`run` is missing"),
    ] {
        let found = fault(step);
        assert!(found.contains(says), "{step}: {found}");
        assert!(!found.contains("\r\n"), "{found}");
    }
}

#[test]
fn a_condition_of_a_step_skips_it() {
    for (condition, says) in [("content.Amount > 100000", "does not hold"), ("content.Missing == 1", "`content.Missing` is missing")] {
        match render(&format!("if: {condition}\nemit: {{type: x}}")) {
            Ok(Rendered::Skip { because }) => assert!(because.contains(says), "{because}"),
            other => panic!("{condition}: {other:?}"),
        }
    }
    assert!(matches!(render("if: true\nemit: {type: x}"), Ok(Rendered::Request(Request::Emit(_)))));
}

#[test]
fn jobs_items_and_events_are_asked_for() {
    assert_eq!(
        request(
            "start_job: {process: P, folder: {id: 7}, input: {A: \"${item.Id}\", Deep: {B: [\"${content.Text}\"]}}, count: 2, runtime: Serverless, reference: \"x${item.Id}\", priority: \"${item.Priority}\"}"
        ),
        json!({"start_job": {"folder": {"id": 7}, "process": "P", "input": {"A": 7, "Deep": {"B": ["5"]}}, "priority": "Low", "count": 2, "runtime": "Serverless", "reference": "x7"}})
    );
    assert_eq!(request("get_item: {id: \"${item.Id}\"}"), json!({"get_item": {"id": 7}}));
    assert_eq!(
        request("get_item: {id: 5, folder: {key: \"${event.folder.key}\"}}"),
        json!({"get_item": {"folder": {"key": "K-1"}, "id": 5}})
    );
    assert_eq!(request("get_item: {queue: Q, reference: \"${item.Reference}\"}"), json!({"get_item": {"queue": "Q", "reference": "A-1"}}));
    assert_eq!(
        request("emit: {type: acme.failed, subject: \"invoices/${content.InvoiceId}\", data: {At: \"${now}\", Rule: \"${rule.name}\"}}"),
        json!({"emit": {"type": "acme.failed", "data": {"At": "2026-03-01T10:00:00Z", "Rule": "r"}, "subject": "invoices/A-1"}})
    );
    let too_much = format!("start_job: {{process: P, input: {{A: \"{}\"}}}}", "x".repeat(10_001));
    assert!(fault(&too_much).contains("10000"));
}

#[test]
fn http_requests_keep_values_in_their_place() {
    assert_eq!(
        request(
            "http: {url: \"https://h/items/${content.Evil}?q=${item.Reference}\", headers: {X-A: \"${item.Id}\", Authorization: \"Bearer ${vars.limit}\"}, body: {a: \"${item.Id}\"}}"
        ),
        json!({"http": {"method": "POST", "url": "https://h/items/..%2F..%2Fx%0D%0AA%3A%20b?q=A-1", "headers": {"Authorization": "***", "X-A": "7"}, "body": {"a": 7}}})
    );
    for (step, method, written_out) in [
        ("http: {url: https://h/}", "GET", true),
        ("http: {method: put, url: \"${vars.base}/x/${item.Id}\", body: text}", "PUT", false),
        ("http: {url: \"https://h${item.Id}/\"}", "GET", false),
    ] {
        let Ok(Rendered::Request(Request::Http(call))) = render(step) else { panic!("{step}") };
        assert_eq!((call.method.as_str(), call.written_out), (method, written_out), "{step}");
    }
    let Ok(Rendered::Request(Request::Http(call))) = render("http: {url: \"${vars.base}/x/${item.Id}\"}") else { panic!("no call") };
    assert_eq!(call.url, "https://api.example.com/x/7");
}

#[test]
fn later_steps_see_values_of_earlier_ones() {
    let rules = set(
        "rule: r\nevents: \"*\"\nsteps:\n  - id: a\n    get_item: {id: 5}\n  - emit: {type: x, data: {v: \"${steps.a.Id}\", run: \"${run.id}\"}}\n",
    );
    let (event, vars) = (event(failed()), known().vars);
    let steps = json!({"a": {"Id": 99}});
    let run = crate::event::RunId::of(event.id, "r");
    let input = RenderInput { run: Some(run), ..input(&event, &steps, &vars) };
    match rules.rules()[0].render(1, &input) {
        Ok(Rendered::Request(Request::Emit(emit))) => assert_eq!(emit.data, json!({"v": 99, "run": run.to_string()})),
        other => panic!("{other:?}"),
    }
    assert!(rules.rules()[0].render(7, &input).is_err());
}

#[test]
fn output_is_bounded() {
    let data = json!({"X": "x".repeat(400_000)});
    let event = event(json!({"type": "t", "data": data}));
    let rules = set(
        "rule: r\nevents: \"*\"\nsteps: [{emit: {type: x, data: {a: \"${data.X}\", b: \"${data.X}\", c: \"${data.X}\"}}}, {enqueue: {queue: Q, content: {A: \"${data.X}\"}}}]\n",
    );
    let (steps, vars) = (json!({}), known().vars);
    let fault = |step: usize| rules.rules()[0].render(step, &input(&event, &steps, &vars)).expect_err("too much").to_string();
    assert!(fault(0).contains("larger than 1048576 bytes"), "{}", fault(0));
    assert!(fault(1).contains("256000"), "{}", fault(1));
}

#[test]
fn policies_are_the_rules_unless_a_step_has_its_own() {
    let rules = set(
        "rule: r\nevents: \"*\"\nretry: {attempts: 3, factor: 1.5}\nsteps:\n  - {emit: {type: x}, retry: {first_wait: 5s}, timeout: 7s}\n  - emit: {type: y}\n",
    );
    let rule = &rules.rules()[0];
    assert_eq!(rule.retry, RetryPolicy { attempts: Some(3), factor: 1.5, ..RetryPolicy::default() });
    assert_eq!(rule.steps[0].retry, Some(RetryPolicy { first_wait: Duration::from_secs(5), ..rule.retry }));
    assert_eq!(rule.steps[0].timeout, Some(Duration::from_secs(7)));
    assert_eq!((rule.steps[0].kind(), rule.steps[1].label(1), rule.steps[1].retry), ("emit", "2".to_owned(), None));
}

#[test]
fn values_nested_deeper_than_can_be_kept_end_the_run() {
    let of = |levels: usize| {
        let mut event = failed();
        event["data"]["Deep"] = (0..levels).fold(json!(1), |inner, _| json!([inner]));
        let rules = set("rule: r\nevents: \"*\"\nsteps:\n  - emit: {type: a.b, data: {all: {deep: \"${data.Deep}\"}}}\n");
        let (event, steps, vars) = (super::event(event), json!({}), known().vars);
        rules.rules()[0].render(0, &input(&event, &steps, &vars))
    };
    assert!(of(98).is_ok());
    let fault = of(99).expect_err("too deep");
    assert_eq!((fault.place.as_str(), fault.message.as_str()), ("steps[0].emit.data", "the value is nested deeper than 100 levels"));
}
