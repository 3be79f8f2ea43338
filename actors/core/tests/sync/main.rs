//! The synchronisation of a device as scripts: second, event, what the machine does. One rule a test.
//!
//! Calls are written as their name and number: `look 1`, `create 2`, `update 3`, `delete 4`, `key 7 as 5` (revision 7).

#![expect(
    clippy::float_cmp,
    reason = "seconds are compared as they were written, in whole milliseconds"
)]

mod create;
mod delete;
mod existing;
mod failures;
mod key;
mod lost;
mod properties;
mod support;
