//! Time in expressions: reading what Orchestrator and people write, calendars of time zones, formats.
//!
//! Zones are names of the IANA database, which is part of the program, or offsets such as `+02:00`.

use cel::common::types::{CelDuration, CelString, CelTimestamp, DURATION_TYPE, DYN_TYPE, STRING_TYPE, TIMESTAMP_TYPE};
use cel::common::value::CowVal;
use cel::{DeclarationError, Env, ExecutionError};
use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Datelike, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike};

use super::budget;
use super::functions::{Answer, Args, build, env, str_at};
use crate::time::{Timestamp, parse_duration};

type Moment = DateTime<FixedOffset>;

/// Puts the functions into the environment.
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    let text = || STRING_TYPE;
    env.add_overload("@timestamp", "@timestamp", vec![DYN_TYPE], timestamp)?;
    env.add_overload("@timestamp", "@timestamp_zone", vec![text(), text()], timestamp_in)?;
    env.add_overload("@duration", "@duration", vec![DYN_TYPE], duration)?;
    env.add_overload("time.parse", "time_parse", vec![text(), text()], parse)?;
    env.add_overload("time.parse", "time_parse_zone", vec![text(), text(), text()], parse)?;
    env.add_member_overload("format", "timestamp_format", TIMESTAMP_TYPE, vec![text()], format)?;
    env.add_member_overload("format", "timestamp_format_zone", TIMESTAMP_TYPE, vec![text(), text()], format)?;
    env.add_member_overload("startOf", "timestamp_start_of", TIMESTAMP_TYPE, vec![text()], start_of)?;
    env.add_member_overload("startOf", "timestamp_start_of_zone", TIMESTAMP_TYPE, vec![text(), text()], start_of)?;
    env.add_member_overload("plusDays", "timestamp_plus_days", TIMESTAMP_TYPE, vec![cel::common::types::INT_TYPE], plus_days)?;
    env.add_member_overload("plusDays", "timestamp_plus_days_zone", TIMESTAMP_TYPE, vec![cel::common::types::INT_TYPE, text()], plus_days)?;
    env.add_member_overload("getDays", "duration_get_days", DURATION_TYPE, vec![], days_of)
}

fn wrong(function: &str, message: String) -> ExecutionError {
    ExecutionError::function_error(function, message)
}

/// A text for a message, cut where it is long.
fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

fn moment<'v>(value: Moment, function: &str) -> Result<CowVal<'static, 'v>, ExecutionError> {
    if (1..=9999).contains(&value.naive_utc().year()) {
        Ok(CowVal::owned(CelTimestamp::from(value)))
    } else {
        Err(wrong(function, "the moment is outside of the years 1 to 9999".to_owned()))
    }
}

/// `timestamp(x)`: what the standard one takes, and texts without a zone (UTC) or without a time (midnight).
fn timestamp<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let Some(text) = args.first().and_then(|arg| arg.downcast_ref::<CelString<'_>>()) else {
        let Some(function) = env().find_overload("timestamp", &args) else {
            let got = args.first().map_or("nothing", |arg| arg.as_ref().get_type().name()).to_owned();
            return Err(ExecutionError::no_such_overload("timestamp", vec![got]));
        };
        return function(args);
    };
    match read(text.inner()) {
        Some(stamp) => moment(stamp, "timestamp"),
        None => Err(no_timestamp(text.inner())),
    }
}

fn no_timestamp(text: &str) -> ExecutionError {
    let what = shown(text);
    wrong(
        "timestamp",
        format!("`{what}` is no timestamp such as 2026-01-31T12:00:00Z; other forms are read with time.parse(text, \"%d.%m.%Y\")"),
    )
}

fn read(text: &str) -> Option<Moment> {
    let stamp = Timestamp::parse_lenient(text)?;
    let nanos = stamp.as_nanos();
    let (seconds, rest) = (i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?, u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?);
    DateTime::from_timestamp(seconds, rest).map(|utc| utc.fixed_offset())
}

/// `timestamp(x, zone)`: a text that says no zone is meant in this one.
fn timestamp_in<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (text, zone) = (str_at(&args, 0).trim(), zone("timestamp", str_at(&args, 1))?);
    let local = text.parse::<NaiveDateTime>().ok().or_else(|| text.parse::<NaiveDate>().ok().map(midnight));
    match (local, read(text)) {
        (Some(local), _) => moment(zone.moment(local).ok_or_else(|| no_timestamp(text))?, "timestamp"),
        (None, Some(stamp)) => moment(stamp, "timestamp"),
        (None, None) => Err(no_timestamp(text)),
    }
}

/// `duration(x)`: what the standard one takes, and days, as in `defer: 2d`.
fn duration<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let days = args.first().and_then(|arg| arg.downcast_ref::<CelString<'_>>()).filter(|text| text.inner().contains('d'));
    if let Some(text) = days {
        let read = parse_duration(text.inner()).map_err(|message| wrong("duration", message))?;
        let read = chrono::Duration::from_std(read).map_err(|_| wrong("duration", "the duration is too long".to_owned()))?;
        return Ok(CowVal::owned(CelDuration::from(read)));
    }
    let text = args.first().and_then(|arg| arg.downcast_ref::<CelString<'_>>()).map(|text| shown(text.inner()));
    let Some(function) = env().find_overload("duration", &args) else {
        let got = args.first().map_or("nothing", |arg| arg.as_ref().get_type().name()).to_owned();
        return Err(ExecutionError::no_such_overload("duration", vec![got]));
    };
    let expected = |text: String| wrong("duration", format!("`{text}` is no duration such as 90s, 10m, 2h or 30d"));
    function(args).map_err(|error| text.map_or(error, expected))
}

/// `time.parse(text, pattern)` and with a zone: what is not in the text is midnight, and the zone given or UTC.
fn parse<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (text, pattern) = (str_at(&args, 0).trim(), str_at(&args, 1));
    let zone = optional_zone("time.parse", &args, 2)?;
    budget::step(1 + pattern.len() as u64 / 16)?;
    items("time.parse", pattern)?;
    if let Ok(stamp) = DateTime::parse_from_str(text, pattern) {
        return moment(stamp, "time.parse");
    }
    let local = NaiveDateTime::parse_from_str(text, pattern).or_else(|_| NaiveDate::parse_from_str(text, pattern).map(midnight));
    match local.ok().and_then(|local| zone.moment(local)) {
        Some(stamp) => moment(stamp, "time.parse"),
        None => Err(wrong("time.parse", format!("`{}` is no date of the form `{}`", shown(text), shown(pattern)))),
    }
}

/// `t.format(pattern)` and with a zone.
fn format<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    use std::fmt::Write;
    let pattern = str_at(&args, 1);
    let zone = optional_zone("format", &args, 2)?;
    let items = items("format", pattern)?;
    let mut text = String::new();
    let done = write!(text, "{}", zone.local(at(&args)?).format_with_items(items.iter()));
    match done {
        Ok(()) => build(text),
        Err(_) => Err(wrong("format", format!("a timestamp has nothing for `{}`", shown(pattern)))),
    }
}

fn items<'p>(function: &str, pattern: &'p str) -> Result<Vec<Item<'p>>, ExecutionError> {
    budget::build(pattern.len().saturating_mul(32))?;
    let items: Vec<Item<'p>> = StrftimeItems::new(pattern).collect();
    if items.contains(&Item::Error) {
        let message = format!("`{}` is no pattern such as \"%Y-%m-%d %H:%M\"", shown(pattern));
        return Err(wrong(function, message));
    }
    Ok(items)
}

/// `t.startOf("day")` and with a zone.
fn start_of<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let unit = str_at(&args, 1);
    let zone = optional_zone("startOf", &args, 2)?;
    let local = zone.local(at(&args)?).naive_local();
    let day = local.date();
    let start = match unit {
        "minute" => local.with_second(0).and_then(|t| t.with_nanosecond(0)),
        "hour" => local.with_minute(0).and_then(|t| t.with_second(0)).and_then(|t| t.with_nanosecond(0)),
        "day" => Some(midnight(day)),
        "week" => day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_monday()))).map(midnight),
        "month" => day.with_day(1).map(midnight),
        "year" => day.with_day(1).and_then(|d| d.with_month(1)).map(midnight),
        other => {
            let message = format!("unknown unit `{}`; units are minute, hour, day, week (from Monday), month, year", shown(other));
            return Err(wrong("startOf", message));
        }
    };
    match start.and_then(|local| zone.moment(local)) {
        Some(stamp) => moment(stamp, "startOf"),
        None => Err(wrong("startOf", "the moment is outside of the years 1 to 9999".to_owned())),
    }
}

/// `t.plusDays(n)` and with a zone: the same time of day, also where the clock is changed between.
fn plus_days<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let days = super::functions::int_at(&args, 1).unwrap_or(0);
    let zone = optional_zone("plusDays", &args, 2)?;
    let local = zone.local(at(&args)?).naive_local();
    let moved = if days < 0 {
        local.checked_sub_days(Days::new(days.unsigned_abs()))
    } else {
        local.checked_add_days(Days::new(days.unsigned_abs()))
    };
    match moved.and_then(|local| zone.moment(local)) {
        Some(stamp) => moment(stamp, "plusDays"),
        None => Err(wrong("plusDays", "the moment is outside of the years 1 to 9999".to_owned())),
    }
}

/// `d.getDays()`: whole days of 24 hours.
fn days_of<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let days = args.first().and_then(|arg| arg.downcast_ref::<CelDuration>()).map_or(0, |duration| duration.inner().num_days());
    Ok(CowVal::owned(cel::common::types::CelInt::from(days)))
}

fn at(args: &Args<'_, '_>) -> Result<Moment, ExecutionError> {
    let stamp = args.first().and_then(|arg| arg.downcast_ref::<CelTimestamp>());
    stamp.map(|stamp| *stamp.inner()).ok_or_else(|| wrong("timestamp", "no timestamp".to_owned()))
}

fn midnight(day: NaiveDate) -> NaiveDateTime {
    day.and_time(NaiveTime::MIN)
}

/// A time zone: of the IANA database, or an offset.
enum Zone {
    Named(chrono_tz::Tz),
    Offset(FixedOffset),
}

fn optional_zone(function: &str, args: &Args<'_, '_>, at: usize) -> Result<Zone, ExecutionError> {
    if args.len() > at { zone(function, str_at(args, at)) } else { Ok(Zone::Offset(chrono::Utc.fix())) }
}

fn zone(function: &str, name: &str) -> Result<Zone, ExecutionError> {
    let name = name.trim();
    if let Ok(zone) = name.parse::<chrono_tz::Tz>() {
        return Ok(Zone::Named(zone));
    }
    let signed = name.starts_with(['+', '-']).then(|| name.parse::<FixedOffset>().ok()).flatten();
    signed.map(Zone::Offset).ok_or_else(|| {
        wrong(function, format!("unknown time zone `{}`; write a name such as Europe/Berlin, or an offset such as +02:00", shown(name)))
    })
}

impl Zone {
    fn local(&self, at: Moment) -> Moment {
        match self {
            Self::Named(zone) => at.with_timezone(zone).fixed_offset(),
            Self::Offset(offset) => at.with_timezone(offset),
        }
    }

    fn moment(&self, local: NaiveDateTime) -> Option<Moment> {
        match self {
            Self::Named(zone) => resolve(zone, local),
            Self::Offset(offset) => resolve(offset, local),
        }
    }
}

/// The moment of a local time. Of a time that comes twice the first; a time that the clock jumps over is taken as if it
/// had not jumped, so 02:30 is 03:30.
fn resolve<Z: TimeZone>(zone: &Z, local: NaiveDateTime) -> Option<Moment> {
    if let Some(stamp) = zone.from_local_datetime(&local).earliest() {
        return Some(stamp.fixed_offset());
    }
    let before = zone.offset_from_local_datetime(&local.checked_sub_days(Days::new(1))?).latest()?.fix();
    let stamp = before.from_local_datetime(&local).single()?;
    Some(stamp.with_timezone(zone).fixed_offset())
}
