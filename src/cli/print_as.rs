//! How events are printed: for people, as our own JSON, or as CloudEvents.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::output::{Out, Stop, clean};
use crate::event::Event;

/// `--json` and `--format`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct PrintArgs {
    /// One JSON object per line
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// For people, as JSON, or as CloudEvents 1.0 with one JSON object per line [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    // No doc comments: they would turn the help of the whole command into the long form.
    Text,
    Json,
    Cloudevents,
}

impl PrintArgs {
    /// Whether people read it.
    pub(super) fn is_text(self) -> bool {
        !self.json && matches!(self.format, None | Some(Format::Text))
    }

    /// Whether it was asked for our own JSON.
    pub(super) fn is_json(self) -> bool {
        self.json || self.format == Some(Format::Json)
    }

    /// Prints an event on one line.
    pub(super) fn line(self, event: &Value, out: &mut Out) -> Result<(), Stop> {
        if self.format != Some(Format::Cloudevents) {
            return out.json(event);
        }
        let read = Event::from_json(event).map_err(|error| Stop::unknown(format!("this is no event: {}", clean(&error.to_string()))))?;
        out.json(&read.to_cloudevent())
    }
}
