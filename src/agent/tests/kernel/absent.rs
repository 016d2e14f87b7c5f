//! What is not there is stopped: no refusal of the kernel turns its absence into a failed stop.

use crate::fixture::{VIP6, own_link};
use crate::netns::Wire;
use haft_agent::kernel::address::{Addresses, Removal};

#[test]
fn an_interface_without_ipv6_has_no_address_to_be_removed() {
    let wire = Wire::new();
    // Below 1280 bytes the kernel takes IPv6 off the interface as a whole.
    wire.owner.ip("link set own0 mtu 1200");
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let link = own_link(&mut addresses).index;
        let removed = addresses.remove(VIP6, link).unwrap();
        assert_eq!(removed, Removal::WasAbsent);
    });
}
