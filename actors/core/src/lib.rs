//! What Downbeat decides, and nothing else.
//!
//! Every state machine here is a plain value: an event and the time go in, effects come out. There is no async, no
//! I/O, no clock, no randomness and no global in this package, so that a week of a device's life is a test of a
//! millisecond, and any failure found by simulation is replayed from its seed.
//!
//! - [`id`], [`time`], [`light`], [`radio`]: the field's words as types.
//! - [`codec`]: command bytes out, report bytes in; one file per device type.
//! - [`network`]: what ChirpStack tells us and what its queue holds, in our words.
//! - [`device`]: the life of a downlink and of what is wanted of a device.
//! - [`job`]: one command to many devices: who is next, how far it is, how long it will take.
//! - [`pacer`]: who may send when: ChirpStack's queue, the gateways' budgets, the air for answers; [`region`]: the rules.
//! - [`pace`]: so many a second.
//! - [`gateway`]: which gateways are there, as far as anyone knows.
//! - [`link_quality`]: how well each device and each gateway get on with each other.
//! - [`queue_cleaner`]: what is stuck in ChirpStack's queues, and what of it may be removed.
//! - [`sync`]: keeping ChirpStack's devices in step with the registry's.
//! - [`circuit`]: when to stop asking a ChirpStack that does not answer.

pub mod app_key;
pub mod circuit;
pub mod codec;
pub mod device;
pub mod gateway;
pub mod id;
pub mod job;
pub mod light;
pub mod link_quality;
pub mod network;
pub mod pace;
pub mod pacer;
pub mod queue_cleaner;
pub mod radio;
pub mod random;
pub mod region;
pub mod sync;
pub mod time;
