//! Names and numbers that identify things, each its own type.
//!
//! Does not mint any: ids come from the log (an entry's index) or from outside (names, boot ids).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

macro_rules! number_id {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

macro_rules! name_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub String);
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

number_id! {
    /// Index of an entry in the Raft log.
    LogIndex(u64)
}
number_id! {
    /// A term of Raft.
    Term(u64)
}
number_id! {
    /// A node, numbered by the index of the entry that registered it; never reused. Also its Raft id.
    NodeId(u64)
}
number_id! {
    /// One life of a node's agent: the index of the entry that admitted it. 0 is "none yet".
    Incarnation(u64)
}
number_id! {
    /// The cluster's epoch: rises when the cluster is restored or recovered, so that tokens rise too.
    Epoch(u32)
}
number_id! {
    /// A fence order: the index of its intent.
    OrderId(u64)
}
number_id! {
    /// Version of a spec: the index of the entry that wrote it.
    Generation(u64)
}
name_id! {
    /// What an administrator calls a node; a label, not an identity.
    NodeName
}
name_id! {
    /// What an administrator calls a fence device.
    DeviceName
}
name_id! {
    /// What an administrator calls a fence topology.
    TopologyName
}

/// The fencing token: the grant's log index under the cluster epoch. Only rises per resource.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Token {
    /// Compared first, so a restore outranks everything before it.
    pub epoch: Epoch,
    /// Index of the entry that granted.
    pub index: LogIndex,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}

/// One entry of the log. An index alone names none: two leaders may each have written an entry there, of which
/// at most one is ever committed. One leader at most writes in a term, so term and index name one entry.
/// Ordered as Raft orders logs: the later term is the newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EntryId {
    /// Term of the leader that wrote it.
    pub term: Term,
    /// Where it stands.
    pub index: LogIndex,
}

impl EntryId {
    /// The entry that the leader of `term` wrote at `index`.
    pub const fn new(term: u64, index: u64) -> Self {
        Self {
            term: Term(term),
            index: LogIndex(index),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of term {}", self.index, self.term)
    }
}

/// Kinds of things that can be owned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ResourceKind {
    /// An IPv4 or IPv6 address; `vip` on the command line.
    VirtualIp,
}

/// A resource: its kind and the administrator's name for it. `vip/web` in text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResourceId {
    /// What sort of thing it is.
    pub kind: ResourceKind,
    /// Name within the kind.
    pub name: String,
}

impl ResourceId {
    /// The virtual address of this name.
    pub fn vip(name: &str) -> Self {
        Self {
            kind: ResourceKind::VirtualIp,
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ResourceKind::VirtualIp => write!(f, "vip/{}", self.name),
        }
    }
}

/// The cluster, minted once by `haftctl cluster init`; 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One boot of a machine: `/proc/sys/kernel/random/boot_id`, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BootId(pub [u8; 16]);

impl fmt::Display for BootId {
    /// As the kernel writes it: a UUID in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What was to be a boot id is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotABootId;

impl FromStr for BootId {
    type Err = NotABootId;

    /// Reads what [`fmt::Display`] wrote; the hyphens may be left out, and capitals are taken, too.
    fn from_str(text: &str) -> Result<BootId, NotABootId> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| *byte != b'-')
            .map(|byte| char::from(byte).to_digit(16))
            .map(|digit| digit.and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or(NotABootId)?;
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |high, low| high << 4 | low))
            .collect();
        match digits.len() {
            32 => bytes.try_into().map(BootId).map_err(|_| NotABootId),
            _ => Err(NotABootId),
        }
    }
}

/// A client's name for one mutation, so that a retry has one effect; 16 random bytes, all zero is "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RequestId(pub [u8; 16]);

/// What must not exist twice: the identity that a resource occupies in the world.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reserved {
    /// An address.
    Address(IpAddr),
}
