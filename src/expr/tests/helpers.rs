//! Tests of the helpers: time, JSON, base64, hashes, case, rounding; and texts that would overflow a stack.

use std::hint::black_box;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// 2026-03-01 10:30:15 UTC, a Sunday.
const NOW: i64 = 1_772_361_015_000;

fn eval(text: &str) -> Result<Value, EvalError> {
    let item = json!({"When": "2026-06-30T22:15:00Z", "Local": "2026-01-31 08:00", "Day": "31.12.2026", "Json": "{\"a\": [1, {\"b\": null}]}", "Amount": 12.345, "N": 7});
    let scope = Scope::new().bind("item", &item).at(Timestamp::from_millis(NOW));
    Expression::compile(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).eval(&scope)
}

#[test]
fn moments_are_read_moved_and_printed() {
    for (text, expected) in [
        ("timestamp('2026-01-31')", json!("2026-01-31T00:00:00Z")),
        ("timestamp('2026-01-31T12:00:00')", json!("2026-01-31T12:00:00Z")),
        ("timestamp('2018-11-26T14:14:31.2113498Z')", json!("2018-11-26T14:14:31.2113498Z")),
        ("timestamp('2026-01-31T12:00:00+02:00')", json!("2026-01-31T10:00:00Z")),
        ("timestamp('2026-01-31T12:00:00', 'Europe/Berlin')", json!("2026-01-31T11:00:00Z")),
        ("timestamp('2026-07-31', 'Europe/Berlin')", json!("2026-07-30T22:00:00Z")),
        ("timestamp('2026-01-31T12:00:00Z', 'Europe/Berlin')", json!("2026-01-31T12:00:00Z")),
        ("timestamp(now) == now", json!(true)),
        ("timestamp(0)", json!("1970-01-01T00:00:00Z")),
        ("duration('2d') == duration('48h')", json!(true)),
        ("duration('1d12h').getDays()", json!(1)),
        ("now + duration('2d')", json!("2026-03-03T10:30:15Z")),
        ("(now - timestamp('2026-01-01')).getDays()", json!(59)),
        ("now.format('%Y-%m-%d %H:%M')", json!("2026-03-01 10:30")),
        ("now.format('%d.%m.%Y %H:%M', 'Europe/Berlin')", json!("01.03.2026 11:30")),
        ("now.format('%A %z', '+05:30')", json!("Sunday +0530")),
        ("now.format('%s')", json!("1772361015")),
        ("time.parse(item.Day, '%d.%m.%Y')", json!("2026-12-31T00:00:00Z")),
        ("time.parse(item.Day, '%d.%m.%Y', 'America/New_York')", json!("2026-12-31T05:00:00Z")),
        ("time.parse(item.Local, '%Y-%m-%d %H:%M', 'Europe/Berlin')", json!("2026-01-31T07:00:00Z")),
        ("time.parse('31/01/2026 08:00 +0200', '%d/%m/%Y %H:%M %z', 'Asia/Tokyo')", json!("2026-01-31T06:00:00Z")),
        ("now.startOf('day')", json!("2026-03-01T00:00:00Z")),
        ("now.startOf('day', 'Europe/Berlin')", json!("2026-02-28T23:00:00Z")),
        ("now.startOf('week')", json!("2026-02-23T00:00:00Z")),
        ("now.startOf('month', 'America/New_York')", json!("2026-03-01T05:00:00Z")),
        ("now.startOf('year')", json!("2026-01-01T00:00:00Z")),
        ("now.startOf('hour')", json!("2026-03-01T10:00:00Z")),
        ("now.startOf('minute')", json!("2026-03-01T10:30:00Z")),
        ("now.plusDays(-1)", json!("2026-02-28T10:30:15Z")),
        // The clock is put forward on 29 March: the time of day stays, the day has 23 hours.
        ("timestamp('2026-03-28T10:00:00Z').plusDays(1, 'Europe/Berlin')", json!("2026-03-29T09:00:00Z")),
        ("now.getHours('Europe/Berlin')", json!(11)),
        ("timestamp(item.When).getDate('Europe/Berlin')", json!(1)),
    ] {
        assert_eq!(eval(text), Ok(expected), "{text}");
    }
}

#[test]
fn local_times_that_come_twice_or_never() {
    // 02:30 comes twice on 25 October: the first is meant. On 29 March it never comes: 03:30 is meant.
    assert_eq!(eval("timestamp('2026-10-25T02:30:00', 'Europe/Berlin')"), Ok(json!("2026-10-25T00:30:00Z")));
    assert_eq!(eval("timestamp('2026-03-29T02:30:00', 'Europe/Berlin')"), Ok(json!("2026-03-29T01:30:00Z")));
}

#[test]
fn json_base64_hashes_case_and_rounding() {
    for (text, expected) in [
        ("json.decode(item.Json)", json!({"a": [1, {"b": null}]})),
        ("json.decode(item.Json).a[0] + 1", json!(2)),
        ("json.decode(item.Json).a[1].?b.orValue('none')", json!("none")),
        ("json.decode('{\"id\": 123456789012345678901}').id", json!("123456789012345678901")),
        ("json.decode('[18446744073709551615, -9223372036854775808]')", json!([u64::MAX, i64::MIN])),
        ("json.decode('[1.5, true, \"x\"]') == [1.5, true, 'x']", json!(true)),
        ("json.encode({'b': [1, null], 'a': item.N})", json!("{\"a\":7,\"b\":[1,null]}")),
        ("json.encode(json.decode(item.Json)) == '{\"a\":[1,{\"b\":null}]}'", json!(true)),
        ("base64.encode('größe')", json!("Z3LDtsOfZQ==")),
        ("base64.encode(b'hi')", json!("aGk=")),
        ("base64.decodeText('Z3LDtsOf\\nZQ')", json!("größe")),
        ("string(base64.decode('aGk='))", json!("hi")),
        ("hash.sha256('abc')", json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        ("hash.sha256(b'abc') == hash.sha256('abc')", json!(true)),
        ("size(hash.sha512(''))", json!(128)),
        ("'STRASSE ÄÖ'.lower() + 'äß'.upper()", json!("strasse äöÄSS")),
        ("'STRASSE ÄÖ'.lowerAscii()", json!("strasse ÄÖ")),
        ("math.round(item.Amount, 2)", json!(12.35)),
        ("math.round(item.Amount)", json!(12)),
        ("math.round(-0.5)", json!(-1)),
        ("math.round(item.N)", json!(7)),
        ("math.floor(1.9) + math.ceil(1.1)", json!(3)),
        ("math.abs(-7) + math.abs(7)", json!(14)),
        ("math.abs(-1.5)", json!(1.5)),
    ] {
        assert_eq!(eval(text), Ok(expected), "{text}");
    }
}

#[test]
fn wrong_arguments_are_told_with_what_would_be_right() {
    for (text, says) in [
        ("timestamp('31.12.2026')", "time.parse"),
        ("timestamp('2026-02-30')", "`2026-02-30` is no timestamp"),
        ("timestamp('2026-01-01T00:00', 'Mars/Base')", "unknown time zone `Mars/Base`; write a name such as Europe/Berlin"),
        ("timestamp(true)", "timestamp"),
        ("duration('2 days')", "such as `90s`, `10m`"),
        ("duration('soon')", "such as 90s, 10m"),
        ("now.format('%Q')", "is no pattern such as"),
        ("now.format('%Y', 'Berlin')", "unknown time zone `Berlin`"),
        ("time.parse('x', '%d.%m.%Y')", "`x` is no date of the form `%d.%m.%Y`"),
        ("now.startOf('fortnight')", "minute, hour, day, week"),
        ("now.plusDays(99999999999)", "years 1 to 9999"),
        ("json.decode('{')", "the text is no JSON"),
        ("base64.decodeText('%%')", "no base64"),
        ("base64.decodeText('/w==')", "no UTF-8"),
        ("math.round('x')", "text where a number is expected"),
        ("math.round(1.5, 99)", "0 to 15"),
        ("math.round(1e300)", "too large"),
    ] {
        match eval(text) {
            Err(EvalError::Type { message, .. }) => assert!(message.contains(says), "{text}: {message}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in ["timestamp(item.Nope)", "item.?Nope.orValue(null).lower()", "timestamp(item.?Nope.orValue(null))"] {
        assert!(matches!(eval(text), Err(EvalError::Missing { .. })), "{text}: {:?}", eval(text));
    }
}

#[test]
fn helpers_stay_within_the_limits() {
    let long = "a".repeat(900_000);
    let data = json!({"Long": long, "Deep": format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), "Many": format!("[{}0]", "0,".repeat(2_000_000))});
    let scope = Scope::new().bind("item", &data);
    for text in [
        "item.Long.upper() + item.Long.upper()",
        "[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, hash.sha256(item.Long))).size()",
        "[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, base64.encode(item.Long))).size()",
        "json.decode(item.Many).size()",
        "json.encode(item.Long + item.Long)",
        "now.format(item.Long + item.Long)",
    ] {
        let scope = scope.clone().at(Timestamp::from_millis(NOW));
        let answer = Expression::compile(text).expect(text).eval(&scope);
        assert!(answer.is_err(), "{text}: {:?}", answer.map(|value| value.to_string().len()));
    }
    let answer = Expression::compile("json.decode(item.Deep)").expect("fine").eval(&scope);
    assert!(matches!(answer, Err(EvalError::Type { .. })), "{answer:?}");
}

/// Parts of long texts: each alone is harmless, repeated they nest the tree.
fn links() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        Just((" || ", "true")),
        Just((" && ", "true")),
        Just((" + ", "1")),
        Just((" - ", "1")),
        Just((" == ", "1")),
        Just((" in ", "[1]")),
        Just((" ? 1 : ", "true")),
        Just((" ? true ? 1 : 2 : ", "true")),
        Just((", ", "1")),
        Just(("(", "1")),
        Just(("[", "1")),
        Just(("{1: ", "1")),
        Just(("!", "true")),
        Just(("-", "1")),
        Just((".a", "")),
        Just((".?a", "")),
        Just(("[0]", "")),
        Just(("[?0]", "")),
        Just((".map(x, x)", "")),
        Just((".exists(x, x.all(y, y))", "")),
        Just((".lower()", "")),
        Just(("size(", "[1]")),
        Just(("f(", "1")),
        Just(("{'a': [", "1")),
        Just((" ", "1")),
        Just(("\"\" + ", "1")),
        Just(("r'", "'")),
        Just(("//", "\n")),
        Just(("`", "`.")),
        Just(("a.b.c{", "}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Long chains of every kind, alone and mixed, closed and left open: on the stack that a thread has by default.
    #[test]
    fn no_long_text_overflows_the_stack(parts in proptest::collection::vec((links(), 1_usize..700), 1..4), closed in any::<bool>(), cut in 0_usize..6000) {
        let mut text = String::new();
        for ((link, operand), times) in &parts {
            text.push_str(&format!("{operand}{link}").repeat(*times));
        }
        text.push('1');
        if closed {
            let opened: Vec<char> = text.chars().filter(|c| "([{".contains(*c)).collect();
            text.extend(opened.iter().rev().map(|c| match c { '(' => ')', '[' => ']', _ => '}' }));
        }
        let text: String = text.chars().take(cut.max(40)).collect();
        let worker = std::thread::Builder::new().spawn(move || {
            let data = json!({"a": [1]});
            let scope = Scope::new().bind("a", &data);
            match Expression::compile(&text) {
                Ok(expression) => { black_box((expression.eval(&scope).ok(), expression.holds(&scope).ok(), expression.references(), expression.contradiction())); }
                Err(error) => assert!(error.offset <= text.chars().count() && !error.message.is_empty(), "{error:?}"),
            }
            black_box(Template::parse(&format!("x ${{{text}}} ${{{text}}}")).map(|template| template.render(&scope).ok()).ok());
        });
        prop_assert!(worker.expect("a thread").join().is_ok());
    }
}
