//! Answers to challenges between coordinators. Whose testimony it is comes from the certificate, never from the message.

use crate::pb::v1;
use haft_engine::ids::{BootId, NodeId};
use haft_engine::witness::{Speaker, Witness};

/// As it is told.
pub fn witness_into(witness: &Witness) -> v1::Witness {
    v1::Witness {
        speaker: match witness.speaker {
            Speaker::Agent => v1::Speaker::Agent,
            Speaker::Coordinator => v1::Speaker::Haftd,
        }
        .into(),
        boot_id: witness.boot.0.to_vec(),
    }
}

/// What this coordinator says; nothing, if it is malformed.
pub fn witness_from(by: NodeId, form: &v1::Witness) -> Option<Witness> {
    let speaker = match form.speaker() {
        v1::Speaker::Agent => Speaker::Agent,
        v1::Speaker::Haftd => Speaker::Coordinator,
        v1::Speaker::Unspecified => return None,
    };
    Some(Witness {
        by,
        speaker,
        boot: BootId(form.boot_id.as_slice().try_into().ok()?),
    })
}
