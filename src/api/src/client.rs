//! Connections to coordinators: mutual TLS pinned to the cluster's CA, several endpoints.
//!
//! Knows how to dial and which endpoint to try next; knows no verbs. Server identity: the certificate must
//! chain to the cluster's CA and carry the DNS name `haft.node`, which every node certificate has; which node
//! it is stands in the SAN URI and is checked by [`crate::trust`].

use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// DNS name in every node certificate, so that addresses may change.
pub const TLS_NAME: &str = "haft.node";

/// What a client presents and trusts; PEM. Shows no bytes.
#[derive(Clone)]
pub struct Credentials {
    /// The cluster's CA certificate.
    pub ca_pem: String,
    /// Own certificate.
    pub certificate_pem: String,
    /// Its key; secret.
    pub key_pem: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials { .. }")
    }
}

/// An endpoint could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Not an address.
    #[error("{endpoint} is not an address of the form HOST:PORT")]
    Address {
        /// As given.
        endpoint: String,
    },
    /// TLS material was refused, or the connection failed.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// As given.
        endpoint: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// An endpoint for `host:port` with mutual TLS, keepalive and a connect deadline; not yet dialled.
pub fn endpoint(host_port: &str, credentials: &Credentials) -> Result<Endpoint, DialError> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&credentials.ca_pem))
        .identity(Identity::from_pem(
            &credentials.certificate_pem,
            &credentials.key_pem,
        ))
        .domain_name(TLS_NAME);
    Endpoint::from_shared(format!("https://{host_port}"))
        .map_err(|_| DialError::Address {
            endpoint: host_port.to_owned(),
        })?
        .tls_config(tls)
        .map_err(|source| DialError::Connect {
            endpoint: host_port.to_owned(),
            source,
        })
        .map(|endpoint| {
            endpoint
                .connect_timeout(Duration::from_millis(500))
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(1))
                .keep_alive_timeout(Duration::from_secs(1))
                .keep_alive_while_idle(true)
        })
}

/// Dials `host:port`.
pub async fn dial(host_port: &str, credentials: &Credentials) -> Result<Channel, DialError> {
    endpoint(host_port, credentials)?
        .connect()
        .await
        .map_err(|source| DialError::Connect {
            endpoint: host_port.to_owned(),
            source,
        })
}

/// `host:port` with brackets around an IPv6 host.
pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
