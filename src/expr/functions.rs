//! The environment: CEL's standard library, text helpers, and our own forms of what the standard one leaves unbounded
//! or unsafe for JSON. Names with `@` cannot be written in an expression; `compile` puts them in.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelOptional, CelString, CelUInt, DYN_TYPE, INT_TYPE, Kind, LIST_TYPE, STRING_TYPE,
};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError, extensions};

use super::value::same;
use super::{REGEX_MAX, budget, helpers};
use crate::time::Timestamp;

pub(super) type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
pub(super) type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// Functions called by name: `size(x)`.
pub(super) const GLOBAL: &[&str] = &[
    "size",
    "type",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "dyn",
    "timestamp",
    "duration",
    "matches",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "base64.encode",
    "base64.decode",
    "base64.decodeText",
    "json.encode",
    "json.decode",
    "hash.sha256",
    "hash.sha512",
    "math.round",
    "math.floor",
    "math.ceil",
    "math.abs",
    "time.parse",
];

/// Functions called on a value: `x.size()`.
pub(super) const MEMBERS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "getDays",
    "format",
    "startOf",
    "plusDays",
    "hasValue",
    "value",
    "or",
    "orValue",
    "lower",
    "upper",
    "lowerAscii",
    "upperAscii",
    "trim",
    "split",
    "join",
    "replace",
    "substring",
    "indexOf",
    "lastIndexOf",
];

/// Macros: known to the parser, named here for suggestions.
pub(super) const MACROS: &[&str] = &["has", "all", "exists", "exists_one", "existsOne", "map", "filter", "optMap", "optFlatMap"];

/// The environment, built once.
pub(super) fn env() -> &'static Arc<Env> {
    static ENV: OnceLock<Arc<Env>> = OnceLock::new();
    ENV.get_or_init(|| {
        let mut env = Env::stdlib();
        let declared = declare(&mut env);
        debug_assert!(declared.is_ok(), "{declared:?}");
        Arc::new(env)
    })
}

fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_extension(extensions::encoders)?;
    helpers::declare(env)?;
    let text = || STRING_TYPE;
    env.add_overload("@add", "@add", vec![DYN_TYPE, DYN_TYPE], |args| arithmetic(&args, "_+_"))?;
    env.add_overload("@sub", "@sub", vec![DYN_TYPE, DYN_TYPE], |args| arithmetic(&args, "_-_"))?;
    env.add_overload("@mul", "@mul", vec![DYN_TYPE, DYN_TYPE], |args| arithmetic(&args, "_*_"))?;
    env.add_overload("@div", "@div", vec![DYN_TYPE, DYN_TYPE], |args| arithmetic(&args, "_/_"))?;
    env.add_overload("@eq", "@eq", vec![DYN_TYPE, DYN_TYPE], |args| equal(&args, "_==_").map(truth))?;
    env.add_overload("@ne", "@ne", vec![DYN_TYPE, DYN_TYPE], |args| equal(&args, "_!=_").map(|same| truth(!same)))?;
    env.add_overload("@some", "@some", vec![DYN_TYPE], some)?;
    env.add_overload("@range", "@range", vec![DYN_TYPE, INT_TYPE], range)?;
    env.add_overload("@matches", "@matches", vec![text(), text()], matches)?;
    env.add_member_overload("@matches", "@string_matches", text(), vec![text()], matches)?;
    env.add_member_overload("lowerAscii", "string_lower_ascii", text(), vec![], |args| build(str_at(&args, 0).to_ascii_lowercase()))?;
    env.add_member_overload("upperAscii", "string_upper_ascii", text(), vec![], |args| build(str_at(&args, 0).to_ascii_uppercase()))?;
    env.add_member_overload("trim", "string_trim", text(), vec![], |args| build(str_at(&args, 0).trim().to_owned()))?;
    env.add_member_overload("replace", "string_replace", text(), vec![text(), text()], replace)?;
    env.add_member_overload("split", "string_split", text(), vec![text()], split)?;
    env.add_member_overload("join", "list_join", LIST_TYPE, vec![], join)?;
    env.add_member_overload("join", "list_join_string", LIST_TYPE, vec![text()], join)?;
    env.add_member_overload("substring", "string_substring", text(), vec![INT_TYPE], substring)?;
    env.add_member_overload("substring", "string_substring_end", text(), vec![INT_TYPE, INT_TYPE], substring)?;
    env.add_member_overload("indexOf", "string_index_of", text(), vec![text()], |args| Ok(index(&args, |t, n| t.find(n))))?;
    env.add_member_overload("lastIndexOf", "string_last_index_of", text(), vec![text()], |args| Ok(index(&args, |t, n| t.rfind(n))))?;
    Ok(())
}

fn truth<'b, 'v>(value: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(value))
}

pub(super) fn str_at<'b>(args: &'b [CowVal<'_, '_>], at: usize) -> &'b str {
    args.get(at).and_then(|arg| arg.downcast_ref::<CelString<'_>>()).map_or("", CelString::inner)
}

pub(super) fn int_at(args: &[CowVal<'_, '_>], at: usize) -> Option<i64> {
    args.get(at).and_then(|arg| arg.downcast_ref::<CelInt>()).map(|int| *int.inner())
}

pub(super) fn build<'b, 'v>(text: String) -> Answer<'b, 'v> {
    budget::build(text.len())?;
    Ok(CowVal::owned(CelString::from(text)))
}

fn overload(operator: &str, a: &dyn Val, b: &dyn Val) -> ExecutionError {
    ExecutionError::no_such_overload(operator, vec![a.get_type().name().to_owned(), b.get_type().name().to_owned()])
}

/// The standard operator; an integer beside a decimal counts as one.
fn arithmetic<'b, 'v>(args: &Args<'b, 'v>, operator: &str) -> Answer<'b, 'v> {
    let [left, right] = args.as_slice() else { return Err(ExecutionError::invalid_argument_count(2, args.len())) };
    let (a, b) = (left.as_ref(), right.as_ref());
    if let (Some(x), Some(y)) = (decimal_beside(a, b), decimal_beside(b, a)) {
        let result = match operator {
            "_+_" => x + y,
            "_-_" => x - y,
            "_*_" => x * y,
            _ => x / y,
        };
        return Ok(CowVal::owned(CelDouble::from(result)));
    }
    if operator == "_+_" {
        budget::build(bulk(a).saturating_add(bulk(b)))?;
    }
    let result = match operator {
        "_+_" => a.as_adder().map(|value| value.add(b).map(CowVal::into_owned)),
        "_-_" => a.as_subtractor().map(|value| value.sub(b).map(CowVal::into_owned)),
        "_*_" => a.as_multiplier().map(|value| value.mul(b).map(CowVal::into_owned)),
        _ => a.as_divider().map(|value| value.div(b).map(CowVal::into_owned)),
    };
    match result {
        Some(Ok(value)) => Ok(CowVal::Owned(value)),
        Some(Err(ExecutionError::UnsupportedBinaryOperator(..) | ExecutionError::UnexpectedType { .. })) | None => {
            Err(overload(operator, a, b))
        }
        Some(Err(error)) => Err(error),
    }
}

/// `value` as a decimal when it is a number and it or `other` is a decimal.
fn decimal_beside(value: &dyn Val, other: &dyn Val) -> Option<f64> {
    if let Some(double) = value.downcast_ref::<CelDouble>() {
        return Some(*double.inner());
    }
    other.downcast_ref::<CelDouble>()?;
    value
        .downcast_ref::<CelInt>()
        .map(|int| *int.inner() as f64)
        .or_else(|| value.downcast_ref::<CelUInt>().map(|uint| *uint.inner() as f64))
}

/// Roughly the bytes that copying a value takes.
fn bulk(value: &dyn Val) -> usize {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        return text.inner().len();
    }
    value.as_sizer().map_or(8, |sizer| usize::try_from(*sizer.size().inner()).unwrap_or(0).saturating_mul(32))
}

fn is_number(value: &dyn Val) -> bool {
    matches!(value.get_type().kind(), Kind::Int | Kind::UInt | Kind::Double)
}

fn is_numeric_text(value: &dyn Val) -> bool {
    value.downcast_ref::<CelString<'_>>().is_some_and(|text| text.inner().trim().parse::<f64>().is_ok())
}

fn equal(args: &Args<'_, '_>, operator: &str) -> Result<bool, ExecutionError> {
    let [left, right] = args.as_slice() else { return Err(ExecutionError::invalid_argument_count(2, args.len())) };
    let (a, b) = (left.as_ref(), right.as_ref());
    if (is_number(a) && is_numeric_text(b)) || (is_number(b) && is_numeric_text(a)) {
        return Err(overload(operator, a, b));
    }
    Ok(same(a, b))
}

/// An optional that holds null is an empty one; anything else stays.
fn some<'b, 'v>(mut args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let value = args.remove(0);
    let holds_null = value
        .downcast_ref::<CelOptional<'_>>()
        .is_some_and(|optional| optional.option().is_some_and(|inner| inner.get_type().kind() == Kind::NullType));
    Ok(if holds_null { CowVal::owned(CelOptional::none()) } else { value })
}

/// What a comprehension walks, charged for every element times the size of what is done with it.
fn range<'b, 'v>(mut args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let weight = int_at(&args, 1).and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
    let value = args.remove(0);
    let elements = value.as_sizer().map_or(1, |sizer| u64::try_from(*sizer.size().inner()).unwrap_or(1));
    budget::step(elements.saturating_add(1).saturating_mul(weight))?;
    Ok(value)
}

thread_local! {
    static PATTERNS: RefCell<VecDeque<(String, regex::Regex)>> = const { RefCell::new(VecDeque::new()) };
}

/// How many compiled regular expressions a thread keeps.
const PATTERNS_MAX: usize = 32;

/// Compiles a regular expression within [`REGEX_MAX`]; the error is one line.
pub(super) fn pattern(text: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(text).size_limit(REGEX_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("the regular expression is larger than {limit} bytes when compiled"),
        other => {
            let message = other.to_string();
            let last = message.lines().last().unwrap_or_default().trim();
            format!("bad regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
        }
    })
}

fn matches<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (text, wanted) = (str_at(&args, 0), str_at(&args, 1));
    budget::step(1 + text.len() as u64 / 64)?;
    PATTERNS.with_borrow_mut(|kept| {
        if let Some((_, regex)) = kept.iter().find(|(pattern, _)| pattern == wanted) {
            return Ok(truth(regex.is_match(text)));
        }
        let regex = pattern(wanted).map_err(|message| ExecutionError::function_error("matches", message))?;
        let answer = regex.is_match(text);
        if kept.len() == PATTERNS_MAX {
            kept.pop_front();
        }
        kept.push_back((wanted.to_owned(), regex));
        Ok(truth(answer))
    })
}

fn replace<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (text, from, to) = (str_at(&args, 0), str_at(&args, 1), str_at(&args, 2));
    let found = text.matches(from).count();
    budget::build(found.saturating_mul(to.len()).saturating_add(text.len()))?;
    Ok(CowVal::owned(CelString::from(text.replace(from, to))))
}

fn split<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (text, by) = (str_at(&args, 0), str_at(&args, 1));
    budget::build(text.matches(by).count().saturating_mul(32).saturating_add(text.len()))?;
    let boxed = |part: &str| Box::new(CelString::from(part.to_owned())) as Box<dyn Val + 'v>;
    let parts: Vec<Box<dyn Val + 'v>> =
        if by.is_empty() { text.chars().map(|c| boxed(c.encode_utf8(&mut [0; 4]))).collect() } else { text.split(by).map(boxed).collect() };
    Ok(CowVal::owned(CelList::from(parts)))
}

fn join<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let separator = str_at(&args, 1);
    let mut text = String::new();
    let Some(list) = args[0].as_iterable() else { return build(text) };
    let mut items = list.iter();
    let mut first = true;
    while let Some(item) = items.next() {
        let Some(part) = item.downcast_ref::<CelString<'_>>() else {
            return Err(ExecutionError::function_error("join", format!("the list holds a {}, not only strings", item.get_type().name())));
        };
        budget::build(part.inner().len() + separator.len())?;
        if !std::mem::take(&mut first) {
            text.push_str(separator);
        }
        text.push_str(part.inner());
    }
    Ok(CowVal::owned(CelString::from(text)))
}

/// Positions count characters, as everywhere in CEL.
fn substring<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let text = str_at(&args, 0);
    let length = text.chars().count();
    let position = |at: usize| match int_at(&args, at) {
        None => Ok(length),
        Some(n) => usize::try_from(n).ok().filter(|n| *n <= length).ok_or_else(|| {
            ExecutionError::function_error("substring", format!("position {n} is outside of the text, which has {length} characters"))
        }),
    };
    let (from, to) = (position(1)?, position(2)?);
    if from > to {
        return Err(ExecutionError::function_error("substring", format!("position {from} is behind {to}")));
    }
    build(text.chars().skip(from).take(to - from).collect())
}

fn index<'b, 'v>(args: &Args<'b, 'v>, find: fn(&str, &str) -> Option<usize>) -> CowVal<'b, 'v> {
    let text = str_at(args, 0);
    let found = find(text, str_at(args, 1)).map_or(-1, |at| i64::try_from(text[..at].chars().count()).unwrap_or(i64::MAX));
    CowVal::owned(CelInt::from(found))
}

/// A key as text.
pub(super) fn as_text(key: &dyn Val) -> Option<String> {
    if let Some(text) = key.downcast_ref::<CelString<'_>>() {
        return Some(text.inner().to_owned());
    }
    standard("string", key)
}

/// A timestamp in RFC 3339, a duration as `600s`: the spellings that this program reads.
pub(super) fn text_of_time(val: &dyn Val) -> Option<String> {
    let text = standard("string", val)?;
    Some(match Timestamp::parse_lenient(&text) {
        Some(stamp) if val.get_type().kind() == Kind::Timestamp => stamp.to_string(),
        _ => text,
    })
}

/// An instant as CEL's timestamp.
pub(super) fn timestamp<'v>(stamp: Timestamp) -> Option<Box<dyn Val + 'v>> {
    let args = vec![CowVal::owned(CelString::from(stamp.to_string()))];
    let function = env().find_overload("timestamp", &args)?;
    function(args).ok().map(CowVal::into_owned)
}

/// A conversion of the standard library, to text.
fn standard(name: &str, val: &dyn Val) -> Option<String> {
    let args = vec![CowVal::Borrowed(val)];
    let function = env().find_overload(name, &args)?;
    let text = function(args).ok()?;
    text.downcast_ref::<CelString<'_>>().map(|text| text.inner().to_owned())
}

/// The type's name as people know it.
pub(super) fn people(type_name: &str) -> &str {
    match type_name {
        "int" | "uint" | "double" => "a number",
        "string" => "text",
        "bool" => "true or false",
        "list" => "a list",
        "map" => "an object",
        "null_type" => "null",
        "google.protobuf.Timestamp" => "a timestamp",
        "google.protobuf.Duration" => "a duration",
        other => other,
    }
}
