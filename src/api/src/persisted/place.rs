//! Where an agent runs, as the log keeps it.

use super::field::{Decoded, array, gate_from, gate_into};
use crate::pb::log as pb;
use haft_engine::place::{Namespace, Place};

pub(super) fn place_into(place: &Place) -> pb::Place {
    let namespace = |namespace: Namespace| pb::Namespace {
        device: namespace.device,
        inode: namespace.inode,
    };
    pb::Place {
        machine: place.machine.map_or_else(Vec::new, |uuid| uuid.to_vec()),
        network: place.network.map(namespace),
        mounts: place.mounts.map(namespace),
        gate: gate_into(place.gate),
    }
}

pub(super) fn place_from(form: Option<pb::Place>) -> Decoded<Place> {
    let form = form.unwrap_or_default();
    let namespace = |form: pb::Namespace| Namespace {
        device: form.device,
        inode: form.inode,
    };
    Ok(Place {
        machine: match form.machine.as_slice() {
            [] => None,
            uuid => Some(array(uuid, "machine")?),
        },
        network: form.network.map(namespace),
        mounts: form.mounts.map(namespace),
        gate: gate_from(form.gate)?,
    })
}
