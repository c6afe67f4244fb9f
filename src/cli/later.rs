//! Commands that the documentation names and this version does not have.

use super::UNKNOWN;
use super::output::Stop;

/// Their arguments, whatever they are.
#[derive(Debug, clap::Args)]
pub(super) struct Ignored {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<std::ffi::OsString>,
}

/// The answer to each of them.
pub(super) fn refuse(command: &str) -> Stop {
    Stop::With { code: UNKNOWN, message: format!("`{command}` is not in this version; `tripline --help` lists what is") }
}
