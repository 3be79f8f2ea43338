//! The life of a job: scripts, and what holds for any sequence of events.

mod properties;
mod scripts;
mod support;
