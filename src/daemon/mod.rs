//! The daemon's life: bind, open, start, reload, drain, end.
