//! JSON as CEL values, read in place: an object is indexed when a field is asked for, an array is walked when a
//! comprehension walks it.

use std::sync::OnceLock;

use cel::ExecutionError;
use cel::common::traits::{Adder, Container, Indexer, Iterable, Iterator as CelIterator, Sizer, Zeroer};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelNull, CelString, CelUInt, Kind, LIST_TYPE, MAP_TYPE, Type};
use cel::common::value::{CowVal, Val};
use serde_json::{Map, Value};

use super::budget;
use super::functions::as_text;

static MAP: Type = MAP_TYPE;
static LIST: Type = LIST_TYPE;

/// A JSON value as CEL sees it.
pub(super) fn lend<'a>(value: &'a Value) -> Box<dyn Val + 'a> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Number(value) => number(value),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => Box::new(JsonList { items, lent: OnceLock::new() }),
        Value::Object(map) => Box::new(JsonMap { map, keys: OnceLock::new() }),
    }
}

/// A JSON number: an integer where it is one.
pub(super) fn number<'v>(number: &serde_json::Number) -> Box<dyn Val + 'v> {
    match (number.as_i64(), number.as_u64()) {
        (Some(int), _) => Box::new(CelInt::from(int)),
        (None, Some(uint)) => Box::new(CelUInt::from(uint)),
        (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
    }
}

/// A JSON object.
#[derive(Debug)]
struct JsonMap<'a> {
    map: &'a Map<String, Value>,
    keys: OnceLock<Vec<CelString<'a>>>,
}

impl<'a> JsonMap<'a> {
    fn find(&self, key: &dyn Val) -> Option<&'a Value> {
        self.map.get(key.downcast_ref::<CelString<'_>>()?.inner())
    }
}

impl Val for JsonMap<'_> {
    fn get_type(&self) -> &Type {
        &MAP
    }
    fn cel_type() -> &'static Type {
        &MAP
    }
    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }
    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }
    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }
    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }
    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        Some(self)
    }
    fn equals(&self, other: &dyn Val) -> bool {
        same(self, other)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Self { map: self.map, keys: OnceLock::new() })
    }
}

impl Container for JsonMap<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.find(key).is_some())
    }
}

impl Indexer for JsonMap<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        match self.find(key) {
            Some(value) => Ok(CowVal::Owned(lend(value))),
            None => Err(ExecutionError::no_such_key(&as_text(key).unwrap_or_default())),
        }
    }
    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        match self.find(key) {
            Some(value) => Ok(lend(value)),
            None => Err(ExecutionError::no_such_key(&as_text(key).unwrap_or_default())),
        }
    }
}

impl Iterable for JsonMap<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn CelIterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        let keys = self.keys.get_or_init(|| self.map.keys().map(|key| CelString::from(key.as_str())).collect());
        Box::new(Keys(keys.iter()))
    }
}

impl Sizer for JsonMap<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.map.len()).unwrap_or(i64::MAX))
    }
}

impl Zeroer for JsonMap<'_> {
    fn is_zero_value(&self) -> bool {
        self.map.is_empty()
    }
}

struct Keys<'b, 'a>(std::slice::Iter<'b, CelString<'a>>);

impl<'b, 'a: 'v, 'v> CelIterator<'b, 'v> for Keys<'b, 'a> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|key| key as &(dyn Val + 'v))
    }
}

/// A JSON array.
#[derive(Debug)]
struct JsonList<'a> {
    items: &'a [Value],
    lent: OnceLock<Vec<Box<dyn Val + 'a>>>,
}

impl<'a> JsonList<'a> {
    fn find(&self, index: &dyn Val) -> Result<&'a Value, ExecutionError> {
        let number = if let Some(int) = index.downcast_ref::<CelInt>() {
            usize::try_from(*int.inner()).ok()
        } else if let Some(uint) = index.downcast_ref::<CelUInt>() {
            usize::try_from(*uint.inner()).ok()
        } else {
            return Err(ExecutionError::UnexpectedType { got: index.get_type().name().to_owned(), want: "int".to_owned() });
        };
        let out = || ExecutionError::IndexOutOfBounds(cel::Value::try_from(index).unwrap_or(cel::Value::Null));
        number.and_then(|n| self.items.get(n)).ok_or_else(out)
    }
}

impl Val for JsonList<'_> {
    fn get_type(&self) -> &Type {
        &LIST
    }
    fn cel_type() -> &'static Type {
        &LIST
    }
    fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }
    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }
    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }
    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }
    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }
    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        Some(self)
    }
    fn equals(&self, other: &dyn Val) -> bool {
        same(self, other)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Self { items: self.items, lent: OnceLock::new() })
    }
}

impl Adder for JsonList<'_> {
    fn add<'b, 'v>(&'b self, rhs: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(other) = rhs.as_iterable().filter(|_| rhs.get_type().kind() == Kind::List) else {
            return Err(ExecutionError::no_such_overload("_+_", vec!["list".to_owned(), rhs.get_type().name().to_owned()]));
        };
        let mut list: Vec<Box<dyn Val + 'v>> = self.items.iter().map(|item| lend(item) as Box<dyn Val + 'v>).collect();
        let mut others = other.iter();
        while let Some(item) = others.next() {
            list.push(item.clone_as_boxed());
        }
        Ok(CowVal::owned(CelList::from(list)))
    }
}

impl Container for JsonList<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        budget::step(self.items.len() as u64)?;
        Ok(self.items.iter().any(|item| same(lend(item).as_ref(), value)))
    }
}

impl Indexer for JsonList<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.find(index).map(|value| CowVal::Owned(lend(value)))
    }
    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.find(index).map(|value| lend(value) as Box<dyn Val + 'v>)
    }
}

impl Iterable for JsonList<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn CelIterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Items(self.lent.get_or_init(|| self.items.iter().map(lend).collect()).iter()))
    }
}

impl Sizer for JsonList<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.items.len()).unwrap_or(i64::MAX))
    }
}

impl Zeroer for JsonList<'_> {
    fn is_zero_value(&self) -> bool {
        self.items.is_empty()
    }
}

struct Items<'b, 'a>(std::slice::Iter<'b, Box<dyn Val + 'a>>);

impl<'b, 'a: 'v, 'v> CelIterator<'b, 'v> for Items<'b, 'a> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|item| item.as_ref() as &(dyn Val + 'v))
    }
}

/// Whether two values are equal, whichever of them are JSON.
pub(super) fn same(a: &dyn Val, b: &dyn Val) -> bool {
    if budget::step(1).is_err() {
        return false;
    }
    match (a.get_type().kind(), b.get_type().kind()) {
        (Kind::List, Kind::List) => {
            let (Some(left), Some(right)) = (a.as_iterable(), b.as_iterable()) else { return false };
            let (mut left, mut right) = (left.iter(), right.iter());
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return true,
                    (Some(x), Some(y)) if same(x, y) => {}
                    _ => return false,
                }
            }
        }
        (Kind::Map, Kind::Map) => {
            let (Some(keys), Some(left), Some(right)) = (a.as_iterable(), a.as_indexer(), b.as_indexer()) else { return false };
            if a.as_sizer().map(Sizer::size) != b.as_sizer().map(Sizer::size) {
                return false;
            }
            let mut keys = keys.iter();
            while let Some(key) = keys.next() {
                match (left.get(key), right.get(key)) {
                    (Ok(x), Ok(y)) if same(x.as_ref(), y.as_ref()) => {}
                    _ => return false,
                }
            }
            true
        }
        // A mapping or list is no scalar and not null. Lent ones would ask here again, without an end.
        (Kind::List | Kind::Map, _) | (_, Kind::List | Kind::Map) => false,
        _ => a.equals(b),
    }
}
