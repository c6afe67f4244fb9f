//! `tripline connector`: one file for each of its commands.

pub(super) mod import;
pub(super) mod list;
pub(super) mod test;
