//! Mints the cluster's authority, keys and certificates (X.509, ECDSA P-256).
//!
//! Every certificate carries its identity in the SAN URI (`haft_api::trust`); node certificates also carry
//! the DNS name that clients ask for, so that addresses may change. Coordinators sign joins themselves; here
//! only the first certificates are made, and requests.

use haft_api::client::TLS_NAME;
use haft_engine::ids::ClusterId;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use std::net::IpAddr;
use time::{Duration, OffsetDateTime};

/// Certificates are good from a day ago, so that a clock set back does not lock its node out.
const BACKDATED: Duration = Duration::days(1);
/// There is no renewal yet, and an expired certificate must not be what fails first: twenty years for the
/// authority, ten for what it signs.
const CA_LIFE: Duration = Duration::days(20 * 365);
const LEAF_LIFE: Duration = Duration::days(10 * 365);

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MintError {
    /// The library refused.
    #[error("a certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// The kernel gave no random bytes.
    #[error("the kernel gave no random bytes ({0})")]
    Random(getrandom::Error),
}

/// A key with its certificate, PEM. No `Debug`.
pub(crate) struct Minted {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// The cluster's authority. No `Debug`.
pub(crate) struct Authority {
    pub(crate) minted: Minted,
    issuer: Issuer<'static, KeyPair>,
    cluster: ClusterId,
}

/// `N` random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], MintError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(MintError::Random)?;
    Ok(bytes)
}

impl Authority {
    /// A new authority for a new cluster.
    pub(crate) fn mint(cluster: ClusterId, cluster_name: &str) -> Result<Authority, MintError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = blank(&format!("haft CA of {cluster_name}"), CA_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate_pem = params.self_signed(&key)?.pem();
        let minted = Minted {
            certificate_pem,
            key_pem: key.serialize_pem(),
        };
        Ok(Authority {
            minted,
            issuer: Issuer::new(params, key),
            cluster,
        })
    }

    /// A node's key and certificate.
    pub(crate) fn node(&self, name: &str, addresses: &[IpAddr]) -> Result<Minted, MintError> {
        let mut params = node_params(self.cluster, name, addresses)?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.sign(params)
    }

    /// A user's key and certificate.
    pub(crate) fn user(&self, name: &str) -> Result<Minted, MintError> {
        let mut params = blank(name, LEAF_LIFE)?;
        params.subject_alt_names = vec![uri(self.cluster, "user", name)?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Minted, MintError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Minted {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// A key and a request (PKCS#10, PEM) for a coordinator to sign.
pub(crate) fn request(
    cluster: ClusterId,
    name: &str,
    addresses: &[IpAddr],
) -> Result<(KeyPair, String), MintError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = node_params(cluster, name, addresses)?;
    // A request has no serial number: whoever signs gives one.
    params.serial_number = None;
    let pem = params.serialize_request(&key)?.pem()?;
    Ok((key, pem))
}

fn node_params(
    cluster: ClusterId,
    name: &str,
    addresses: &[IpAddr],
) -> Result<CertificateParams, MintError> {
    let mut params = blank(name, LEAF_LIFE)?;
    params.subject_alt_names = vec![
        uri(cluster, "node", name)?,
        SanType::DnsName(Ia5String::try_from(TLS_NAME)?),
    ];
    params
        .subject_alt_names
        .extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    Ok(params)
}

fn blank(common_name: &str, life: Duration) -> Result<CertificateParams, MintError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + life;
    // 127 random bits: positive and unique without a register (CA/Browser Forum asks for 64).
    let mut serial: [u8; 16] = random()?;
    serial[0] &= 0x7f;
    serial[0] |= 0x01;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn uri(cluster: ClusterId, kind: &str, name: &str) -> Result<SanType, MintError> {
    Ok(SanType::URI(Ia5String::try_from(format!(
        "haft://{cluster}/{kind}/{name}"
    ))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use haft_api::trust::{Principal, key_sha256, principal};
    use haft_engine::ids::NodeName;
    use rcgen::CertificateSigningRequestParams;

    const CLUSTER: ClusterId = ClusterId([5; 16]);

    fn der(pem: &str) -> Vec<u8> {
        pem::parse(pem).unwrap().into_contents()
    }

    #[test]
    fn certificates_say_who_they_are_for_in_their_cluster_alone() {
        let authority = Authority::mint(CLUSTER, "demo").unwrap();
        let node = authority
            .node("n1", &["10.0.0.1".parse().unwrap()])
            .unwrap();
        let user = authority.user("admin").unwrap();
        let hex = CLUSTER.to_string();
        assert_eq!(
            principal(&der(&node.certificate_pem), &hex),
            Ok(Principal::Node(NodeName::from("n1")))
        );
        assert_eq!(
            principal(&der(&user.certificate_pem), &hex),
            Ok(Principal::User("admin".to_owned()))
        );
        assert!(principal(&der(&node.certificate_pem), &"0".repeat(32)).is_err());
    }

    #[test]
    fn a_request_carries_its_own_key_and_can_be_signed() {
        let authority = Authority::mint(CLUSTER, "demo").unwrap();
        let (key, pem) = request(CLUSTER, "n2", &["fd00::2".parse().unwrap()]).unwrap();
        let parsed = CertificateSigningRequestParams::from_pem(&pem).unwrap();
        let signed = parsed.signed_by(&authority.issuer).unwrap().pem();
        let own: [u8; 32] = {
            use sha2::Digest;
            sha2::Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key)).into()
        };
        assert_eq!(key_sha256(&der(&signed)), Ok(own));
    }
}
