//! Tests.

mod helpers;

use std::hint::black_box;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn world() -> Value {
    json!({
        "Id": 7, "Reference": "A-1", "Amount": 20000, "Rate": 1.5, "Text": "5", "Flag": true, "Nothing": null,
        "Big": 9_007_199_254_740_993_i64, "Huge": u64::MAX, "Tags": ["a", "b"], "Rows": [{"N": 1}, {"N": 2}, {"M": 3}],
        "Error": {"Type": "ApplicationException", "Reason": "it's {broken}"}, "When": "2026-01-01T00:00:00Z", "odd.key": 1, "detail-type": "x",
    })
}

fn eval(text: &str) -> Result<Value, EvalError> {
    let item = world();
    let empty = json!({});
    let scope = Scope::new().bind("item", &item).bind("steps", &empty).at(Timestamp::from_millis(1_767_225_600_000));
    Expression::compile(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).eval(&scope)
}

fn render(text: &str) -> Result<Value, EvalError> {
    let item = world();
    let scope = Scope::new().bind("item", &item).at(Timestamp::from_millis(1_767_225_600_000));
    Template::parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).render(&scope)
}

#[test]
fn expressions_give_json() {
    for (text, expected) in [
        ("item.Reference", json!("A-1")),
        ("item", world()),
        ("item.Amount > 1000 && item.Error.Type == 'ApplicationException'", json!(true)),
        ("item.Amount > 1000.5", json!(true)),
        ("item.Amount == 20000.0", json!(true)),
        ("item.Amount * item.Rate", json!(30000.0)),
        ("item.Amount + 1", json!(20001)),
        ("item.Amount / 3", json!(6666)),
        ("item.Big == 9007199254740992", json!(false)),
        ("item.Huge", json!(u64::MAX)),
        ("item.Huge > 5", json!(true)),
        ("double(item.Text) > 4", json!(true)),
        ("item.Text == 'x'", json!(false)),
        ("item.Reference == 5", json!(false)),
        ("item['odd.key']", json!(1)),
        ("item.`detail-type`", json!("x")),
        ("has(item.Nope)", json!(false)),
        ("has(item.Error.Type)", json!(true)),
        ("item.?Nope.orValue('d')", json!("d")),
        ("item.?Nothing.orValue('d')", json!("d")),
        ("item.?Nothing.hasValue()", json!(false)),
        ("item.?Error.Nope.orValue('d')", json!("d")),
        ("item.?Error.?Type.orValue('d')", json!("ApplicationException")),
        ("item.Tags[0]", json!("a")),
        ("'b' in item.Tags", json!(true)),
        ("item.Reference in ['A-1', 'A-2']", json!(true)),
        ("'Id' in item", json!(true)),
        ("size(item.Tags) + item.Tags.size()", json!(4)),
        ("item.Tags + ['c']", json!(["a", "b", "c"])),
        ("item.Tags == ['a', 'b']", json!(true)),
        ("item.Error == {'Type': 'ApplicationException', 'Reason': \"it's {broken}\"}", json!(true)),
        ("item.Rows.exists(r, r.?N.orValue(0) == 2)", json!(true)),
        ("item.Rows.filter(r, has(r.N)).map(r, r.N * 10)", json!([10, 20])),
        ("item.Tags.map(t, t + '!').join('-')", json!("a!-b!")),
        ("item.Error.map(k, k)", json!(["Type", "Reason"])),
        ("item.Tags.all(t, t.matches('^[a-c]$'))", json!(true)),
        ("{'b': item.Id, 'a': [item.Flag, null]}", json!({"a": [true, null], "b": 7})),
        ("item.Reference.lowerAscii() + ' x '.trim().upperAscii()", json!("a-1X")),
        ("'a-b-c'.split('-')", json!(["a", "b", "c"])),
        ("'größe'.substring(2, 4) + 'größe'.replace('ö', 'oe')", json!("ößgroeße")),
        ("'größe'.indexOf('e')", json!(4)),
        ("now", json!("2026-01-01T00:00:00Z")),
        ("now - duration('90s')", json!("2025-12-31T23:58:30Z")),
        ("duration('10m')", json!("600s")),
        ("timestamp(item.When) == now", json!(true)),
        ("string(now).startsWith('2026')", json!(true)),
        ("optional.none().orValue(3)", json!(3)),
        ("base64.encode(b'hi')", json!("aGk=")),
        ("item.Flag ? 1 : 2", json!(1)),
        ("-item.Id", json!(-7)),
        ("item.Nope == 1 || item.Flag", json!(true)),
        ("// a note\nitem.Id", json!(7)),
    ] {
        assert_eq!(eval(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_missing_is_named_by_its_path() {
    for (text, path) in [
        ("item.Nope", "item.Nope"),
        ("item.Nope.Deeper", "item.Nope"),
        ("item.Nope > 1", "item.Nope"),
        ("item.Error.Nope.X == 1", "item.Error.Nope"),
        ("item.Nothing.Type == 'x'", "item.Nothing.Type"),
        ("item.Nothing.Type", "item.Nothing.Type"),
        ("item.Nothing > 5", "item.Nothing"),
        ("item.Nothing + 'x'", "item.Nothing"),
        ("job.Key == 'x'", "job"),
        ("job", "job"),
        ("steps.item.Id + 1", "steps.item"),
        ("item.Rows.map(r, r.N)", "r.N"),
        ("item.Tags[5]", "item.Tags[5]"),
        ("item.?Nope", "item.?Nope"),
        ("item['Nope'] == 1", "item.Nope"),
        ("size(item.Nothing)", "item.Nothing"),
    ] {
        assert_eq!(eval(text), Err(EvalError::Missing { path: path.to_owned() }), "{text}");
    }
}

#[test]
fn what_does_not_fit_says_so_with_a_hint() {
    for (text, says, hint) in [
        ("item.Text > 4", "`item.Text` is text", "double("),
        ("item.Text == 5", "`item.Text` is text", "double("),
        ("item.Text != 5", "`item.Text` is text", "double("),
        ("5 < item.Text", "`item.Text` is text", "double("),
        ("item.Text + 5", "`item.Text` is text", "string("),
        ("item.Id.x == 1", "`item.Id` is a number", ""),
        ("item.Rows.N == 1", "`item.Rows` is a list", "exists("),
        ("item.Rows.N", "`item.Rows` is a list", "exists("),
        ("item.When < now", "text and a timestamp", "timestamp("),
        ("double('x') > 1.0", "", ""),
        ("item.Id / 0", "division by zero", ""),
        ("9223372036854775807 + item.Id", "too large", ""),
        ("item.Flag && item.Id", "true or false and a number", ""),
        ("item.Id.startsWith('x')", "startsWith", ""),
        ("item.Reference.matches(item.Reference + '(')", "regular expression", ""),
        ("b'x'", "bytes", "base64"),
        ("1.0 / 0.0", "finite", ""),
    ] {
        match eval(text) {
            Err(EvalError::Type { message, help }) => {
                assert!(message.contains(says), "{text}: {message}");
                assert!(help.clone().unwrap_or_default().contains(hint), "{text}: {help:?}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_condition_is_true_or_false() {
    let item = world();
    let scope = Scope::new().bind("item", &item);
    let holds = |text: &str| Expression::compile(text).expect(text).holds(&scope);
    assert_eq!(holds("item.Flag"), Ok(true));
    assert_eq!(holds("!item.Flag"), Ok(false));
    assert!(matches!(holds("item.Id"), Err(EvalError::Type { .. })));
    assert!(matches!(holds("item.Id + 1"), Err(EvalError::Type { .. })));
    assert!(matches!(holds("item.Nothing"), Err(EvalError::Missing { .. })));
    assert!(matches!(holds("now > 1"), Err(EvalError::Missing { .. })));
}

#[test]
fn syntax_errors_know_their_place() {
    for (text, offset, says, hint) in [
        ("item.Id >", 9, "too early", ""),
        ("item.Id = 5", 8, "", "=="),
        ("item.Id == 5 and item.X", 13, "and", "&&"),
        ("a && (b", 7, "too early", ""),
        ("größe == 'x' §", 2, "", ""),
        ("a ==\n  b ]", 9, "]", ""),
        ("item.Id.nope()", 8, "unknown function `nope`", ""),
        ("siez(item.Tags)", 0, "siez", "size"),
        ("trim(item.Reference)", 0, "trim", "x.trim("),
        ("lower(item.Reference)", 0, "lower", ""),
        ("item.Id == 1 && x.matches('(a')", 18, "unclosed group", ""),
        ("x.matches('(?=a)b')", 2, "look-around", ""),
        ("x.matches('((((a{1000}){100}){100}){100})')", 2, "larger than", ""),
        ("'abc", 0, "not closed", ""),
        ("", 0, "empty", ""),
        ("${item.Id} == 5", 0, "", "bare"),
        ("for == 1", 0, "", ""),
    ] {
        let error = Expression::compile(text).expect_err(text);
        assert_eq!(error.offset, offset, "{text}: {error:?}");
        assert!(error.message.contains(says), "{text}: {error:?}");
        assert!(error.help.clone().unwrap_or_default().contains(hint), "{text}: {error:?}");
        assert!(!error.message.contains('\n') && !error.message.is_empty(), "{text}: {error:?}");
    }
}

#[test]
fn templates_render() {
    for (text, expected) in [
        ("plain", json!("plain")),
        ("", json!("")),
        ("${item.Amount}", json!(20000)),
        ("${item.Error}", json!({"Type": "ApplicationException", "Reason": "it's {broken}"})),
        ("review-${item.Reference}", json!("review-A-1")),
        ("${item.Id}${item.Rate}", json!("71.5")),
        ("$${item.Id} costs $5 {x} $", json!("${item.Id} costs $5 {x} $")),
        ("${item.Error.Reason} }", json!("it's {broken} }")),
        ("${'}' + \"}\" + {'a': '}'}['a']}!", json!("}}}!")),
        ("${item.?x.orValue('')}", json!("")),
        ("a ${item.Tags} b", json!("a [\"a\",\"b\"] b")),
        ("${ item.Id }", json!(7)),
        ("$$${item.Id}", json!("$${item.Id}")),
    ] {
        assert_eq!(render(text), Ok(expected), "{text}");
    }
    assert_eq!(render("x${item.Nope}"), Err(EvalError::Missing { path: "item.Nope".to_owned() }));
    assert_eq!(render("x${item.Nothing}"), Err(EvalError::Missing { path: "item.Nothing".to_owned() }));
    assert_eq!(render("${item.Nothing}"), Ok(Value::Null));
}

#[test]
fn a_template_knows_where_it_is_wrong() {
    for (text, offset) in [("a ${item.Id", 2), ("é ${item.Id >}", 13), ("${}", 2), ("${'a}", 0), ("ok ${a} ${{}", 8), ("${a} ${b c}", 9)] {
        assert_eq!(Template::parse(text).expect_err(text).offset, offset, "{text}");
    }
    assert_eq!(Template::parse("$${x}").expect("fine").constant(), Some("${x}"));
    assert_eq!(Template::parse("${x}").expect("fine").constant(), None);
}

#[test]
fn values_are_never_expanded_again() {
    let data = json!({"X": "${item.Secret} {{x}} $${y}"});
    let scope = Scope::new().bind("data", &data);
    assert_eq!(Template::parse("<${data.X}>").expect("fine").render(&scope), Ok(json!("<${item.Secret} {{x}} $${y}>")));
}

#[test]
fn references_are_the_free_paths() {
    for (text, expected) in [
        ("steps.item.Id > item.Id", vec!["steps.item.Id", "item.Id"]),
        ("item.Rows.exists(r, r.N == vars.n)", vec!["item.Rows", "vars.n"]),
        ("has(steps.a.b) && steps['c'].d == 1", vec!["steps.a.b", "steps.c.d"]),
        ("item.?x.orValue(steps.y)", vec!["item", "steps.y"]),
        ("optional.of(data.x).hasValue() && type(data.y) == int", vec!["data.x", "data.y"]),
        ("item.Reference", vec!["item.Reference"]),
        ("'x'", vec![]),
    ] {
        assert_eq!(Expression::compile(text).expect(text).references(), expected, "{text}");
    }
    assert_eq!(Template::parse("a${b.c}${d}").expect("fine").references(), ["b.c", "d"]);
}

#[test]
fn hostile_expressions_meet_a_limit() {
    let ten = "[0,1,2,3,4,5,6,7,8,9]";
    let mut nested = "1".to_owned();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        nested = format!("{ten}.map({name}, {nested})");
    }
    for text in [
        nested,
        format!("{ten}.map(a, {ten}.map(b, {ten}.map(c, {ten}.map(d, '{}' + string(a)))))", "x".repeat(200)),
        format!("{ten}.all(a, {ten}.all(b, {ten}.all(c, {ten}.all(d, {ten}.all(e, {ten}.all(f, f >= 0)))))) || true"),
        "item.Long.replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')".to_owned(),
        "item.Long + item.Long".to_owned(),
    ] {
        let data = json!({"Long": "a".repeat(600_000)});
        let scope = Scope::new().bind("item", &data);
        let answer = Expression::compile(&text).expect(&text).eval(&scope);
        assert!(matches!(answer, Err(EvalError::Limit { .. })), "{text}: {:?}", answer.map(|v| v.to_string().len()));
    }
    let data = json!({"Long": "a".repeat(RESULT_MAX)});
    let scope = Scope::new().bind("item", &data);
    for text in ["${item.Long}", "${item}", "<${item.Long}>"] {
        assert!(matches!(Template::parse(text).expect(text).render(&scope), Err(EvalError::Limit { .. })), "{text}");
    }
}

#[test]
fn the_deepest_allowed_texts_fit_the_stack_of_a_test_thread() {
    let data = json!({"a": 1});
    let scope = Scope::new().bind("item", &data);
    for text in [
        format!("{}1{}", "(".repeat(60), ")".repeat(60)),
        format!("{}1{}", "[".repeat(60), "]".repeat(60)),
        format!("1{}", " + 1".repeat(500)),
        format!("true{}", " && true".repeat(240)),
        format!("true{}", " || true".repeat(240)),
        format!("{}true", "!".repeat(500)),
        format!("{}1", "-".repeat(500)),
        format!("item{}", ".?a".repeat(170)),
        format!("item{}", ".a".repeat(500)),
        format!("item{}", "[0]".repeat(250)),
        format!("{}1", "true ? 1 : ".repeat(60)),
        format!("{}1{}", "size([".repeat(30), "])".repeat(30)),
        format!("1{}", " == 1".repeat(250)),
        format!("[1]{}", ".map(x, x)".repeat(80)),
    ] {
        if let Ok(expression) = Expression::compile(&text) {
            black_box(expression.eval(&scope)).ok();
            black_box(expression.references());
        }
    }
    assert!(Expression::compile(&format!("{}1{}", "(".repeat(1000), ")".repeat(1000))).is_err());
}

/// What is not given a big stack must fit half of a usual one, whatever is below it.
#[test]
fn small_expressions_fit_one_mebibyte() {
    let texts = [
        format!("1{}", " + 1".repeat(24)),
        format!("true{}", " && true".repeat(12)),
        format!("item{}", ".a".repeat(24)),
        format!("{}true", "!".repeat(24)),
        "((([1])))[0]".to_owned(),
        "[[[1]]].all(x, x[0]".to_owned() + " == [1])",
        "size([{'a': 1}])".to_owned(),
        "true ? 1 : true ? 2 : true ? 3 : 4".to_owned(),
        "[1].map(x, [x]) == 1".to_owned(),
    ];
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        let data = json!({"a": 1});
        let scope = Scope::new().bind("item", &data);
        for text in &texts {
            black_box(Expression::compile(text).map(|expression| expression.eval(&scope).ok()).ok());
        }
    });
    small.expect("a thread").join().expect("no overflow");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,60}") {
        let data = world();
        let scope = Scope::new().bind("item", &data);
        if let Ok(expression) = Expression::compile(&text) {
            black_box((expression.eval(&scope).ok(), expression.holds(&scope).ok(), expression.references()));
        }
        if let Ok(template) = Template::parse(&text) {
            black_box((template.render(&scope).ok(), template.references()));
        }
    }

    #[test]
    fn no_mix_of_its_words_makes_it_panic(words in proptest::collection::vec(prop_oneof![
        Just("item"), Just("."), Just(".?"), Just("Tags"), Just("Id"), Just("["), Just("]"), Just("("), Just(")"), Just("0"), Just("1.5"), Just("'a'"),
        Just("\""), Just("'"), Just("+"), Just("-"), Just("*"), Just("/"), Just("=="), Just("<"), Just("&&"), Just("||"), Just("!"), Just("?"), Just(":"),
        Just("{"), Just("}"), Just("${"), Just("$${"), Just(","), Just("map"), Just("x"), Just("has"), Just("in"), Just("matches"), Just("r'"), Just("b'"),
        Just("\\"), Just("`"), Just("null"), Just("true"), Just("now"), Just("duration"), Just("\n"), Just("//"), Just("é"), Just("\u{1F600}"),
    ], 0..14)) {
        let text = words.concat();
        let spaced = words.join(" ");
        let data = world();
        let scope = Scope::new().bind("item", &data).at(Timestamp::EPOCH);
        for text in [text, spaced] {
            match Expression::compile(&text) {
                Ok(expression) => { black_box((expression.eval(&scope).ok(), expression.holds(&scope).ok())); }
                Err(error) => prop_assert!(error.offset <= text.chars().count(), "{text}: {error:?}"),
            }
            match Template::parse(&text) {
                Ok(template) => { black_box(template.render(&scope).ok()); }
                Err(error) => prop_assert!(error.offset <= text.chars().count(), "{text}: {error:?}"),
            }
        }
    }
}

#[test]
#[ignore = "prints figures; run with --ignored --nocapture"]
fn figures() {
    let item = world();
    let scope = Scope::new().bind("item", &item);
    for text in ["item.Amount > 1000 && item.Error.Type == 'ApplicationException'", "item.Reference", "item.Tags.exists(t, t == 'b')"] {
        let begun = std::time::Instant::now();
        for _ in 0..1_000 {
            black_box(Expression::compile(text).expect(text));
        }
        let compile = begun.elapsed() / 1_000;
        let expression = Expression::compile(text).expect(text);
        let begun = std::time::Instant::now();
        for _ in 0..10_000 {
            black_box(expression.eval(&scope).expect(text));
        }
        println!("{text}: compile {compile:?}, evaluate {:?}", begun.elapsed() / 10_000);
    }
}

#[test]
fn a_mapping_or_list_of_the_data_is_no_scalar() {
    for (text, expected) in [
        ("item.Error == null", false),
        ("null == item.Error", false),
        ("item.Error != null", true),
        ("item.Error == 5", false),
        ("item.Error == 'x'", false),
        ("item.Error == item.Tags", false),
        ("item.Tags == null", false),
        ("item.Tags == true", false),
        ("item.Tags in [null, 1, item.Error]", false),
        ("null in [item.Error, item.Tags]", false),
        ("item.Rows == [{'N': 1}, {'N': 2}, null]", false),
        ("{'a': item.Error} == {'a': null}", false),
        ("[item.Tags, item.Error] == [['a', 'b'], item.Error]", true),
    ] {
        assert_eq!(eval(text), Ok(expected.into()), "{text}");
    }
}
