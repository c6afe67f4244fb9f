use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fault::SourceText;

fn try_compile(yaml: &str) -> (Option<Pattern>, Faults) {
    let source = Arc::new(SourceText { path: PathBuf::from("rule.yaml"), text: yaml.to_owned() });
    let nodes = crate::yaml::parse(&source).unwrap_or_else(|faults| panic!("{yaml}: {faults:?}"));
    let mut faults = Faults::new();
    let pattern = Pattern::compile(&nodes[0], &mut faults);
    assert_eq!(pattern.is_none(), faults.any_error(), "{yaml}");
    (pattern, faults)
}

fn compile(yaml: &str) -> Pattern {
    let (pattern, faults) = try_compile(yaml);
    pattern.unwrap_or_else(|| panic!("{yaml}: {faults:?}"))
}

#[track_caller]
fn check(pattern: &str, cases: &[(Value, bool)]) {
    let compiled = compile(pattern);
    for (data, expected) in cases {
        assert_eq!(compiled.matches(data), *expected, "{pattern} on {data}");
        assert_eq!(compiled.explain(data).is_none(), *expected, "{pattern} on {data}");
    }
}

#[test]
fn fields_are_and_alternatives_are_or() {
    check(
        "{Queue: {Name: [Invoices, Payments]}, QueueItem: {Status: [Failed]}}",
        &[
            (json!({"Queue": {"Name": "Payments"}, "QueueItem": {"Status": "Failed", "Id": 1}}), true),
            (json!({"Queue": {"Name": "Other"}, "QueueItem": {"Status": "Failed"}}), false),
            (json!({"Queue": {"Name": "Invoices"}}), false),
            (json!(null), false),
            (json!([]), false),
        ],
    );
}

#[test]
fn literals_never_change_their_type() {
    check("{v: [5]}", &[(json!({"v": 5.0}), true), (json!({"v": "5"}), false), (json!({"v": [1, 5]}), true)]);
    check("{v: ['5']}", &[(json!({"v": 5}), false), (json!({"v": "5"}), true)]);
    check("{v: [true]}", &[(json!({"v": "true"}), false), (json!({"v": [false, true]}), true)]);
    check("{v: [null]}", &[(json!({"v": null}), true), (json!({"v": ""}), false), (json!({}), false)]);
    check("{v: ['é']}", &[(json!({"v": "e\u{301}"}), false), (json!({"v": "é"}), true)]);
    check("{v: [9007199254740993]}", &[(json!({"v": 9_007_199_254_740_993_i64}), true), (json!({"v": 9_007_199_254_740_992_i64}), false)]);
}

#[test]
fn addresses_are_compared_by_value_unless_exactly() {
    check("{ip: ['10.0.0.1']}", &[(json!({"ip": "10.0.0.01"}), true), (json!({"ip": "10.0.0.2"}), false)]);
    check("{ip: [{exactly: '10.0.0.1'}]}", &[(json!({"ip": "10.0.0.01"}), false), (json!({"ip": "10.0.0.1"}), true)]);
    check("{ip: ['::1']}", &[(json!({"ip": "0:0:0:0:0:0:0:1"}), true)]);
    check(
        "{ip: [{cidr: 10.1.0.0/16}, {cidr: '192.168.0.1/32'}]}",
        &[
            (json!({"ip": "10.1.200.3"}), true),
            (json!({"ip": "192.168.0.1"}), true),
            (json!({"ip": "10.2.0.0"}), false),
            (json!({"ip": 5}), false),
        ],
    );
}

#[test]
fn operators_on_strings() {
    check("{s: [{prefix: ab}]}", &[(json!({"s": "abc"}), true), (json!({"s": "xab"}), false)]);
    check("{s: [{prefix: ''}]}", &[(json!({"s": ""}), true), (json!({"s": 5}), false)]);
    check("{s: [{suffix: .tmp}]}", &[(json!({"s": "a.tmp"}), true), (json!({"s": "a.TMP"}), false)]);
    check("{s: [{prefix: {equals-ignore-case: Ab}}]}", &[(json!({"s": "aBx"}), true), (json!({"s": "xab"}), false)]);
    check("{s: [{suffix: {equals-ignore-case: .Tmp}}]}", &[(json!({"s": "a.tMP"}), true)]);
    check("{s: [{equals-ignore-case: Straße}]}", &[(json!({"s": "STRASSE"}), true), (json!({"s": "strase"}), false)]);
    check("{s: [{wildcard: 'a*c'}]}", &[(json!({"s": "abbc"}), true), (json!({"s": "ac"}), true), (json!({"s": "ab"}), false)]);
}

#[test]
fn anything_but_asks_for_presence_and_lets_other_types_pass() {
    check(
        "{v: [{anything-but: [x, y]}]}",
        &[
            (json!({"v": "z"}), true),
            (json!({"v": "x"}), false),
            (json!({"v": 5}), true),
            (json!({"v": null}), true),
            (json!({}), false),
            (json!({"v": {}}), false),
            (json!({"v": ["x", "z"]}), true),
            (json!({"v": ["x", "y"]}), false),
        ],
    );
    check("{v: [{anything-but: 5}]}", &[(json!({"v": 5.0}), false), (json!({"v": "5"}), true), (json!({"v": 6}), true)]);
    check("{v: [{anything-but: {prefix: [a, b]}}]}", &[(json!({"v": "cab"}), true), (json!({"v": "bx"}), false)]);
    check("{v: [{anything-but: {suffix: .tmp}}]}", &[(json!({"v": "a.txt"}), true), (json!({"v": "a.tmp"}), false)]);
    check("{v: [{anything-but: {wildcard: '*x*'}}]}", &[(json!({"v": "ab"}), true), (json!({"v": "axb"}), false)]);
    check("{v: [{anything-but: {equals-ignore-case: [Yes]}}]}", &[(json!({"v": "yES"}), false), (json!({"v": "no"}), true)]);
}

#[test]
fn numbers_in_ranges() {
    check(
        "{n: [{numeric: ['>=', 2, '<', 5]}]}",
        &[
            (json!({"n": 2}), true),
            (json!({"n": 4.99}), true),
            (json!({"n": 5}), false),
            (json!({"n": "3"}), false),
            (json!({"n": [9, 3]}), true),
        ],
    );
    check("{n: [{numeric: ['=', 0]}]}", &[(json!({"n": -0.0}), true), (json!({"n": 1e-300}), false)]);
    check("{n: [{numeric: ['>', 5]}]}", &[(json!({"n": 5}), false), (json!({"n": 6}), true)]);
    check("{n: [{numeric: ['<=', 5]}]}", &[(json!({"n": 5}), true), (json!({"n": -1e300}), true)]);
}

#[test]
fn existence_is_about_leaves() {
    check(
        "{a: [{exists: true}]}",
        &[
            (json!({"a": null}), true),
            (json!({"a": ""}), true),
            (json!({"a": {"b": 1}}), false),
            (json!({"a": []}), false),
            (json!({"a": [{}]}), false),
            (json!({"a": [1]}), true),
        ],
    );
    check(
        "{a: [{exists: false}]}",
        &[(json!({"a": {"b": 1}}), true), (json!({"a": []}), true), (json!({}), true), (json!({"a": 1}), false)],
    );
    check("{a: [{exists: false}, x]}", &[(json!({}), true), (json!({"a": "x"}), true), (json!({"a": "y"}), false)]);
}

#[test]
fn fields_are_taken_from_the_same_element() {
    check(
        "{people: {first: [Anna], last: [Jones]}}",
        &[
            (json!({"people": [{"first": "Anna", "last": "Smith"}, {"first": "Peter", "last": "Jones"}]}), false),
            (json!({"people": [{"first": "Anna", "last": "Smith"}, {"first": "Anna", "last": "Jones"}]}), true),
            (json!({"people": {"first": "Anna", "last": "Jones"}}), true),
            (json!({"people": [[{"first": "Anna"}, {"last": "Jones"}]]}), false),
            (json!({"people": [[{"first": "Anna", "last": "Jones"}]]}), true),
        ],
    );
    check(
        "{a: {b: {c: [1], d: [2]}, e: [3]}}",
        &[
            (json!({"a": [{"b": [{"c": 1}, {"c": 1, "d": 2}], "e": 3}]}), true),
            (json!({"a": [{"b": [{"c": 1, "d": 2}], "e": 0}, {"b": [{"c": 1}], "e": 3}]}), false),
        ],
    );
    check("{a: [1], b: [2]}", &[(json!({"a": [1, 3], "b": [2, 4]}), true)]);
}

#[test]
fn absence_is_judged_by_the_elements_fixed_before() {
    check("{a: {b: [{exists: false}], c: [1]}}", &[(json!({"a": [{"b": 1}, {"c": 1}]}), false)]);
    check("{a: {b: [1], c: [{exists: false}]}}", &[(json!({"a": [{"b": 1}, {"c": 1}]}), true), (json!({"a": [{"b": 1, "c": 1}]}), false)]);
}

#[test]
fn dots_and_nesting_are_one() {
    check("{a.b: [1]}", &[(json!({"a": {"b": 1}}), true), (json!({"a.b": 1}), true)]);
    check("{a: {b: [1]}}", &[(json!({"a.b": 1}), true)]);
    check("{a: {b.c: [1]}}", &[(json!({"a.b": {"c": 1}}), true)]);
}

#[test]
fn field_names_of_any_spelling_are_reached() {
    let content = json!({"QueueItem": {"SpecificContent": {"a.b": 1, "c[0]": 2, "d e": 3, "@f": 4, "😀": 5, "": 6, "$x": 7, "x.": 8}}});
    for (name, value) in [("a.b", 1), ("c[0]", 2), ("d e", 3), ("@f", 4), ("😀", 5), ("", 6), ("$x", 7), ("x.", 8)] {
        let pattern = format!("{{QueueItem: {{SpecificContent: {{'{name}': [{value}]}}}}}}");
        assert!(compile(&pattern).matches(&content), "{pattern}");
    }
    assert!(!compile("{QueueItem: {SpecificContent: {c: [2]}}}").matches(&content), "brackets are no path syntax");
}

#[test]
fn or_stands_at_any_level_and_multiplies() {
    let pattern = "{s: [x], $or: [{a: [1]}, {b: [2], $or: [{c: [3]}, {d: [4]}]}]}";
    check(
        pattern,
        &[
            (json!({"s": "x", "a": 1}), true),
            (json!({"s": "x", "b": 2, "d": 4}), true),
            (json!({"s": "x", "b": 2}), false),
            (json!({"a": 1}), false),
        ],
    );
    assert_eq!(compile(pattern).branches().len(), 3);
    check("{o: {$or: [{a: [1]}, {b: [2]}]}}", &[(json!({"o": {"b": 2}}), true), (json!({"b": 2}), false)]);
}

#[test]
fn a_field_asked_for_again_inside_or_is_replaced_with_a_warning() {
    let (pattern, faults) = try_compile("{name: [a, b], $or: [{name: [{anything-but: a}]}, {c: [x]}]}");
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["pattern-replaced"]);
    let pattern = pattern.expect("compiles");
    assert!(pattern.matches(&json!({"name": "z"})) && pattern.matches(&json!({"name": "a", "c": "x"})));
    assert!(!pattern.matches(&json!({"name": "a"})));
}

#[test]
fn patterns_are_joined() {
    let queue = Pattern::any_text("Queue.Name", ["Invoices", "10.0.0.1"]);
    assert!(queue.matches(&json!({"Queue": {"Name": "10.0.0.1"}})) && !queue.matches(&json!({"Queue": {"Name": "10.0.0.01"}})));
    let both = queue.and(&compile("{Queue: {Name: [{prefix: Inv}]}, a: [1]}"));
    assert!(both.matches(&json!({"Queue": {"Name": "Invoices"}, "a": 1})));
    assert!(!both.matches(&json!({"Queue": {"Name": "Inventory"}, "a": 1})) && !both.matches(&json!({"Queue": {"Name": "Invoices"}})));
    let either = Pattern::any_text("a", ["x"]).or(Pattern::any_text("b", ["x"]));
    assert!(either.matches(&json!({"b": "x"})) && !either.matches(&json!({"c": "x"})));
    assert_eq!(either.explain(&json!({"a": "y"})).map(|b| b.path).as_deref(), Some("match.a"));
}

#[test]
fn a_field_called_or_is_possible_and_warned_about() {
    let (pattern, faults) = try_compile("{$or: [x, {prefix: y}]}");
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["pattern-or"]);
    assert!(pattern.expect("compiles").matches(&json!({"$or": "yes"})));
}

#[test]
fn every_fault_has_its_place_and_a_remedy() {
    let mut wrong = Vec::new();
    for (yaml, code, line, column) in [
        ("a: 1", "pattern-scalar", 1, 4),
        ("a: x", "pattern-scalar", 1, 4),
        ("a:", "pattern-scalar", 1, 2),
        ("a: {}", "pattern-empty", 1, 4),
        ("a: []", "pattern-empty", 1, 4),
        ("a: [[1]]", "pattern-nested", 1, 5),
        ("a: [{}]", "pattern-operator", 1, 5),
        ("a: [{foo: 1}]", "pattern-operator", 1, 6),
        ("a: [{prefix: a, suffix: b}]", "pattern-operator", 1, 17),
        ("a: [{prefix: 3}]", "pattern-text", 1, 14),
        ("a: [{prefix: {other: a}}]", "pattern-operator", 1, 14),
        ("a: [{suffix: {equals-ignore-case: 5}}]", "pattern-text", 1, 35),
        ("a: [{exactly: 33}]", "pattern-text", 1, 15),
        ("a: [{wildcard: 'a**b'}]", "pattern-wildcard", 1, 16),
        ("a: [{wildcard: [a]}]", "pattern-text", 1, 16),
        ("a: [{cidr: foo}]", "pattern-cidr", 1, 12),
        ("a: [{exists: maybe}]", "pattern-exists", 1, 14),
        ("a: [{anything-but: []}]", "pattern-empty", 1, 20),
        ("a: [{anything-but: [1, x]}]", "pattern-anything-but", 1, 20),
        ("a: [{anything-but: null}]", "pattern-anything-but", 1, 20),
        ("a: [{anything-but: {numeric: ['>', 5]}}]", "pattern-anything-but", 1, 21),
        ("a: [{anything-but: {prefix: ''}}]", "pattern-empty", 1, 29),
        ("a: [{anything-but: {prefix: [1]}}]", "pattern-text", 1, 30),
        ("a: [{anything-but: {prefix: a, suffix: b}}]", "pattern-anything-but", 1, 20),
        ("a: [{numeric: 5}]", "pattern-numeric", 1, 15),
        ("a: [{numeric: ['<', '5']}]", "pattern-numeric", 1, 21),
        ("a: [{numeric: ['>', 30, '<', 1]}]", "pattern-numeric", 1, 15),
        ("a: [{numeric: ['>', 5, '<']}]", "pattern-numeric", 1, 15),
        ("a: [{numeric: ['<', 5, '>', 1]}]", "pattern-numeric", 1, 15),
        ("a: [{numeric: ['~', 5]}]", "pattern-numeric", 1, 16),
        ("a: [{numeric: ['>', 9007199254740993]}]", "pattern-numeric", 1, 21),
        ("{$or: [{a: [1]}, 5]}", "pattern-or", 1, 18),
        ("{$or: [{a: [1]}]}", "pattern-or", 1, 7),
        ("{$or: 5}", "pattern-or", 1, 7),
        ("{$or: [{a: [1]}, {}]}", "pattern-empty", 1, 18),
        ("{$or: [{a: [1]}, {numeric: {b: [1]}}]}", "pattern-reserved", 1, 19),
        ("{a.b: [1], a: {b: [2]}}", "pattern-duplicate", 1, 16),
        ("[1]", "pattern-shape", 1, 1),
        ("5", "pattern-shape", 1, 1),
    ] {
        let (_, faults) = try_compile(yaml);
        let fault = faults.iter().find(|fault| fault.code == code).unwrap_or_else(|| panic!("{yaml}: {faults:?}"));
        let place = fault.place.as_ref().expect("a place");
        if (place.line, place.column) != (line, column) {
            wrong.push(format!("{yaml}: {}", fault.one_line()));
        }
        assert!(fault.help.is_some() && fault.message.contains("match"), "{yaml}: {fault:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_faults_are_found_at_once() {
    let (_, faults) = try_compile("a: 1\nb: [{foo: 1}, {numeric: 5}]\nc: {d: x, e: []}\n");
    assert_eq!(faults.len(), 5, "{faults:?}");
}

#[test]
fn a_scalar_gets_its_corrected_line() {
    for (yaml, line) in [
        ("Status: Failed", "write: Status: [Failed]"),
        ("Status: 'on'", "write: Status: [\"on\"]"),
        ("N: 5", "write: N: [5]"),
        ("N: '5'", "write: N: [\"5\"]"),
        ("N:", "write: N: [null]"),
        ("N: a b", "write: N: [\"a b\"]"),
    ] {
        let (_, faults) = try_compile(yaml);
        assert_eq!(faults.iter().next().and_then(|fault| fault.help.as_deref()), Some(line), "{yaml}");
    }
}

#[test]
fn branches_are_bounded() {
    let or = "$or: [{a: [1]}, {b: [1]}, {c: [1]}, {d: [1]}]";
    let nested = (0..5).map(|n| format!("f{n}: {{{or}}}")).collect::<Vec<_>>().join(", ");
    let (pattern, faults) = try_compile(&format!("{{{nested}}}"));
    assert!(pattern.is_none());
    assert_eq!(faults.iter().filter(|fault| fault.code == "pattern-branches").count(), 1);
    let (pattern, _) = try_compile(&format!("{{{}}}", (0..4).map(|n| format!("f{n}: {{{or}}}")).collect::<Vec<_>>().join(", ")));
    assert_eq!(pattern.expect("256 branches").branches().len(), 256);
}

#[track_caller]
fn because(pattern: &str, data: &Value) -> Because {
    compile(pattern).explain(data).expect("does not match")
}

#[test]
fn the_first_failing_condition_is_explained() {
    let pattern = "{Queue: {Name: [Invoices]}, QueueItem: {ProcessingException: {Type: [ApplicationException]}}}";
    let data = json!({"Queue": {"Name": "Invoices"}, "QueueItem": {"ProcessingException": {"Type": "BusinessException"}}});
    assert_eq!(
        because(pattern, &data),
        Because {
            path: "match.QueueItem.ProcessingException.Type".to_owned(),
            expected: json!(["ApplicationException"]),
            found: json!("BusinessException"),
            hint: None
        }
    );
    assert_eq!(because("{z: [1], a: [1]}", &json!({})).path, "match.z", "in the order written");
    assert_eq!(because("{$or: [{a: [1], b: [2]}, {c: [3]}]}", &json!({"a": 1})).path, "match.b", "the branch that comes furthest");
}

#[test]
fn known_traps_have_hints() {
    for (pattern, data, hint) in [
        ("{n: ['5']}", json!({"n": 5}), "without quotes"),
        ("{n: [5]}", json!({"n": "5"}), "in quotes"),
        ("{n: [{numeric: ['>', 1]}]}", json!({"n": "5"}), "double("),
        ("{b: ['true']}", json!({"b": true}), "without quotes"),
        ("{s: [invoices]}", json!({"s": "Invoices"}), "case"),
        ("{s: ['a ']}", json!({"s": "a"}), "spaces"),
        ("{s: ['a*']}", json!({"s": "abc"}), "wildcard"),
        ("{s: [{prefix: '1'}]}", json!({"s": 12}), "compare strings"),
        ("{a: [{exists: true}]}", json!({"a": {"b": 1}}), "is an object"),
        ("{a: [{exists: true}]}", json!({"a": [{"b": 1}]}), "elements"),
        ("{a: [{exists: true}]}", json!({"a": []}), "empty array"),
        ("{a: [{exists: false}]}", json!({"a": null}), "null"),
        ("{a: [{anything-but: x}]}", json!({}), "exists: false"),
        ("{a: [{anything-but: [x, y]}]}", json!({"a": ["x", "y"]}), "array"),
        ("{QueueItem: {Referense: [x]}}", json!({"QueueItem": {"Reference": "x"}}), "`QueueItem.Reference`"),
        ("{p: {a: [1], b: [2]}}", json!({"p": [{"a": 1}, {"b": 2}]}), "same element"),
    ] {
        let because = because(pattern, &data);
        assert!(because.hint.as_deref().is_some_and(|text| text.contains(hint)), "{pattern} on {data}: {because:?}");
    }
}

#[test]
fn found_values_are_cut() {
    let long = because("{a: [x]}", &json!({"a": "y".repeat(100_000)}));
    assert!(long.found.as_str().is_some_and(|text| text.chars().count() == 201));
    let many = because("{a: [x]}", &json!({"a": vec!["y"; 1000]}));
    assert_eq!(many.found.as_array().map(Vec::len), Some(8));
    assert_eq!(because("{a: {b: [x]}}", &json!({"a": {"b": {"c": 1}}})).found, json!("an object with 1 fields"));
}

#[test]
fn large_arrays_cost_their_size_and_not_its_square() {
    let people: Vec<Value> = (0..20_000).map(|n| json!({"a": 1, "b": n % 2, "c": 3 + n % 2})).collect();
    let siblings = json!({"p": people, "q": people.clone()});
    let pattern = compile("{p: {a: [1], b: [1], c: [3]}, q: {a: [1], c: [9]}}");
    assert!(!pattern.matches(&siblings));
    let nested: Vec<Value> =
        (0..300).map(|_| json!({"x": (0..100).map(|n| json!({"a": 1, "b": n})).collect::<Vec<_>>(), "y": 1})).collect();
    assert!(!compile("{p: {x: {a: [1], b: [100]}, y: [1]}, z: [{exists: false}]}").matches(&json!({"p": nested})));
    let mixed: Vec<Value> = (0..20_000).map(|n| if n % 2 == 0 { json!(n) } else { json!({"a": 1, "b": n % 3}) }).collect();
    assert!(!compile("{p: {a: [1], b: [5]}}").matches(&json!({"p": mixed})));
}

/// The definition, by brute force: every choice of one value per path is tried.
fn plain(branch: &Branch, data: &Value) -> bool {
    type Chain = Vec<(usize, usize)>;
    fn collect(value: &Value, path: &str, chain: &Chain, arrays: &mut usize, out: &mut Vec<(String, Value, Chain)>) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    collect(inner, &path, chain, arrays, out);
                }
            }
            Value::Array(items) => {
                let array = *arrays;
                *arrays += 1;
                for (index, item) in items.iter().enumerate() {
                    let mut inner = chain.clone();
                    if item.is_object() || item.is_array() {
                        inner.push((array, index));
                    }
                    collect(item, path, &inner, arrays, out);
                }
            }
            scalar => out.push((path.to_owned(), scalar.clone(), chain.clone())),
        }
    }
    fn go(conditions: &[Arc<Condition>], fields: &[(String, Value, Chain)], fixed: &Chain) -> bool {
        let Some((condition, rest)) = conditions.split_first() else { return true };
        let agrees = |chain: &Chain| chain.iter().all(|(array, index)| fixed.iter().all(|(a, i)| a != array || i == index));
        let here = || fields.iter().filter(|(path, _, chain)| **path == *condition.path && agrees(chain));
        if condition.absent && here().next().is_none() && go(rest, fields, fixed) {
            return true;
        }
        here().filter(|(_, value, _)| condition.accepts(value)).any(|(_, _, chain)| {
            let mut fixed = fixed.clone();
            fixed.extend(chain);
            go(rest, fields, &fixed)
        })
    }
    let mut fields = Vec::new();
    if data.is_object() {
        collect(data, "", &Vec::new(), &mut 0, &mut fields);
    }
    go(&branch.conditions, &fields, &Vec::new())
}

pub(in crate::rules) fn any_event() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        3 => (0..4).prop_map(Value::from),
        4 => prop::sample::select(vec!["x", "xy", "Y", "10.0.0.1", "5"]).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
    ];
    let object = |inner: BoxedStrategy<Value>| {
        let field = |name: &'static str, chance| (Just(name), proptest::option::weighted(chance, inner.clone()));
        (field("a", 0.8), field("b", 0.8), field("c", 0.6), field("a.b", 0.1))
            .prop_map(|(a, b, c, d)| [a, b, c, d].into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect::<Value>())
    };
    let value = leaf.prop_recursive(3, 60, 4, move |inner| {
        let things = proptest::collection::vec(object(inner.clone().boxed()), 1..5).prop_map(Value::Array);
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            2 => things,
            2 => object(inner.boxed()),
        ]
    });
    proptest::collection::hash_map(prop::sample::select(vec!["a", "b", "c"]), value, 2..4)
        .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

/// A pattern as YAML text.
pub(in crate::rules) fn any_pattern() -> impl Strategy<Value = String> {
    let alternative = prop::sample::select(vec![
        "1",
        "2",
        "x",
        "'5'",
        "true",
        "null",
        "{exists: true}",
        "{exists: false}",
        "{prefix: x}",
        "{suffix: y}",
        "{prefix: {equals-ignore-case: X}}",
        "{equals-ignore-case: y}",
        "{wildcard: 'x*'}",
        "{wildcard: '*y'}",
        "{anything-but: [x]}",
        "{anything-but: 1}",
        "{numeric: ['>', 1]}",
        "{numeric: ['=', 2]}",
        "{cidr: 10.0.0.0/8}",
        "'10.0.0.01'",
        "{exactly: xy}",
    ]);
    let leaf = proptest::collection::vec(alternative, 1..5).prop_map(|items| format!("[{}]", items.join(", ")));
    let object = |inner: BoxedStrategy<String>| {
        proptest::collection::hash_map(prop::sample::select(vec!["a", "b", "c"]), inner, 1..3)
            .prop_map(|fields| fields.into_iter().map(|(k, v)| format!("{k}: {v}")).collect::<Vec<_>>().join(", "))
    };
    let one = object(leaf.clone().boxed()).prop_map(|fields| format!("{{{fields}}}")).boxed();
    let two = object(prop_oneof![leaf, one].boxed());
    (two.clone(), proptest::option::of((two.clone(), two))).prop_map(|(fields, or)| match or {
        None => format!("{{{fields}}}"),
        Some((left, right)) => format!("{{{fields}, $or: [{{{left}}}, {{{right}}}]}}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn matching_is_what_the_definition_says(pattern in any_pattern(), data in any_event()) {
        let compiled = compile(&pattern);
        let expected = compiled.branches().iter().any(|branch| plain(branch, &data));
        prop_assert_eq!(compiled.matches(&data), expected, "{}", pattern);
        prop_assert_eq!(compiled.explain(&data).is_none(), expected);
    }
}
