//! The gRPC services: each checks who asks, turns messages into commands or reads, and errors into statuses.
//!
//! Mutations are proposed and answered when applied; reads are linearizable unless asked otherwise. Decides
//! nothing about ownership.

mod access;
mod cluster;
mod event;
mod fence_device;
mod fence_topology;
mod node;
mod read;
mod session;
mod timing;
mod virtual_ip;
mod write;

pub use cluster::fetch_authority;

use crate::context::Context;
use haft_api::pb::v1;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// Largest request: a manifest is kilobytes.
const MESSAGE_MAX: usize = 1 << 20;
/// Of a greeting: what it says beside the report of its machine.
const GREETING_MAX: usize = 16 << 10;
// Else an agent on a machine with many addresses would be turned away for ever.
const _: () = assert!(haft_engine::machine::REPORT_MAX + GREETING_MAX <= MESSAGE_MAX);
/// Streams and calls in flight per connection.
const CALLS_PER_CONNECTION: usize = 64;

/// PEM of what the server presents and trusts.
pub struct ServerTls {
    /// The cluster's CA.
    pub ca_pem: String,
    /// Own certificate.
    pub certificate_pem: String,
    /// Its key; secret.
    pub key_pem: String,
}

/// Serves the API on `listener` until the process ends. A client certificate is optional at the TLS layer,
/// because a joining node has none; every method but `Join` refuses callers without one.
pub async fn serve(
    context: Arc<Context>,
    listener: TcpListener,
    tls: ServerTls,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&tls.certificate_pem, &tls.key_pem))
        .client_ca_root(Certificate::from_pem(&tls.ca_pem))
        .client_auth_optional(true);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    macro_rules! bounded {
        ($module:ident :: $server:ident, $service:expr) => {
            v1::$module::$server::new($service)
                .max_decoding_message_size(MESSAGE_MAX)
                .max_encoding_message_size(MESSAGE_MAX * 8)
        };
    }
    let router = Server::builder()
        .tls_config(tls)?
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .http2_keepalive_interval(Some(Duration::from_secs(1)))
        .http2_keepalive_timeout(Some(Duration::from_secs(2)))
        .add_service(health_service)
        .add_service(bounded!(
            cluster_service_server::ClusterServiceServer,
            cluster::Clusters(Arc::clone(&context))
        ))
        .add_service(bounded!(
            node_service_server::NodeServiceServer,
            node::Nodes(Arc::clone(&context))
        ))
        .add_service(bounded!(
            virtual_ip_service_server::VirtualIpServiceServer,
            virtual_ip::VirtualIps(Arc::clone(&context))
        ))
        .add_service(bounded!(
            fence_device_service_server::FenceDeviceServiceServer,
            fence_device::FenceDevices(Arc::clone(&context))
        ))
        .add_service(bounded!(
            fence_topology_service_server::FenceTopologyServiceServer,
            fence_topology::FenceTopologies(Arc::clone(&context))
        ))
        .add_service(bounded!(
            event_service_server::EventServiceServer,
            event::Events(Arc::clone(&context))
        ))
        .add_service(bounded!(
            timing_service_server::TimingServiceServer,
            timing::Timings(Arc::clone(&context))
        ))
        .add_service(bounded!(
            session_service_server::SessionServiceServer,
            session::Sessions(context)
        ));
    router
        .serve_with_incoming(incoming)
        .await
        .map_err(|error| Box::new(error) as _)
}

/// Binds a TCP port for a listener that is handed on.
pub fn bind(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(256)?;
    Ok(socket.into())
}
