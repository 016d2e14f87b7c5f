//! Dials: not too often, and one connection for each purpose.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use haft_store::{ClusterId, Peer, PeerId, SyncMode};
use rcgen::{CertificateParams, KeyPair, SanType};
use tokio::time::Instant;

use super::super::config::Timings;
use super::super::gate::Gate;
use super::super::links::Purpose;
use super::super::log::tests::memory;
use super::super::tls::PeerTls;
use super::Pool;

fn tls() -> PeerTls {
    let dir = tempfile::TempDir::new().unwrap();
    let uri = format!("haft://{}/node/alpha", ClusterId([1; 16]));
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (crt, pem) = (dir.path().join("crt"), dir.path().join("key"));
    std::fs::write(&crt, certificate.pem()).unwrap();
    std::fs::write(&pem, key.serialize_pem()).unwrap();
    PeerTls::from_files(&crt, &crt, &pem).unwrap()
}

fn pool() -> Pool {
    let timings = Timings {
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(400),
        election_max: Duration::from_millis(800),
    };
    Pool::new(
        Arc::new(Gate::new(memory(SyncMode::Immediate))),
        tls(),
        timings,
    )
}

fn closed_port() -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    Peer {
        name: "beta".to_owned(),
        addresses: vec![address],
    }
}

#[tokio::test]
async fn a_stopped_peer_is_dialled_less_and_less_often() {
    let pool = pool();
    let slot = pool.slot(PeerId(2), Purpose::Log, closed_port());
    let began = Instant::now();
    for dials in 1..=5 {
        let deadline = began + Duration::from_secs(30);
        assert!(slot.client(deadline).await.is_err());
        assert_eq!(pool.dials(), dials);
    }
    // The pauses between five dials: 50, 100, 200 and 400 ms. A lower bound holds on any machine.
    assert!(
        began.elapsed() >= Duration::from_millis(750),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn each_purpose_has_its_own_connection() {
    let pool = pool();
    let peer = closed_port();
    let slot = |purpose| pool.slot(PeerId(2), purpose, peer.clone());
    let log = slot(Purpose::Log);
    assert!(Arc::ptr_eq(&log, &slot(Purpose::Log)));
    for other in [Purpose::Heartbeat, Purpose::Snapshot] {
        assert!(!Arc::ptr_eq(&log, &slot(other)));
    }
}
