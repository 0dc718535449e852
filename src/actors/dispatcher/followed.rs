//! What a message that is followed is told of at its end.

use crate::backends::plane::{RelayError, Relayed};
use crate::observe::traces::What;

/// What there is to say of a message that was handed over.
pub(super) fn ending(relayed: &Result<Relayed, RelayError>, kept: bool) -> What {
    match relayed {
        Ok(relayed) => What::Stored {
            sessions: relayed.sessions,
            refused: relayed.refused.len(),
            kept,
        },
        Err(error) => What::Refused(error.to_string()),
    }
}
