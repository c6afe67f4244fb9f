//! `tripline connector`: one file for each of its commands.

pub(super) mod import;
