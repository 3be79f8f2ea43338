//! Any device: bytes go out as they are, and what comes back is not interpreted.
//!
//! A device type whose reports prove what it received deserves a codec of its own.

use super::{Codec, CodecKind, Command, DecodeReportError, EncodeError, Frame, Proof, Report};
use crate::id::FPort;

/// The codec of devices without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generic;

impl Codec for Generic {
    fn encode(&self, command: &Command) -> Result<Frame, EncodeError> {
        match command {
            Command::Raw(frame) => frame.checked(),
            Command::SetLight(_) | Command::Busylight(_) => Err(EncodeError::NotUnderstood {
                codec: CodecKind::Generic.name(),
            }),
        }
    }

    /// An empty report: all bytes are equally meaningless here.
    fn decode(&self, _f_port: FPort, _payload: &[u8]) -> Result<Report, DecodeReportError> {
        Ok(Report::default())
    }

    fn proof(&self, _command: &Command, confirmed: bool) -> Proof {
        if confirmed {
            Proof::LorawanAck
        } else {
            Proof::Transmitted
        }
    }
}
