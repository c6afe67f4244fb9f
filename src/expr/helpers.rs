//! Helpers beyond the standard library: JSON, base64, hashes, case of all alphabets, rounding.

use std::collections::HashMap;

use base64::Engine as _;
use cel::common::types::{
    BYTES_TYPE, CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, DYN_TYPE, INT_TYPE,
    STRING_TYPE,
};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::functions::{Answer, Args, build, int_at, people, str_at};
use super::result::take;
use super::value::number as number_of;
use super::{budget, moments};

/// The most decimals that `math.round` keeps.
const DECIMALS_MAX: i64 = 15;

/// Puts the functions into the environment.
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    let text = || STRING_TYPE;
    moments::declare(env)?;
    env.add_overload("json.encode", "json_encode", vec![DYN_TYPE], encode_json)?;
    env.add_overload("json.decode", "json_decode", vec![text()], decode_json)?;
    env.add_overload("base64.encode", "base64_encode_text", vec![text()], encode_text)?;
    env.add_overload("base64.decodeText", "base64_decode_text", vec![text()], decode_text)?;
    env.add_overload("hash.sha256", "sha256_text", vec![text()], |args| hash::<Sha256>(&args))?;
    env.add_overload("hash.sha256", "sha256_bytes", vec![BYTES_TYPE], |args| hash::<Sha256>(&args))?;
    env.add_overload("hash.sha512", "sha512_text", vec![text()], |args| hash::<Sha512>(&args))?;
    env.add_overload("hash.sha512", "sha512_bytes", vec![BYTES_TYPE], |args| hash::<Sha512>(&args))?;
    env.add_member_overload("lower", "string_lower", text(), vec![], |args| build(str_at(&args, 0).to_lowercase()))?;
    env.add_member_overload("upper", "string_upper", text(), vec![], |args| build(str_at(&args, 0).to_uppercase()))?;
    env.add_overload("math.round", "math_round", vec![DYN_TYPE], |args| rounded(&args, "math.round", f64::round))?;
    env.add_overload("math.round", "math_round_decimals", vec![DYN_TYPE, INT_TYPE], |args| rounded(&args, "math.round", f64::round))?;
    env.add_overload("math.floor", "math_floor", vec![DYN_TYPE], |args| rounded(&args, "math.floor", f64::floor))?;
    env.add_overload("math.ceil", "math_ceil", vec![DYN_TYPE], |args| rounded(&args, "math.ceil", f64::ceil))?;
    env.add_overload("math.abs", "math_abs", vec![DYN_TYPE], absolute)
}

fn wrong(function: &str, message: impl Into<String>) -> ExecutionError {
    ExecutionError::function_error(function, message.into())
}

fn encode_json<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let value = args.first().map(|arg| take(arg.as_ref()));
    match value {
        Some(Ok(value)) => build(value.to_string()),
        Some(Err(error)) => Err(wrong("json.encode", error.to_string())),
        None => Err(ExecutionError::invalid_argument_count(1, 0)),
    }
}

fn decode_json<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let text = str_at(&args, 0);
    // A node takes many times the bytes of its text.
    budget::build(text.len().saturating_mul(8))?;
    match crate::event::read_json(text.as_bytes()) {
        Ok(value) => Ok(CowVal::Owned(own(&value))),
        Err(error) => Err(wrong("json.decode", format!("the text is no JSON: {error}"))),
    }
}

/// A JSON value as one of CEL's own.
fn own<'v>(value: &Value) -> Box<dyn Val + 'v> {
    match value {
        Value::String(text) => Box::new(CelString::from(text.clone())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(own).collect::<Vec<_>>())),
        Value::Object(map) => {
            let entries: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> =
                map.iter().map(|(key, item)| (CelMapKey::from(key.clone()), own(item))).collect();
            Box::new(CelMap::from(entries))
        }
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Number(number) => number_of(number),
    }
}

fn encode_text<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    build(base64::prelude::BASE64_STANDARD.encode(str_at(&args, 0)))
}

fn decode_text<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let packed: String = str_at(&args, 0).chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = base64::prelude::BASE64_STANDARD.decode(&packed).or_else(|_| base64::prelude::BASE64_STANDARD_NO_PAD.decode(&packed));
    let bytes = bytes.map_err(|_| wrong("base64.decodeText", "the text is no base64"))?;
    build(String::from_utf8(bytes).map_err(|_| wrong("base64.decodeText", "what was encoded is no UTF-8 text"))?)
}

/// The digest of a text or of bytes, in hexadecimal digits.
fn hash<'b, 'v, D: Digest>(args: &Args<'b, 'v>) -> Answer<'b, 'v> {
    let bytes = args.first().and_then(|arg| arg.downcast_ref::<CelBytes<'_>>()).map(CelBytes::inner);
    let input = bytes.unwrap_or_else(|| str_at(args, 0).as_bytes());
    budget::step(1 + input.len() as u64 / 64)?;
    build(D::digest(input).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A number rounded; a whole one stays what it is. With decimals the result is a decimal number.
fn rounded<'b, 'v>(args: &Args<'b, 'v>, name: &str, round: fn(f64) -> f64) -> Answer<'b, 'v> {
    let value = args.first().map(AsRef::as_ref);
    let Some(double) = value.and_then(<dyn Val>::downcast_ref::<CelDouble>) else {
        return number(args, name).map(|value| CowVal::Owned(value.clone_as_boxed()));
    };
    let double = *double.inner();
    if let Some(decimals) = int_at(args, 1) {
        if !(0..=DECIMALS_MAX).contains(&decimals) {
            return Err(wrong(name, format!("{decimals} decimals; 0 to {DECIMALS_MAX} are kept")));
        }
        let scale = 10_f64.powi(i32::try_from(decimals).unwrap_or(0));
        let scaled = double * scale;
        return Ok(CowVal::owned(CelDouble::from(if scaled.is_finite() { round(scaled) / scale } else { double })));
    }
    let whole = round(double);
    // The doubles that an integer holds.
    if (-9.2e18..=9.2e18).contains(&whole) {
        Ok(CowVal::owned(CelInt::from(whole as i64)))
    } else {
        Err(wrong(name, "the number is too large"))
    }
}

fn absolute<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let value = number(&args, "math.abs")?;
    if let Some(double) = value.downcast_ref::<CelDouble>() {
        return Ok(CowVal::owned(CelDouble::from(double.inner().abs())));
    }
    match value.downcast_ref::<CelInt>() {
        Some(int) => {
            int.inner().checked_abs().map(|n| CowVal::owned(CelInt::from(n))).ok_or_else(|| wrong("math.abs", "the number is too large"))
        }
        None => Ok(CowVal::Owned(value.clone_as_boxed())),
    }
}

/// The first argument, which must be a number.
fn number<'a, 'v>(args: &'a Args<'_, 'v>, name: &str) -> Result<&'a (dyn Val + 'v), ExecutionError> {
    let value = args.first().map(AsRef::as_ref).ok_or_else(|| ExecutionError::invalid_argument_count(1, 0))?;
    let is_number = value.downcast_ref::<CelInt>().is_some()
        || value.downcast_ref::<CelUInt>().is_some()
        || value.downcast_ref::<CelDouble>().is_some();
    if is_number { Ok(value) } else { Err(wrong(name, format!("{} where a number is expected", people(value.get_type().name())))) }
}
