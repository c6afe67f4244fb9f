//! The options of a list request beside `$filter`, and the page they make.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::sandbox::call::{Call, Refusal};
use crate::sandbox::odata::{Cell, Columns, Filter, Kind, Row};

/// The most columns in `$orderby`, as documented.
const ORDER_MAX: usize = 5;

/// A checked list request.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Query {
    pub(in crate::sandbox) filter: Option<Filter>,
    order: Vec<(&'static str, Kind, bool)>,
    pub(in crate::sandbox) skip: usize,
    pub(in crate::sandbox) top: usize,
    pub(in crate::sandbox) count: bool,
    select: Vec<String>,
    expand: Vec<String>,
}

/// The rows of one page.
#[derive(Debug)]
pub(in crate::sandbox) struct Page<T> {
    pub(in crate::sandbox) rows: Vec<T>,
    /// How many rows pass the filter, on all pages.
    pub(in crate::sandbox) total: usize,
}

impl Query {
    /// Reads the options of `call`; `top_max` is this list's limit.
    pub(in crate::sandbox) fn read(call: &Call, columns: Columns, top_max: usize) -> Result<Self, Refusal> {
        let filter = match call.option("$filter") {
            Some(text) if !text.trim().is_empty() => Some(
                Filter::parse(&text, columns)
                    .map_err(|why| Refusal::invalid(format!("The query specified in the URI is not valid. {why}.")))?,
            ),
            _ => None,
        };
        let number = |name: &str| match call.option(name) {
            None => Ok(None),
            Some(text) => text
                .trim()
                .parse::<usize>()
                .map(Some)
                .map_err(|_| Refusal::invalid(format!("Invalid value '{text}' for {name} query option found."))),
        };
        let top = number("$top")?;
        if let Some(top) = top.filter(|top| *top > top_max) {
            return Err(Refusal::invalid(format!(
                "The query specified in the URI is not valid. The limit of '{top_max}' for Top query has been exceeded. The value from the incoming request is '{top}'."
            )));
        }
        let names = |name: &str| {
            call.option(name).map_or_else(Vec::new, |text| text.split(',').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect())
        };
        Ok(Self {
            filter,
            order: order(&call.option("$orderby").unwrap_or_default(), columns)?,
            skip: number("$skip")?.unwrap_or(0),
            top: top.unwrap_or(top_max),
            count: call.option("$count").is_some_and(|text| text.eq_ignore_ascii_case("true")),
            select: names("$select"),
            expand: names("$expand"),
        })
    }

    /// Whether a navigation property was asked for.
    pub(in crate::sandbox) fn expands(&self, name: &str) -> bool {
        self.expand.iter().any(|n| n.split(['(', '/']).next() == Some(name))
    }

    /// The page of `rows`, which come in the table's own order.
    pub(in crate::sandbox) fn page<T: Row>(&self, rows: impl Iterator<Item = T>) -> Page<T> {
        let mut rows: Vec<T> = rows.filter(|row| self.filter.as_ref().is_none_or(|filter| filter.matches(row))).collect();
        let total = rows.len();
        if !self.order.is_empty() {
            rows.sort_by(|left, right| self.compare(left, right));
        }
        Page { rows: rows.into_iter().skip(self.skip).take(self.top).collect(), total }
    }

    fn compare(&self, left: &impl Row, right: &impl Row) -> Ordering {
        for (column, kind, descending) in &self.order {
            let order = rank(left.cell(column), right.cell(column), *kind);
            if order.is_ne() {
                return if *descending { order.reverse() } else { order };
            }
        }
        Ordering::Equal
    }

    /// Keeps what `$select` asks for.
    pub(in crate::sandbox) fn pick(&self, row: Value) -> Value {
        match row {
            Value::Object(fields) if !self.select.is_empty() => {
                let kept: Map<String, Value> = fields
                    .into_iter()
                    .filter(|(name, _)| self.select.iter().any(|s| s == name || s == "*") || self.expands(name))
                    .collect();
                Value::Object(kept)
            }
            other => other,
        }
    }
}

fn order(text: &str, columns: Columns) -> Result<Vec<(&'static str, Kind, bool)>, Refusal> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let mut words = part.split_whitespace();
        let name = words.next().unwrap_or_default();
        let descending = match words.next() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(other) => return Err(Refusal::invalid(format!("Syntax error: '{other}' in $orderby; expected asc or desc."))),
        };
        let Some((column, kind)) = columns.iter().find(|(column, _)| *column == name) else {
            return Err(Refusal::invalid(format!(
                "The query specified in the URI is not valid. Could not find a property named '{name}'."
            )));
        };
        found.push((*column, *kind, descending));
    }
    if found.len() > ORDER_MAX {
        return Err(Refusal::invalid(format!(
            "The number of clauses in $orderby query option exceeded the maximum number allowed ({ORDER_MAX})."
        )));
    }
    Ok(found)
}

/// Nulls first, as the database has them.
fn rank(left: Cell<'_>, right: Cell<'_>, kind: Kind) -> Ordering {
    match (left, right) {
        (Cell::Null, Cell::Null) => Ordering::Equal,
        (Cell::Null, _) => Ordering::Less,
        (_, Cell::Null) => Ordering::Greater,
        (Cell::Int(l), Cell::Int(r)) => l.cmp(&r),
        (Cell::Time(l), Cell::Time(r)) => l.cmp(&r),
        (Cell::Bool(l), Cell::Bool(r)) => l.cmp(&r),
        (Cell::Text(l), Cell::Text(r)) => match kind {
            Kind::Enum(names) => names.iter().position(|n| *n == l).cmp(&names.iter().position(|n| *n == r)),
            _ => l.cmp(r),
        },
        _ => Ordering::Equal,
    }
}
