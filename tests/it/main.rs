//! Downbeat as its users meet it: the real binary, real HTTP and gRPC over loopback, a simulated network behind it.

mod e2e;
mod support;
mod walls;
