//! ChirpStack's webhooks.
//!
//! ChirpStack waits five seconds and never sends an event again, so the answer means that it is committed, and while the
//! database is away the event is held ([`held`]). It reads nothing of the answer but its status; what is not for us is
//! answered with 200, or its log would fill with warnings that nobody can act on. What is another tenant's is refused
//! ([`address`]): somebody has to act on that.

mod address;
pub(super) mod held;
pub(super) mod of_tenant;
pub(super) mod receive;
mod sightings;
pub(super) mod signature;
