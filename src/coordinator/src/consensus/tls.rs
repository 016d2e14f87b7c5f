//! Mutual TLS on the peer port, and who a certificate names.
//!
//! The identity is the certificate's URI `haft://<cluster id>/node/<name>`, not its host name: nodes
//! have several addresses, and addresses change. The chain is checked against the cluster's own CA on
//! both sides. Keys stay in here; nothing prints them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use haft_store::ClusterId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM with a certificate.
    #[error("{} holds no certificate in PEM form", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
    },
    /// The certificate does not name a node of a cluster.
    #[error("the certificate {} has no URI of the form haft://<cluster id>/node/<name>", path.display())]
    NoIdentity {
        /// The file.
        path: PathBuf,
    },
}

/// Who a certificate names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CertifiedNode {
    pub(super) cluster: ClusterId,
    pub(super) name: String,
}

/// Certificates of this node and of its cluster's CA.
#[derive(Clone)]
pub struct PeerTls {
    ca_pem: Vec<u8>,
    certificate_pem: Vec<u8>,
    key_pem: zeroize::Zeroizing<Vec<u8>>,
    roots: Arc<RootCertStore>,
    pub(super) own: CertifiedNode,
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerTls")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl PeerTls {
    /// Reads the CA's certificate, this node's certificate and its key, each in PEM form.
    ///
    /// # Errors
    /// A file is missing or not what it should be.
    pub fn from_files(ca: &Path, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| TlsError::File {
                path: path.to_owned(),
                source,
            })
        };
        let (ca_pem, certificate_pem) = (read(ca)?, read(certificate)?);
        let key_pem = zeroize::Zeroizing::new(read(key)?);
        let not_pem = |path: &Path| TlsError::NotPem {
            path: path.to_owned(),
        };
        let mut roots = RootCertStore::empty();
        let authorities = pem::parse_many(&ca_pem).map_err(|_| not_pem(ca))?;
        for authority in authorities {
            roots
                .add(CertificateDer::from(authority.into_contents()))
                .map_err(|_| not_pem(ca))?;
        }
        let own = pem::parse_many(&certificate_pem)
            .ok()
            .and_then(|chain| chain.into_iter().next())
            .ok_or_else(|| not_pem(certificate))?;
        let own = certified_node(own.contents()).ok_or_else(|| TlsError::NoIdentity {
            path: certificate.to_owned(),
        })?;
        Ok(Self {
            ca_pem,
            certificate_pem,
            key_pem,
            roots: Arc::new(roots),
            own,
        })
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate_pem, self.key_pem.as_slice())
    }

    /// For the peer port: a caller without a certificate of this CA does not get in.
    pub(super) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity())
            .client_ca_root(Certificate::from_pem(&self.ca_pem))
    }

    /// For a call to the peer `name`: another node's certificate does not do.
    pub(super) fn client(&self, name: &str) -> (ClientTlsConfig, Arc<dyn ServerCertVerifier>) {
        let config = ClientTlsConfig::new().identity(self.identity());
        let verifier = PeerVerifier {
            roots: Arc::clone(&self.roots),
            expected: CertifiedNode {
                cluster: self.own.cluster,
                name: name.to_owned(),
            },
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        };
        (config, Arc::new(verifier))
    }
}

/// The node that a certificate (DER) names, if it names one.
pub(super) fn certified_node(der: &[u8]) -> Option<CertifiedNode> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => node_of_uri(uri),
            _ => None,
        })
}

fn node_of_uri(uri: &str) -> Option<CertifiedNode> {
    let (cluster, name) = uri.strip_prefix("haft://")?.split_once("/node/")?;
    let cluster = cluster.parse().ok()?;
    let one_label = !name.is_empty() && !name.contains('/');
    one_label.then(|| CertifiedNode {
        cluster,
        name: name.to_owned(),
    })
}

/// Accepts one node's certificate, signed by the cluster's CA.
#[derive(Debug)]
struct PeerVerifier {
    roots: Arc<RootCertStore>,
    expected: CertifiedNode,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        if certified_node(end_entity).as_ref() == Some(&self.expected) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_node_uri_of_a_cluster_names_a_node() {
        let id = "00112233445566778899aabbccddeeff";
        let node = node_of_uri(&format!("haft://{id}/node/alpha")).unwrap();
        assert_eq!(
            (node.cluster.to_string().as_str(), node.name.as_str()),
            (id, "alpha")
        );
        for foreign in [
            format!("haft://{id}/user/alpha"),
            format!("haft://{id}/node/"),
            format!("haft://{id}/node/a/b"),
            "haft://0011/node/alpha".to_owned(),
            format!("https://{id}/node/alpha"),
        ] {
            assert_eq!(node_of_uri(&foreign), None, "{foreign}");
        }
    }
}
