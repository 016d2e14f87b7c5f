//! Where this process runs: the machine's firmware UUID, and the namespaces that its probes look into.
//!
//! What cannot be read is not stated. Judges nothing: the log compares (R3b).

use haft_engine::gate::GateKind;
use haft_engine::place::{Namespace, Place};
use std::os::unix::fs::MetadataExt as _;

/// The firmware's UUID of the machine (kernel: Documentation/ABI/testing/sysfs-firmware-dmi); readable by root alone.
const PRODUCT_UUID: &str = "/sys/class/dmi/id/product_uuid";

/// As it is now, behind the gate that this process has found.
pub fn place(gate: GateKind) -> Place {
    let uuid = std::fs::read_to_string(PRODUCT_UUID).ok();
    Place {
        machine: uuid.and_then(|text| uuid_of(&text)),
        network: namespace("/proc/self/ns/net"),
        mounts: namespace("/proc/self/ns/mnt"),
        gate,
    }
}

fn namespace(path: &str) -> Option<Namespace> {
    let found = std::fs::metadata(path).ok()?;
    Some(Namespace {
        device: found.dev(),
        inode: found.ino(),
    })
}

/// The UUID, if it is one: vendors leave it all zero or all ones, and those are nobody's.
fn uuid_of(text: &str) -> Option<[u8; 16]> {
    let uuid: haft_engine::ids::BootId = text.trim().parse().ok()?;
    let nobody = uuid.0.iter().all(|byte| *byte == 0) || uuid.0.iter().all(|byte| *byte == 0xff);
    (!nobody).then_some(uuid.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_namespaces_and_tells_two_apart() {
        let here = place(GateKind::Timed);
        assert!(here.network.is_some() && here.mounts.is_some(), "{here:?}");
        assert_ne!(here.network, here.mounts);
        assert_eq!(here.network, place(GateKind::Kernel).network);
    }

    #[test]
    fn a_uuid_that_every_board_of_a_vendor_has_is_none() {
        assert_eq!(uuid_of("00000000-0000-0000-0000-000000000000\n"), None);
        assert_eq!(uuid_of("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n"), None);
        assert_eq!(uuid_of("Not Settable"), None);
        assert_eq!(
            uuid_of("03000200-0400-0500-0006-000700080009\n").map(|uuid| uuid[0]),
            Some(3)
        );
    }
}
