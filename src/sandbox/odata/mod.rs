//! The part of OData that lists understand: `$filter`, `$orderby`, `$top`, `$skip`, `$count`, `$select`.
//!
//! Knows rows only through [`Row`] and their columns through a table of names and kinds.

mod filter;
mod parse;
mod query;

pub(in crate::sandbox) use filter::Filter;
pub(in crate::sandbox) use query::Query;

use crate::time::Timestamp;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sandbox) enum Kind {
    /// A whole number.
    Int,
    /// Text.
    Text,
    /// A GUID: compared whatever its case, written without quotes.
    Guid,
    /// True or false.
    Bool,
    /// An instant, written without quotes.
    Time,
    /// One of these names; their places are their numbers.
    Enum(&'static [&'static str]),
}

/// The columns that may be filtered and ordered by, by name (`QueueDefinition/Name` is one).
pub(in crate::sandbox) type Columns = &'static [(&'static str, Kind)];

/// A value in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sandbox) enum Cell<'a> {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// Text, GUIDs and names of enums.
    Text(&'a str),
    /// True or false.
    Bool(bool),
    /// An instant.
    Time(Timestamp),
}

impl<'a> Cell<'a> {
    /// Text or nothing.
    pub(in crate::sandbox) fn text(value: Option<&'a str>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }

    /// A number or nothing.
    pub(in crate::sandbox) fn int(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Int)
    }

    /// An instant or nothing.
    pub(in crate::sandbox) fn time(value: Option<Timestamp>) -> Self {
        value.map_or(Self::Null, Self::Time)
    }
}

/// Something that can be filtered and ordered.
pub(in crate::sandbox) trait Row {
    /// The value in a column that is in the table.
    fn cell(&self, column: &str) -> Cell<'_>;
}

/// A rendered row: for the small tables, where speed does not matter.
impl Row for serde_json::Value {
    fn cell(&self, column: &str) -> Cell<'_> {
        let found = column.split('/').try_fold(self, |at, name| at.get(name));
        match found {
            Some(Self::String(text)) => Cell::Text(text),
            Some(Self::Bool(yes)) => Cell::Bool(*yes),
            Some(Self::Number(number)) => Cell::int(number.as_i64()),
            _ => Cell::Null,
        }
    }
}
