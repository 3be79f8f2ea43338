//! Keeping ChirpStack in step with the registry, as far as people have a hand in it.

pub(super) mod adopt;
pub(super) mod check;
pub(super) mod device;
pub(super) mod drift;
pub(super) mod resolve;
pub(super) mod tenant;
