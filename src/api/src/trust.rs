//! Who is at the other end: the identity in a certificate's SAN URI.
//!
//! `haft://<cluster, 32 hex>/node/<name>` for nodes, `haft://<cluster>/user/<name>` for people and tools.
//! Reads certificates that TLS has already verified against the CA; verifies no chain itself.

use haft_engine::ids::NodeName;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// An identity under the cluster's CA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Principal {
    /// A node of the cluster.
    Node(NodeName),
    /// A person or a tool.
    User(String),
}

impl Principal {
    /// The name alone.
    pub fn name(&self) -> &str {
        match self {
            Principal::Node(name) => name.as_str(),
            Principal::User(name) => name,
        }
    }
}

/// A verified certificate does not say who it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WhoError {
    /// Not X.509.
    #[error("the certificate is not readable")]
    Unreadable,
    /// No SAN URI of ours.
    #[error("the certificate names no haft identity")]
    NoIdentity,
    /// Another cluster's.
    #[error("the certificate belongs to another cluster")]
    ForeignCluster,
}

/// Who this certificate (DER) is for, in the cluster of this id (32 hex digits).
pub fn principal(certificate_der: &[u8], cluster_hex: &str) -> Result<Principal, WhoError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate_der).map_err(|_| WhoError::Unreadable)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| WhoError::Unreadable)?
        .ok_or(WhoError::NoIdentity)?;
    let uri = names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix("haft://"),
            _ => None,
        });
    let (cluster, path) = uri
        .and_then(|uri| uri.split_once('/'))
        .ok_or(WhoError::NoIdentity)?;
    if cluster != cluster_hex {
        return Err(WhoError::ForeignCluster);
    }
    match path.split_once('/') {
        Some(("node", name)) if !name.is_empty() => Ok(Principal::Node(NodeName::from(name))),
        Some(("user", name)) if !name.is_empty() => Ok(Principal::User(name.to_owned())),
        _ => Err(WhoError::NoIdentity),
    }
}

/// SHA-256 of the certificate's public key (SubjectPublicKeyInfo, DER): what the log registers.
pub fn key_sha256(certificate_der: &[u8]) -> Result<[u8; 32], WhoError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate_der).map_err(|_| WhoError::Unreadable)?;
    Ok(Sha256::digest(certificate.public_key().raw).into())
}
