//! Whether the database's secrets open with the configured key.

use crate::seal::Sealer;

/// What is sealed, and its context.
pub(crate) const SEAL_CHECK: &str = "seal_check";

/// Whether that is what was sealed, with the same key.
pub(crate) fn opens_seal_check(sealer: &Sealer, bytes: &[u8]) -> bool {
    sealer.open(SEAL_CHECK, bytes).as_deref() == Ok(SEAL_CHECK.as_bytes())
}
