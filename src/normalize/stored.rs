//! A stored body, and the `data` of the elements that were read from it.

use serde_json::Value;

use super::read_object;
use super::services::{self, Form};
use super::split::Delivery;
use crate::event::{TYPE_UNPARSED, Tree};

/// A stored body: parsed when the first of its elements is asked for, and once for all of them.
#[derive(Debug)]
pub struct Stored<'b> {
    body: &'b [u8],
    parts: Option<Parts<'b>>,
}

#[derive(Debug)]
enum Parts<'b> {
    /// Of Orchestrator; `None` for what is no usable object.
    Delivery(Option<Delivery<'b>>),
    /// Of another service: what it is, and the data of all its events.
    Service(Form, Vec<Tree<'b>>),
}

impl<'b> Stored<'b> {
    /// Nothing is parsed yet.
    #[must_use]
    pub fn new(body: &'b [u8]) -> Self {
        Self { body, parts: None }
    }

    /// The `data` of one element; the same functions find it that [`super::reading`] and [`services::read`] use. `Null` for
    /// bodies that are no usable object.
    pub fn data(&mut self, event_type: &str, element: u32) -> Value {
        if event_type == TYPE_UNPARSED {
            return Value::Null;
        }
        let place = services::place(element);
        let body = self.body;
        let parts = match (self.parts.take(), place) {
            (Some(Parts::Delivery(delivery)), None) => Parts::Delivery(delivery),
            (_, None) => Parts::Delivery(read_object(body).ok().map(|(object, _)| Delivery::of(object))),
            (Some(Parts::Service(known, all)), Some((form, _))) if known == form => Parts::Service(known, all),
            (_, Some((form, _))) => Parts::Service(form, services::data(body, form)),
        };
        match self.parts.insert(parts) {
            Parts::Delivery(delivery) => delivery.as_ref().map_or(Value::Null, |delivery| delivery.one(element)),
            Parts::Service(_, all) => place.and_then(|(_, index)| all.get(index)).map_or(Value::Null, Tree::to_value),
        }
    }
}
