//! The cluster's own certificate authority: signs a joining node's request, once the log has registered it.
//!
//! Any coordinator that holds the CA's key can sign; those that do not yet, ask the others for it. Mints no
//! authority: `haftctl cluster init` did.

use haft_engine::ids::{ClusterId, NodeName};
use rcgen::string::Ia5String;
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use time::{Duration, OffsetDateTime};

/// Ten years, as long as the CA itself: rotation is a later capability, and an expired certificate must not
/// be what takes a cluster down (hazards, incident 8).
const LIFETIME: Duration = Duration::days(3_650);
/// Clocks may disagree at boot.
const BACKDATE: Duration = Duration::days(1);

/// Why a certificate was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// This coordinator does not hold the CA's key yet.
    #[error("this coordinator does not hold the authority's key")]
    NoKey,
    /// Not a PKCS#10 request in PEM, or its signature is wrong.
    #[error("the certificate request is not acceptable")]
    Request(#[source] rcgen::Error),
    /// The CA's own material is unreadable.
    #[error("the authority's certificate or key is unreadable")]
    Authority(#[source] rcgen::Error),
    /// The name or address cannot stand in a certificate.
    #[error("the name or address cannot stand in a certificate")]
    Name,
}

/// The CA's certificate and key; PEM. Shows no bytes.
pub struct Authority {
    /// The certificate.
    pub ca_pem: String,
    /// The key; secret.
    pub key_pem: String,
}

/// The authority, once this coordinator has it.
#[derive(Clone, Default)]
pub struct SharedAuthority(Arc<Mutex<Option<Arc<Authority>>>>);

impl SharedAuthority {
    /// The authority, if it is here.
    pub fn get(&self) -> Option<Arc<Authority>> {
        self.0.lock().expect(crate::POISON).clone()
    }

    /// Keeps the authority.
    pub fn set(&self, authority: Authority) {
        *self.0.lock().expect(crate::POISON) = Some(Arc::new(authority));
    }
}

/// SHA-256 of the public key in a request, as the log registers it.
pub fn requested_key_sha256(request_pem: &str) -> Result<[u8; 32], SignError> {
    let request =
        CertificateSigningRequestParams::from_pem(request_pem).map_err(SignError::Request)?;
    Ok(
        Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(
            &request.public_key,
        ))
        .into(),
    )
}

impl Authority {
    /// Whether the key belongs to the certificate.
    pub fn check(&self) -> Result<(), SignError> {
        let key = KeyPair::from_pem(&self.key_pem).map_err(SignError::Authority)?;
        let der = pem::parse(&self.ca_pem).map_err(|_| SignError::Name)?;
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        let registered =
            haft_api::trust::key_sha256(der.contents()).map_err(|_| SignError::Name)?;
        let own: [u8; 32] = Sha256::digest(spki).into();
        if own == registered {
            Ok(())
        } else {
            Err(SignError::NoKey)
        }
    }

    /// A certificate (PEM) for this node with the request's key. Everything else in the request is ignored.
    pub fn sign(
        &self,
        cluster: ClusterId,
        node: &NodeName,
        host: IpAddr,
        request_pem: &str,
    ) -> Result<String, SignError> {
        let mut request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(SignError::Request)?;
        let ia5 = |text: String| Ia5String::try_from(text).map_err(|_| SignError::Name);
        let uri = format!("haft://{cluster}/node/{node}");
        request.params.subject_alt_names = vec![
            SanType::URI(ia5(uri)?),
            SanType::DnsName(ia5(haft_api::client::TLS_NAME.to_owned())?),
            SanType::IpAddress(host),
        ];
        request.params.is_ca = rcgen::IsCa::ExplicitNoCa;
        request.params.distinguished_name = rcgen::DistinguishedName::new();
        request
            .params
            .distinguished_name
            .push(rcgen::DnType::CommonName, node.as_str());
        request.params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        request.params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let now = OffsetDateTime::now_utc();
        request.params.not_before = now - BACKDATE;
        request.params.not_after = now + LIFETIME;
        let key = KeyPair::from_pem(&self.key_pem).map_err(SignError::Authority)?;
        let issuer = Issuer::from_ca_cert_pem(&self.ca_pem, key).map_err(SignError::Authority)?;
        let certificate = request.signed_by(&issuer).map_err(SignError::Request)?;
        Ok(certificate.pem())
    }
}

/// Keeps the CA's key on disk, readable by its owner alone, whole or not at all.
pub fn keep_key(path: &std::path::Path, key_pem: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("key.new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(key_pem.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}
