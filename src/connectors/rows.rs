//! What the rows of a polling trigger become: which of them are new, which are changes of what was seen, which are known.
//!
//! Rows may become visible late, behind newer ones: what is near the newest row is asked for again, and what was taken of it
//! is remembered. Pure: rows and what is kept in, changes and what is to be kept out.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Connector, Trigger, TriggerKind};
use crate::event::Change;
use crate::expr::{At, Expression, Scope, explain};
use crate::normalize::cursor::OVERLAP;
use crate::normalize::services::{RowEvent, RowSight, row_change};
use crate::time::Timestamp;

/// A row that was last changed this near to when it was made was not changed since.
pub const CREATED_WITHIN: Duration = Duration::from_secs(10);

/// The most rows that are remembered as taken.
pub const TAKEN_MAX: usize = 1000;

/// About how many bytes what is remembered may take when it is kept.
const TAKEN_BYTES_MAX: usize = 48 << 10;

/// The longest text that says how far a source is, in bytes.
const MARK_BYTES_MAX: usize = 256;

/// From here on a number may be seconds since 1970, from the second on milliseconds.
const SECONDS_FROM: f64 = 1e9;
const MILLISECONDS_FROM: f64 = 1e11;

/// How far a trigger is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowCursor {
    /// Whether it was read before.
    started: bool,
    /// The largest value of `cursor` of any row.
    newest: Option<Value>,
    /// Rows below this are known or too late.
    floor: Option<Value>,
    /// What was taken at and above the floor, ascending: value of `cursor`, fingerprint of id and version.
    taken: Vec<(Value, String)>,
    /// Where the pass began that is not at its end.
    unfinished: Option<Since>,
    /// From when on changes are to be told: when it was first read, less how far it looks back.
    start: Option<Timestamp>,
}

/// Where a pass begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Since {
    first: bool,
    newest: Option<Value>,
}

/// What a row says of itself.
#[derive(Clone, Debug)]
pub struct ReadRow {
    cursor: Value,
    id: Value,
    version: Value,
    created: Option<Value>,
    row: Arc<Value>,
}

impl RowCursor {
    /// Reads what [`RowCursor::to_json`] wrote.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let taken = value.get("taken")?.as_array()?;
        let one = |item: &Value| Some((item.get(0)?.clone(), item.get(1)?.as_str()?.to_owned()));
        let some = |name: &str| value.get(name).filter(|value| !value.is_null()).cloned();
        let since = |value: &Value| {
            Some(Since { first: value.get("first")?.as_bool()?, newest: value.get("newest").filter(|v| !v.is_null()).cloned() })
        };
        Some(Self {
            started: true,
            newest: some("newest"),
            floor: some("floor"),
            taken: taken.iter().map(one).collect::<Option<_>>()?,
            unfinished: some("unfinished").as_ref().and_then(since),
            start: value.get("start").and_then(Value::as_str).and_then(Timestamp::parse_lenient),
        })
    }

    /// For keeping.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut kept = json!({"newest": self.newest, "floor": self.floor, "taken": self.taken, "start": self.start});
        if let Some(Since { first, newest }) = &self.unfinished {
            kept["unfinished"] = json!({"first": first, "newest": newest});
        }
        kept
    }

    /// One that stands at a value, as if all before it were known.
    #[must_use]
    pub fn at(newest: Value) -> Self {
        let newest = Some(newest).filter(|newest| !newest.is_null());
        Self { started: newest.is_some(), newest, ..Self::default() }
    }

    /// Before the first pass: from when on changes are to be told.
    pub fn begin(&mut self, look_back: Duration, now: Timestamp) {
        self.start.get_or_insert_with(|| now.minus(look_back));
    }

    /// Where a pass begins that reads from here on. One that was cut short begins where it began before: its rows mean the same.
    #[must_use]
    pub fn since(&self) -> Since {
        self.unfinished.clone().unwrap_or_else(|| Since { first: !self.started, newest: self.newest.clone() })
    }

    /// Whether it knows of no other rows than another one did.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        let (Self { started, newest, floor, taken, unfinished: _, start: _ }, o) = (self, other);
        *started == o.started && *newest == o.newest && *floor == o.floor && *taken == o.taken
    }

    /// Whether a pass is not at its end.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }

    /// All rows of the pass are taken.
    pub fn finish(&mut self) {
        self.unfinished = None;
    }

    /// The value that `with` sees as `cursor`: the newest one, less what may become visible late where it is a time.
    #[must_use]
    pub fn asked(&self) -> Value {
        let Some(newest) = &self.newest else { return Value::Null };
        let overlap = OVERLAP.as_secs();
        match newest {
            Value::String(_) => moment(newest).map_or_else(|| newest.clone(), |time| json!(time.minus(OVERLAP))),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), Some(size)) if size >= MILLISECONDS_FROM => json!(whole - overlap as i64 * 1000),
                (Some(whole), Some(size)) if size >= SECONDS_FROM => json!(whole - overlap as i64),
                (None, Some(size)) if (SECONDS_FROM..MILLISECONDS_FROM).contains(&size) => json!(size - overlap as f64),
                _ => newest.clone(),
            },
            other => other.clone(),
        }
    }

    /// Forgets what is settled, and what is too much.
    fn prune(&mut self) {
        if let Some(settled) = settled(self.newest.as_ref()) {
            self.taken.retain(|(mark, _)| moment(mark).is_none_or(|time| time >= settled));
        }
        let mut bytes: usize = self.taken.iter().map(|(mark, _)| size(mark)).sum();
        let mut gone = 0;
        while self.taken.len() - gone > TAKEN_MAX || bytes > TAKEN_BYTES_MAX {
            bytes -= size(&self.taken[gone].0);
            gone += 1;
        }
        if gone > 0 {
            self.taken.drain(..gone);
            self.floor = self.taken.first().map(|(mark, _)| mark.clone());
        }
    }
}

/// Before this instant no row becomes visible any more.
fn settled(newest: Option<&Value>) -> Option<Timestamp> {
    newest.and_then(moment).map(|newest| newest.minus(OVERLAP))
}

fn size(mark: &Value) -> usize {
    32 + mark.as_str().map_or(16, str::len)
}

impl Connector {
    /// The input of a polling trigger's operation for a pass from this cursor on.
    ///
    /// # Errors
    /// What cannot be rendered.
    pub fn trigger_input(
        &self,
        trigger: &Trigger,
        cursor: &RowCursor,
        config: &Value,
        now: Timestamp,
    ) -> Result<Map<String, Value>, String> {
        let TriggerKind::Poll { with, .. } = &trigger.kind else { return Ok(Map::new()) };
        let (asked, start) = (cursor.asked(), json!(cursor.start.unwrap_or(now)));
        let scope = Scope::new().bind("config", config).bind("cursor", &asked).bind("start", &start).at(now);
        let at = At::root("with");
        let one = |(name, tree): &(String, crate::expr::Tree)| Ok((name.clone(), tree.render(&scope, &at.field(name))?));
        with.iter().map(one).collect::<Result<_, crate::expr::ExpressionFault>>().map_err(|fault| fault.to_string())
    }

    /// Reads rows, in the order of their cursors.
    ///
    /// # Errors
    /// A row does not say what it has to: none of them is to be passed over.
    pub fn read_rows(&self, trigger: &Trigger, rows: Vec<Value>, config: &Value, now: Timestamp) -> Result<Vec<ReadRow>, String> {
        let TriggerKind::Poll { cursor, id, version, created, .. } = &trigger.kind else {
            return Err(format!("trigger `{}` is not polled", trigger.name));
        };
        let mut read = Vec::with_capacity(rows.len());
        for (number, row) in (1..).zip(rows) {
            let scope = Scope::new().bind("config", config).bind("entry", &row).at(now);
            let value = |name: &str, expression: &Expression| {
                let wrong = |why: String| format!("row {number}: `{name}` (`{}`): {why}", expression.text());
                match expression.eval(&scope) {
                    Ok(Value::Null) => Err(wrong("it is null".to_owned())),
                    Ok(value) => Ok(value),
                    Err(error) => Err(wrong(explain(error))),
                }
            };
            let mark = value("cursor", cursor)?;
            if !matches!(&mark, Value::Number(_) | Value::String(_)) || mark.as_str().is_some_and(|text| text.len() > MARK_BYTES_MAX) {
                return Err(format!("row {number}: `cursor` is neither a number nor a text of at most {MARK_BYTES_MAX} bytes"));
            }
            let id = value("id", id)?;
            let version = version.as_ref().map_or_else(|| Ok(mark.clone()), |version| value("version", version))?;
            let created = created.as_ref().map(|created| created.eval(&scope).unwrap_or_default());
            read.push(ReadRow { cursor: mark, id, version, created, row: Arc::new(row) });
        }
        if let Some(other) = read.windows(2).find(|two| order(&two[0].cursor, &two[1].cursor).is_none()) {
            return Err(format!(
                "`cursor` is of two kinds, such as `{}` and `{}`: they cannot be compared",
                other[0].cursor, other[1].cursor
            ));
        }
        read.sort_by(|a, b| order(&a.cursor, &b.cursor).unwrap_or(Ordering::Equal));
        Ok(read)
    }
}

/// The changes that rows tell, which are ascending and behind those before. The first pass of a source only remembers, but
/// for what changed within `look_back`.
///
/// # Errors
/// A row that cannot be told from others.
pub fn changes(
    source: &str,
    rows: &[ReadRow],
    since: &Since,
    cursor: &mut RowCursor,
    look_back: Duration,
    now: Timestamp,
) -> Result<Vec<Change>, String> {
    let mut known: HashSet<String> = cursor.taken.iter().map(|(_, print)| print.clone()).collect();
    let settled = settled(since.newest.as_ref());
    let mut changes = Vec::new();
    for row in rows {
        if let Some(newest) = &cursor.newest
            && order(&row.cursor, newest).is_none()
        {
            return Err(format!("`cursor` is `{}` and was `{newest}` before: they cannot be compared", row.cursor));
        }
        let below = |mark: &Option<Value>| mark.as_ref().is_some_and(|mark| order(&row.cursor, mark) == Some(Ordering::Less));
        let print = fingerprint(&row.id, &row.version);
        let time = moment(&row.cursor);
        let late = settled.is_some_and(|settled| time.is_some_and(|time| time < settled));
        if late || below(&cursor.floor) || !known.insert(print.clone()) {
            continue;
        }
        let at = cursor.taken.partition_point(|(mark, _)| order(mark, &row.cursor) != Some(Ordering::Greater));
        cursor.taken.insert(at, (row.cursor.clone(), print));
        if !below(&cursor.newest) {
            cursor.newest = Some(row.cursor.clone());
        }
        if since.first && !time.is_some_and(|time| now.since(time) <= look_back && !look_back.is_zero()) {
            continue;
        }
        let sight = RowSight { source, id: &row.id, version: &row.version, time, observed: now, row: &row.row };
        for event in events(row, since) {
            changes.push(row_change(event, &sight).ok_or_else(|| format!("a row whose `id` is `{}` identifies nothing", row.id))?);
        }
    }
    cursor.started = true;
    cursor.unfinished = Some(since.clone());
    cursor.prune();
    Ok(changes)
}

/// What happened to a row that was not seen in this state before.
fn events(row: &ReadRow, since: &Since) -> Vec<RowEvent> {
    let Some(created) = &row.created else { return vec![RowEvent::Changed] };
    let (made, changed) = (moment(created), moment(&row.cursor));
    let untouched = match (made, changed) {
        (Some(made), Some(changed)) => made.distance(changed) <= CREATED_WITHIN,
        _ => created == &row.cursor,
    };
    // What was made since the last pass and changed since then was never told.
    let made_since = made.zip(since.newest.as_ref().and_then(moment)).is_some_and(|(made, newest)| made > newest);
    match (untouched, made_since) {
        (true, _) => vec![RowEvent::Created],
        (false, true) => vec![RowEvent::Created, RowEvent::Updated],
        (false, false) => vec![RowEvent::Updated],
    }
}

/// Which of two cursors is later; nothing for two that cannot be compared.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => x.as_f64()?.partial_cmp(&y.as_f64()?),
        },
        (Value::String(x), Value::String(y)) => match (moment(a), moment(b)) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            (None, None) => Some(x.cmp(y)),
            _ => None,
        },
        _ => None,
    }
}

/// The instant that a value means, where it means one.
fn moment(value: &Value) -> Option<Timestamp> {
    let read = match value {
        Value::String(text) => Timestamp::parse_lenient(text),
        Value::Number(number) => match number.as_f64()? {
            seconds if (SECONDS_FROM..MILLISECONDS_FROM).contains(&seconds) => Some(Timestamp::from_millis((seconds * 1000.0) as i64)),
            millis if (MILLISECONDS_FROM..1e15).contains(&millis) => Some(Timestamp::from_millis(millis as i64)),
            _ => None,
        },
        _ => None,
    };
    read.and_then(Timestamp::sane)
}

fn fingerprint(id: &Value, version: &Value) -> String {
    let digest = Sha256::digest(format!("{id}\0{version}"));
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::connectors::Connectors;
    use crate::fault::SourceText;

    const FILE: &str = "\
connector: crm
base_url: https://crm.example.com
operations:
  list: {method: GET, path: /contacts, input: {since: {type: string}}}
triggers:
  contact: {poll: {operation: list, with: {since: '${cursor}'}, cursor: entry.updated, id: entry.id, created: entry.?created.orValue(null)}}
  begun: {poll: {operation: list, with: {since: '${cursor == null ? start : cursor}'}, cursor: entry.updated, id: entry.id}}
  plain: {poll: {operation: list, cursor: entry.n, id: entry.id, version: entry.v}}
";

    fn crm() -> Arc<Connector> {
        let text = Arc::new(SourceText { path: PathBuf::from("crm.yaml"), text: FILE.to_owned() });
        let (connectors, faults) = Connectors::load(&[text], None);
        let lines: Vec<String> = faults.iter().map(crate::fault::Fault::one_line).collect();
        Arc::clone(connectors.get("crm").unwrap_or_else(|| panic!("{lines:?}")))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn stamp(seconds: i64) -> String {
        at(seconds).to_string()
    }

    /// One pass; what it told, as type and key.
    fn pass(trigger: &str, cursor: &mut RowCursor, rows: Vec<Value>, now: i64, look_back: u64) -> Result<Vec<String>, String> {
        let connector = crm();
        let trigger = &connector.triggers[trigger];
        let since = cursor.since();
        let rows = connector.read_rows(trigger, rows, &json!({}), at(now))?;
        let told = changes("crm", &rows, &since, cursor, Duration::from_secs(look_back), at(now))?;
        cursor.finish();
        // What is kept is what is read again.
        assert_eq!(RowCursor::from_json(&cursor.to_json()).as_ref(), Some(&*cursor));
        Ok(told.into_iter().map(|change| format!("{} {}", change.event_type, change.key.text)).collect())
    }

    fn contact(id: u64, created: i64, updated: i64) -> Value {
        json!({"id": id, "created": stamp(created), "updated": stamp(updated)})
    }

    #[test]
    fn what_was_made_is_told_from_what_was_changed() {
        let mut cursor = RowCursor::default();
        assert_eq!(
            pass("contact", &mut cursor, vec![contact(1, -5000, -4000), contact(2, -50, -50)], 0, 0),
            Ok(vec![]),
            "the first pass remembers"
        );
        let rows = vec![contact(1, -5000, -4000), contact(2, -50, -50), contact(3, 10, 20), contact(4, 10, 21), contact(5, -5000, 30)];
        let told = pass("contact", &mut cursor, rows.clone(), 60, 0).expect("rows");
        let version = stamp(30);
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[0], "crm.created source:crm|row|3||created");
        // Made since the last pass, and changed since then: both are told.
        assert_eq!(told[1], "crm.created source:crm|row|4||created");
        assert_eq!(told[2], format!("crm.updated source:crm|row|4|{}|updated", stamp(21)));
        assert_eq!(told[3], format!("crm.updated source:crm|row|5|{version}|updated"));
        assert_eq!(pass("contact", &mut cursor, rows, 70, 0), Ok(vec![]), "nothing is told twice");
    }

    #[test]
    fn rows_that_show_late_are_taken_and_older_ones_are_not() {
        let mut cursor = RowCursor::default();
        pass("contact", &mut cursor, vec![], 0, 0).expect("an empty first pass");
        assert_eq!(pass("contact", &mut cursor, vec![contact(1, 100, 100)], 110, 0).expect("rows").len(), 1, "what comes after it is new");
        assert_eq!(cursor.asked(), json!(at(100).minus(OVERLAP)));
        assert_eq!(pass("contact", &mut cursor, vec![contact(2, 50, 50), contact(1, 100, 100)], 120, 0).expect("rows").len(), 1);
        assert_eq!(pass("contact", &mut cursor, vec![contact(3, 1000, 1000)], 1010, 0).expect("rows").len(), 1);
        assert_eq!(pass("contact", &mut cursor, vec![contact(4, 60, 60)], 1020, 0), Ok(vec![]), "long before what is settled");
        assert_eq!(cursor.taken.len(), 1, "what is settled is forgotten");
    }

    /// A pass whose last rows were not taken, and what is kept of it.
    fn cut_pass(cursor: &mut RowCursor, rows: Vec<Value>, now: i64) -> usize {
        let (connector, since) = (crm(), cursor.since());
        let rows = connector.read_rows(&connector.triggers["contact"], rows, &json!({}), at(now)).expect("rows");
        let told = changes("crm", &rows, &since, cursor, Duration::ZERO, at(now)).expect("changes").len();
        *cursor = RowCursor::from_json(&cursor.to_json()).expect("read again");
        told
    }

    #[test]
    fn a_pass_that_was_cut_short_goes_on_as_it_began() {
        let rows: Vec<Value> = (0..6).map(|n| contact(n, -5000, -4000 + i64::try_from(n).expect("small"))).collect();
        let mut cursor = RowCursor::default();
        assert_eq!(cut_pass(&mut cursor, rows[..3].to_vec(), 0), 0);
        assert_eq!(pass("contact", &mut cursor, rows.clone(), 1, 0), Ok(vec![]), "it is still the first pass");
        // Made and changed since the pass before: both are told, though the cut pass got beyond the time when it was made.
        let later = vec![contact(7, 10, 300), contact(8, 20, 310)];
        assert_eq!(cut_pass(&mut cursor, later[..1].to_vec(), 400), 2);
        let told = pass("contact", &mut cursor, later, 401, 0).expect("rows");
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "crm.created source:crm|row|8||created");
        assert_eq!(
            pass("contact", &mut cursor, vec![contact(9, 30, 500)], 501, 0).expect("rows").len(),
            1,
            "which pass it is ends with it"
        );
    }

    #[test]
    fn the_first_pass_looks_back_as_far_as_it_is_told() {
        let mut cursor = RowCursor::default();
        let told = pass("contact", &mut cursor, vec![contact(1, -4000, -4000), contact(2, -90, -90)], 0, 100).expect("rows");
        assert_eq!(told, ["crm.created source:crm|row|2||created"]);
    }

    #[test]
    fn numbers_that_are_no_times_rise_too() {
        let mut cursor = RowCursor::default();
        let row = |n: i64, id: &str, v: i64| json!({"n": n, "id": id, "v": v});
        assert_eq!(pass("plain", &mut cursor, vec![row(7, "a", 1)], 0, 100), Ok(vec![]));
        assert_eq!(cursor.asked(), json!(7));
        let told = pass("plain", &mut cursor, vec![row(9, "b|", 1), row(8, "a", 2), row(7, "a", 1)], 1, 0).expect("rows");
        assert_eq!(told, ["crm.changed source:crm|row|a|2|changed", "crm.changed source:crm|row|b%7C|1|changed"]);
        // Many rows at once: the memory is bounded, and none is passed over.
        let many: Vec<Value> = (0..5000).map(|n| row(100 + n, &format!("x{n}"), 1)).collect();
        assert_eq!(pass("plain", &mut cursor, many, 2, 0).expect("rows").len(), 5000);
        assert!(cursor.taken.len() <= TAKEN_MAX && cursor.to_json().to_string().len() < 64 << 10);
        assert_eq!(
            pass("plain", &mut cursor, vec![row(5099, "x4999", 1), row(5099, "y", 1), row(120, "x20", 1)], 3, 0).expect("rows").len(),
            1
        );
    }

    #[test]
    fn a_row_that_does_not_say_what_it_has_to_stops_its_source() {
        let mut cursor = RowCursor::default();
        pass("contact", &mut cursor, vec![contact(1, 0, 0)], 1, 0).expect("rows");
        let before = cursor.clone();
        let rows: Vec<(Value, &str)> = vec![
            (json!({"id": 2}), "row 2: `cursor` (`entry.updated`)"),
            (json!({"id": 2, "updated": null}), "row 2: `cursor`"),
            (json!({"updated": stamp(5)}), "row 2: `id`"),
            (json!({"id": "", "updated": stamp(5)}), "identifies nothing"),
            (json!({"id": 2, "updated": {"a": 1}}), "neither a number nor a text"),
            (json!({"id": 2, "updated": "x".repeat(1000)}), "neither a number nor a text"),
            (json!({"id": 2, "updated": 7}), "cannot be compared"),
            (json!({"id": 2, "updated": "soon"}), "cannot be compared"),
        ];
        for (row, why) in rows {
            let mut tried = cursor.clone();
            let message = pass("contact", &mut tried, vec![contact(3, 4, 4), row.clone()], 10, 0).expect_err(why);
            assert!(message.contains(why), "{row}: {message}");
        }
        assert_eq!(cursor, before);
    }

    #[test]
    fn times_are_asked_for_with_the_overlap() {
        let asked = |newest: Value| RowCursor { newest: Some(newest), ..RowCursor::default() }.asked();
        assert_eq!(asked(json!(1_700_000_000)), json!(1_699_999_880));
        assert_eq!(asked(json!(1_700_000_000_000_i64)), json!(1_699_999_880_000_i64));
        assert_eq!(asked(json!("abc")), json!("abc"));
        assert_eq!(RowCursor::default().asked(), Value::Null);
        let input = crm().trigger_input(
            &crm().triggers["contact"],
            &RowCursor { newest: Some(json!("k1")), ..RowCursor::default() },
            &json!({}),
            at(0),
        );
        assert_eq!(input, Ok(Map::from_iter([("since".to_owned(), json!("k1"))])));
        // What the first pass asks for, and every pass until there is a row: also after a restart.
        let mut cursor = RowCursor::default();
        cursor.begin(Duration::from_secs(60), at(100));
        let mut kept = RowCursor::from_json(&cursor.to_json()).expect("read again");
        kept.begin(Duration::from_secs(60), at(500));
        let input = crm().trigger_input(&crm().triggers["begun"], &kept, &json!({}), at(500));
        assert_eq!(input, Ok(Map::from_iter([("since".to_owned(), json!(at(40)))])));
    }
}
