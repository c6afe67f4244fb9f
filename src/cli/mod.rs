//! The command line: for people.

use std::process::ExitCode;

/// Parses the arguments, does what they say, gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    todo!()
}
