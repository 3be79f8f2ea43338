//! What the gRPC services have in common.

use std::sync::Arc;

use chirpstack_api::prost_types;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::auth::{missing, uuid};
use super::config::KeyKind;
use super::world::World;

/// All services in one: they share the world.
#[derive(Debug, Clone)]
pub(super) struct Rpc {
    pub(super) world: Arc<World>,
}

impl Rpc {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world }
    }

    /// Reads the id of an object of which there is only one.
    pub(super) fn the_one(kind: KeyKind, text: &str, existing: Uuid) -> Result<(), tonic::Status> {
        let asked = uuid(text)?;
        if asked == existing {
            Ok(())
        } else {
            Err(missing(kind, &asked.to_string()))
        }
    }

    /// An instant of the model as the API tells it.
    pub(super) fn time(&self, at: Timestamp) -> prost_types::Timestamp {
        timestamp(self.world.clock.to_real_us(at.as_millis() * 1000))
    }

    /// Everything that is configured exists since the start.
    pub(super) fn since_start(&self) -> prost_types::Timestamp {
        self.time(self.world.clock.epoch())
    }
}

/// Microseconds since the Unix epoch as Protobuf has them.
pub(super) fn timestamp(us: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(us.rem_euclid(1_000_000) * 1000).unwrap_or(0);
    prost_types::Timestamp {
        seconds: us.div_euclid(1_000_000),
        nanos,
    }
}

/// One page of a list, as ChirpStack cuts it: `limit` 0 gives the count alone.
pub(super) fn page<T>(all: Vec<T>, limit: u32, offset: u32) -> (u32, Vec<T>) {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
    (
        total,
        all.into_iter()
            .skip(size(offset))
            .take(size(limit))
            .collect(),
    )
}

/// Methods of a service that this simulation has no use for, in the form that `async_trait` gives them.
macro_rules! unimplemented_rpcs {
    ($($name:ident: $request:ty => $response:ty;)*) => {
        $(
            fn $name<'life0, 'async_trait>(
                &'life0 self,
                _request: tonic::Request<$request>,
            ) -> std::pin::Pin<
                Box<
                    dyn Future<Output = Result<tonic::Response<$response>, tonic::Status>>
                        + Send
                        + 'async_trait,
                >,
            >
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(std::future::ready(Err(tonic::Status::unimplemented(concat!(
                    stringify!($name),
                    " is not simulated"
                )))))
            }
        )*
    };
}
pub(super) use unimplemented_rpcs;
