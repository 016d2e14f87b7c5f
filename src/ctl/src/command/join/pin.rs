//! A connection to a cluster that is known by the hash of its authority alone.
//!
//! The server must present, in its chain, a certificate whose SHA-256 is the pinned one, and its own must be
//! valid under it for the cluster's DNS name. Presents no client certificate: there is none yet.

use crate::failure::chain;
use haft_api::client::TLS_NAME;
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

const DIAL_LIMIT: Duration = Duration::from_secs(2);

/// Whether this certificate is the pinned one.
pub(super) fn fits(der: &[u8], pin: &[u8; 32]) -> bool {
    Sha256::digest(der).as_slice() == pin
}

/// Dials `host:port`; the reason in words when it cannot.
pub(super) async fn dial(
    host_port: &str,
    pin: [u8; 32],
    deadline: Instant,
) -> Result<Channel, String> {
    let connector = TlsConnector::from(Arc::new(tls(pin).map_err(|error| error.to_string())?));
    let target = host_port.to_owned();
    let service = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        let target = target.clone();
        async move {
            let stream = TcpStream::connect(&target).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(TLS_NAME).map_err(io::Error::other)?;
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    // The scheme keeps tonic from adding a second TLS; ours is in the connector.
    let endpoint =
        Endpoint::from_shared(format!("http://{host_port}")).map_err(|error| chain(&error))?;
    let until = deadline.min(Instant::now() + DIAL_LIMIT);
    match tokio::time::timeout_at(until, endpoint.connect_with_connector(service)).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err("no connection in time".to_owned()),
    }
}

fn tls(pin: [u8; 32]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pinned {
        pin,
        provider: provider.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|der| fits(der, &self.pin))
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
