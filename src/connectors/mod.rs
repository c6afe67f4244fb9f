//! Connectors: what a service offers, what is sent to it, what its answers mean.
//!
//! A file says it ([`Connector`]); a call of one of its operations is a request value ([`CallRequest`]), an answer
//! ([`CallResponse`]) is a value or a failure. Knows no clock, store or network: the edge `calls` authorises and sends.

mod access;
pub mod auth;
mod auth_read;
mod auth_shapes;
mod body_read;
mod builtin;
mod call;
mod check;
mod decode;
pub mod deliveries;
mod file;
mod form;
#[cfg(test)]
mod fuzz;
pub mod import;
mod input;
mod input_read;
pub mod limits;
mod model;
mod operation;
mod operation_read;
mod outcome;
mod pages;
mod pages_read;
mod read;
mod request;
mod rows;
mod set;
mod shapes;
mod testing;
mod testing_triggers;
mod tests_read;

#[cfg(test)]
mod tests;

pub use access::{Access, MASK};
pub use auth::{Auth, AuthValue};
pub use builtin::{FOLDER_PATH_HEADER, ORCHESTRATOR, OrchestratorSite, folder_path_value};
pub use call::Caller;
pub use deliveries::{Deliveries, read_deliveries, refuse, refuse_of_custom, scheme_name};
pub use model::{ConfigField, ConfigValue, Connector, Delivered, Limits, Test, TestResponse, Tested, Trigger, TriggerKind};
pub use operation::{
    After, Before, Body, Errors, FieldKind, FormStyle, InputField, Lookup, Operation, Output, PageBy, PageSize, Paginate, Part, StatusMatch,
};
pub use operation_read::method_of;
pub use outcome::Meaning;
pub use pages::{NEXT_MAX, Next, PageFault, Pages, next_link};
pub use request::{CallRequest, CallResponse, Content, FormPart};
pub use rows::{CREATED_WITHIN, ReadRow, RowCursor, Since, TAKEN_MAX, changes};
pub use set::{Connectors, Settings};
pub use shapes::connector_schema;
pub use testing::ConnectorTestReport;
