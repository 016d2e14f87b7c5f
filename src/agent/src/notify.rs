//! Tells systemd how the service stands (sd_notify(3)): one datagram to `$NOTIFY_SOCKET`.
//!
//! Does nothing when not started by systemd. A failure is nobody's problem but systemd's.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `state`, for instance `READY=1`.
pub fn notify(state: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else {
        return;
    };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        // systemd counts a missing notification as a failed start and says so.
        let _ = socket.send_to_addr(state.as_bytes(), &address);
    }
}
