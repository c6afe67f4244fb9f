//! `tripline run`: hands over to the daemon, and says why it refused or failed.

use std::path::Path;

use super::output::{Stop, say};
use super::{CONFIG, NO, YES, report, setup};
use crate::config::RealWorld;
use crate::daemon::{End, run as daemon};

pub(super) fn run(config: Option<&Path>, verbosity: i8) -> Result<u8, Stop> {
    let refused = |message: String| Stop::With { code: CONFIG, message };
    let file = setup::find(config).map_err(|stop| match stop {
        Stop::With { message, .. } => refused(message),
        Stop::Closed => Stop::Closed,
    })?;
    match daemon(&file, &RealWorld, verbosity) {
        Ok(()) => Ok(YES),
        Err(End::Refused(faults)) => {
            say(report::text(&faults, &RealWorld).trim_end());
            Err(refused(String::new()))
        }
        Err(End::Unusable(message)) => Err(refused(message)),
        Err(End::Failed(message)) => Err(Stop::With { code: NO, message }),
    }
}
