//! `tripline connector`: one file for each of its commands.

pub(super) mod call;
pub(super) mod import;
pub(super) mod list;
mod save;
mod shown;
pub(super) mod test;
mod used;
mod with;
