//! Answers to challenges, as the log keeps them.

use super::field::{Decoded, array, missing, required};
use crate::pb::log as pb;
use haft_engine::ids::{BootId, DeviceName, NodeId};
use haft_engine::witness::{Lie, Speaker, Witness};

pub(super) fn witness_into(witness: &Witness) -> pb::Witness {
    pb::Witness {
        by: witness.by.0,
        speaker: match witness.speaker {
            Speaker::Agent => 1,
            Speaker::Coordinator => 2,
        },
        boot: witness.boot.0.to_vec(),
    }
}

pub(super) fn witness_from(form: pb::Witness) -> Decoded<Witness> {
    Ok(Witness {
        by: NodeId(form.by),
        speaker: match form.speaker {
            1 => Speaker::Agent,
            2 => Speaker::Coordinator,
            _ => return Err(missing("speaker")),
        },
        boot: BootId(array(&form.boot, "boot")?),
    })
}

pub(super) fn lie_into(lie: &Lie) -> pb::Lie {
    pb::Lie {
        witness: Some(witness_into(&lie.witness)),
        devices: lie.devices.iter().map(|name| name.0.clone()).collect(),
    }
}

pub(super) fn lie_from(form: pb::Lie) -> Decoded<Lie> {
    Ok(Lie {
        witness: witness_from(required(form.witness, "witness")?)?,
        devices: form.devices.into_iter().map(DeviceName).collect(),
    })
}
