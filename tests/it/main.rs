//! Downbeat as its users meet it: the real binary, real HTTP and gRPC over loopback, a simulated network behind it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what helps a test may fail and tell like one"
)]

mod e2e;
mod faults;
mod loadtest;
mod support;
mod walls;
