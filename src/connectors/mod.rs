//! Connectors: what a service offers, what is sent to it, what its answers mean.
//!
//! A file says it ([`Connector`]); a call of one of its operations is a request value ([`CallRequest`]), an answer
//! ([`CallResponse`]) is a value or a failure. Knows no clock, store or network: the edge `calls` authorises and sends.

mod access;
pub mod auth;
pub mod import;
mod model;
mod operation;
mod pages;
mod request;

pub use access::{Access, MASK};
pub use auth::{Auth, AuthValue};
pub use model::{ConfigField, ConfigValue, Connector, Limits, Test, TestResponse, Trigger, TriggerKind};
pub use operation::{
    After, Before, Body, Errors, FieldKind, InputField, Lookup, Operation, Output, PageBy, PageSize, Paginate, Part, StatusMatch,
};
pub use pages::{NEXT_MAX, Next, PageFault, Pages, next_link};
pub use request::{CallRequest, CallResponse, Content, FormPart};
