//! Whether a delivery that says it is an earlier one says the same.
//!
//! Orchestrator sends one change once per folder of a shared queue and repeats what was not answered in time: such bodies
//! differ at most in the folder and in how they are written. Anything else under the same `EventId` is a conflict.

use serde_json::{Map, Value};

use crate::journal::codec::{BodyRecord, FoldRecord, Undecodable};
use crate::journal::format::{Frame, Kind};
use crate::journal::index::body_hash;

/// Fields that name the folder, lower case.
const FOLDER_FIELDS: &[&str] = &[
    "organizationunitid",
    "organizationunitkey",
    "organizationunitname",
    "organizationunitfullyqualifiedname",
    "folderid",
    "folderkey",
    "foldername",
    "folderpath",
];

/// Fields whose content is the user's: a folder named in there is data.
const USER_FIELDS: &[&str] = &["specificcontent", "output", "outputdata", "inputarguments", "outputarguments", "eventdata"];

/// One side of the comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    /// The body's bytes.
    pub(super) body: &'a [u8],
    /// The element's data.
    pub(super) data: &'a Value,
    /// The delivery's id.
    pub(super) delivery_id: Option<&'a str>,
}

/// Whether two sights of one change differ by more than the folder and white space. The fields around the element
/// (time stamp, user, …) count only when both are the same delivery: folder copies have their own.
pub(super) fn differs(a: Sight<'_>, b: Sight<'_>) -> bool {
    if a.body == b.body {
        return false;
    }
    if a.data.is_null() && b.data.is_null() {
        return !a.body.iter().filter(|c| !c.is_ascii_whitespace()).eq(b.body.iter().filter(|c| !c.is_ascii_whitespace()));
    }
    if !same(a.data, b.data) {
        return true;
    }
    a.delivery_id == b.delivery_id
        && match (envelope(a.body), envelope(b.body)) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        }
}

/// Equal but for folder fields outside the user's own data.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let count = |map: &Map<String, Value>| map.keys().filter(|name| !is_one_of(name, FOLDER_FIELDS)).count();
            count(a) == count(b)
                && a.iter().filter(|(name, _)| !is_one_of(name, FOLDER_FIELDS)).all(|(name, value)| {
                    b.get(name).is_some_and(|other| if is_one_of(name, USER_FIELDS) { value == other } else { same(value, other) })
                })
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

/// The plain fields of a body's top level, without the folder.
fn envelope(body: &[u8]) -> Option<Map<String, Value>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut map: Map<String, Value> = serde_json::from_slice(body).ok()?;
    map.retain(|name, value| !value.is_object() && !value.is_array() && !is_one_of(name, FOLDER_FIELDS));
    Some(map)
}

fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a record under a delivery's id has the same bytes; `None` when it has another id.
pub(super) fn said(known: Frame<'_>, id: &str, body: &[u8]) -> Result<Option<bool>, Undecodable> {
    Ok(match known.kind {
        Kind::Body => {
            let record = BodyRecord::decode(known.payload)?;
            (record.delivery_id == Some(id)).then(|| record.body == body)
        }
        Kind::Fold => {
            let (_, known, hash) = FoldRecord::decode(known.payload)?;
            (known == Some(id)).then(|| hash == body_hash(body))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folder_and_white_space_may_differ() {
        let check = |a: &str, b: &str, same_delivery: bool, expected: bool| {
            let data = |text: &str| serde_json::from_str::<Value>(text).map_or(Value::Null, |body| body["QueueItem"].clone());
            let (first, second) = (data(a), data(b));
            let a = Sight { body: a.as_bytes(), data: &first, delivery_id: Some("1") };
            let b = Sight { body: b.as_bytes(), data: &second, delivery_id: Some(if same_delivery { "1" } else { "2" }) };
            assert_eq!(differs(a, b), expected, "{:?} {:?}", a.body.escape_ascii().to_string(), b.body.escape_ascii().to_string());
        };
        let body = r#"{"Timestamp":"t1","OrganizationUnitId":1,"QueueItem":{"Id":7,"FolderId":1,"SpecificContent":{"FolderId":5}}}"#;
        check(body, body, true, false);
        check(body, &body.replace(",", " ,\n"), true, false);
        check(body, &body.replace("UnitId\":1", "UnitId\":2"), true, false);
        check(body, &body.replace("\"FolderId\":1", "\"FolderId\":2"), true, false);
        check(body, &body.replace("\"FolderId\":1,", ""), true, false);
        check(body, &body.replace("\"FolderId\":5", "\"FolderId\":6"), true, true);
        check(body, &body.replace("\"Id\":7", "\"Id\":8"), true, true);
        check(body, &body.replace("\"Id\":7", "\"Id\":7,\"Status\":1"), true, true);
        check(body, &body.replace("t1", "t2"), true, true);
        check(body, &body.replace("t1", "t2"), false, false);
        check("not json", "not  json", true, false);
        check("not json", "not  jsom", true, true);
    }
}
