//! Conversions between the values of this crate and their protobuf forms.
//!
//! Decoding refuses what it does not know: a version above [`RECORD_VERSION`], a missing field, an
//! unknown kind. Encoding cannot fail.

use std::collections::BTreeSet;

use prost::Message;

use crate::chain::Chain;
use crate::model::{
    LogPosition, Membership, MembershipAt, Payload, Peer, PeerId, Record, StoreIdentity, Vote,
};
use crate::record as pb;
use crate::{Boot, ClusterId, PeerMemory};

/// Version of every form on disk. A reader refuses a higher one.
pub const RECORD_VERSION: u32 = 1;

/// Bytes that are not one of our records, or one of a later haft.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormError {
    /// Not protobuf, or not this message.
    #[error("the bytes are not a record")]
    Malformed,
    /// Written by a later version of haft.
    #[error("form version {found} is newer than {RECORD_VERSION}, which this haftd knows")]
    Newer {
        /// The version found.
        found: u32,
    },
    /// A field without which the record has no meaning.
    #[error("field {field} is missing or out of range")]
    Field {
        /// Its name.
        field: &'static str,
    },
}

pub(crate) fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, FormError> {
    M::decode(bytes).map_err(|_| FormError::Malformed)
}

pub(crate) fn check_version(found: u32) -> Result<(), FormError> {
    match found {
        0 => Err(FormError::Field { field: "version" }),
        RECORD_VERSION => Ok(()),
        found => Err(FormError::Newer { found }),
    }
}

impl From<LogPosition> for pb::Position {
    fn from(at: LogPosition) -> Self {
        Self {
            term: at.term,
            index: at.index,
        }
    }
}

impl From<pb::Position> for LogPosition {
    fn from(at: pb::Position) -> Self {
        Self {
            term: at.term,
            index: at.index,
        }
    }
}

impl From<Vote> for pb::VoteRecord {
    fn from(vote: Vote) -> Self {
        Self {
            version: RECORD_VERSION,
            term: vote.term,
            node: vote.node.0,
            committed: vote.committed,
        }
    }
}

/// Reads a vote from its form.
pub trait VoteForm {
    /// The vote.
    ///
    /// # Errors
    /// The form is of a later version.
    fn vote(&self) -> Result<Vote, FormError>;
}

impl VoteForm for pb::VoteRecord {
    fn vote(&self) -> Result<Vote, FormError> {
        check_version(self.version)?;
        Ok(Vote {
            term: self.term,
            node: PeerId(self.node),
            committed: self.committed,
        })
    }
}

impl From<&Membership> for pb::MembershipRecord {
    fn from(membership: &Membership) -> Self {
        Self {
            configs: membership
                .configs
                .iter()
                .map(|set| pb::VoterSet {
                    ids: set.iter().map(|id| id.0).collect(),
                })
                .collect(),
            peers: membership
                .peers
                .iter()
                .map(|(id, peer)| pb::PeerRecord {
                    id: id.0,
                    name: peer.name.clone(),
                    addresses: peer.addresses.clone(),
                })
                .collect(),
        }
    }
}

impl From<pb::MembershipRecord> for Membership {
    fn from(form: pb::MembershipRecord) -> Self {
        Self {
            configs: form
                .configs
                .into_iter()
                .map(|set| set.ids.into_iter().map(PeerId).collect::<BTreeSet<_>>())
                .collect(),
            peers: form
                .peers
                .into_iter()
                .map(|peer| {
                    (
                        PeerId(peer.id),
                        Peer {
                            name: peer.name,
                            addresses: peer.addresses,
                        },
                    )
                })
                .collect(),
        }
    }
}

impl From<&MembershipAt> for pb::StoredMembership {
    fn from(stored: &MembershipAt) -> Self {
        Self {
            at: stored.at.map(Into::into),
            membership: Some((&stored.membership).into()),
        }
    }
}

impl From<pb::StoredMembership> for MembershipAt {
    fn from(form: pb::StoredMembership) -> Self {
        Self {
            at: form.at.map(Into::into),
            membership: form.membership.map(Into::into).unwrap_or_default(),
        }
    }
}

impl Payload {
    /// Kind and bytes, as they stand in a record and on the wire.
    #[must_use]
    pub fn to_form(&self) -> (pb::RecordKind, Vec<u8>) {
        match self {
            Self::Blank => (pb::RecordKind::Blank, Vec::new()),
            Self::Normal(bytes) => (pb::RecordKind::Normal, bytes.clone()),
            Self::Membership(membership) => (
                pb::RecordKind::Membership,
                pb::MembershipRecord::from(membership).encode_to_vec(),
            ),
        }
    }

    /// Reads what [`Payload::to_form`] wrote; `kind` is the number of a `RecordKind`.
    ///
    /// # Errors
    /// The kind is unknown, or a membership is malformed.
    pub fn from_form(kind: i32, bytes: Vec<u8>) -> Result<Self, FormError> {
        match pb::RecordKind::try_from(kind) {
            Ok(pb::RecordKind::Blank) => Ok(Self::Blank),
            Ok(pb::RecordKind::Normal) => Ok(Self::Normal(bytes)),
            Ok(pb::RecordKind::Membership) => {
                decode::<pb::MembershipRecord>(&bytes).map(|form| Self::Membership(form.into()))
            }
            Ok(pb::RecordKind::Unspecified) | Err(_) => Err(FormError::Field { field: "kind" }),
        }
    }
}

/// Encodes an entry, and says what the chain is after it.
pub(crate) fn encode_record(before: Chain, record: &Record) -> (Vec<u8>, Chain) {
    let (kind, payload) = record.payload.to_form();
    let chain = before.after(RECORD_VERSION, record.at, kind.into(), &payload);
    let form = pb::LogRecord {
        version: RECORD_VERSION,
        at: Some(record.at.into()),
        kind: kind.into(),
        payload,
        chain: chain.0.to_vec(),
    };
    (form.encode_to_vec(), chain)
}

/// A record read back: the entry, the chain value stored with it, and the one that its content and
/// `before` give. They differ when something before it is missing or changed.
pub(crate) struct Decoded {
    pub(crate) record: Record,
    pub(crate) stored: Chain,
    computed_form: pb::LogRecord,
}

impl Decoded {
    pub(crate) fn computed(&self, before: Chain) -> Chain {
        before.after(
            self.computed_form.version,
            self.record.at,
            self.computed_form.kind,
            &self.computed_form.payload,
        )
    }
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<Decoded, FormError> {
    let form: pb::LogRecord = decode(bytes)?;
    check_version(form.version)?;
    let at = form.at.ok_or(FormError::Field { field: "at" })?.into();
    let stored = chain_of(&form.chain)?;
    let payload = Payload::from_form(form.kind, form.payload.clone())?;
    Ok(Decoded {
        record: Record { at, payload },
        stored,
        computed_form: form,
    })
}

pub(crate) fn chain_of(bytes: &[u8]) -> Result<Chain, FormError> {
    bytes
        .try_into()
        .map(Chain)
        .map_err(|_| FormError::Field { field: "chain" })
}

impl From<&StoreIdentity> for pb::StoreMark {
    fn from(identity: &StoreIdentity) -> Self {
        Self {
            version: RECORD_VERSION,
            cluster: identity.cluster.0.to_vec(),
            node: identity.node.0,
            name: identity.name.clone(),
        }
    }
}

pub(crate) fn identity_of(form: pb::StoreMark) -> Result<StoreIdentity, FormError> {
    check_version(form.version)?;
    let cluster = <[u8; 16]>::try_from(form.cluster.as_slice())
        .map_err(|_| FormError::Field { field: "cluster" })?;
    Ok(StoreIdentity {
        cluster: ClusterId(cluster),
        node: PeerId(form.node),
        name: form.name,
    })
}

impl From<Boot> for pb::Boot {
    fn from(boot: Boot) -> Self {
        Self {
            counter: boot.counter,
            nonce: boot.nonce,
        }
    }
}

impl From<pb::Boot> for Boot {
    fn from(form: pb::Boot) -> Self {
        Self {
            counter: form.counter,
            nonce: form.nonce,
        }
    }
}

impl From<&PeerMemory> for pb::PeerMemory {
    fn from(memory: &PeerMemory) -> Self {
        Self {
            version: RECORD_VERSION,
            boot: Some(memory.boot.into()),
            vote_term: memory.vote_term,
            acked: memory.acked.map(Into::into),
        }
    }
}

pub(crate) fn memory_of(form: pb::PeerMemory) -> Result<PeerMemory, FormError> {
    check_version(form.version)?;
    Ok(PeerMemory {
        boot: form.boot.ok_or(FormError::Field { field: "boot" })?.into(),
        vote_term: form.vote_term,
        acked: form.acked.map(Into::into),
    })
}
