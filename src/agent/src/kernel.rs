//! The kernel's side of a lease: addresses, announcements and the dead-man switch.
//!
//! - [`capability`]: what this process may do to the network.
//! - [`clock`]: the suspend-counting clock and the boot id.
//! - [`interface`]: what decides whether an interface can carry an address.
//! - [`link`]: network interfaces and their carrier.
//! - [`address`]: addresses through rtnetlink, and their restoration when something else removes them.
//! - [`announce`]: gratuitous ARP, unsolicited neighbour advertisements, rivals heard on the wire.
//! - [`gate`]: a program on every link that compares each packet with its address's lease end.
//! - [`sockets`]: what would speak from an IPv6 address that has gone.
//! - [`guard`]: nftables set elements with a lifetime; when renewals stop, the kernel goes silent.
//!
//! Every call acts on the network namespace of the thread that opened the socket. Requests are
//! answered by the kernel inside the system call that carries them, so nothing here is async.
//! Deliberately absent: any judgement whether a lease allows an operation. The caller asks
//! haft-engine (`now + 2W <= E`) and hands over operations that are already decided.

pub mod address;
pub mod announce;
pub mod capability;
pub mod clock;
pub mod gate;
pub mod guard;
pub mod interface;
pub mod link;
mod netlink;
pub mod place;
pub mod sockets;
