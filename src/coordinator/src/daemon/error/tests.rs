//! Every reason for which haftd ends has a fix.
//!
//! Each `number` is a closed match: a variant that is new does not compile here, and one without an example fails.

use super::*;
use crate::consensus::{BadTimings, PeerId, StoreIdentity, Timings, TlsError};
use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::time::Duration;

fn io() -> io::Error {
    io::Error::other("no")
}

fn path() -> PathBuf {
    PathBuf::from("/var/lib/haft")
}

fn why() -> String {
    "no".to_owned()
}

fn check<E: Error>(
    examples: &[E],
    count: usize,
    number: impl Fn(&E) -> usize,
    fix: impl Fn(&E) -> String,
) {
    let seen: BTreeSet<usize> = examples.iter().map(number).collect();
    assert_eq!(seen, (0..count).collect(), "an example of each variant");
    for error in examples {
        let fix = fix(error);
        assert!(
            !fix.trim().is_empty() && !fix.ends_with('.'),
            "{error}: {fix}"
        );
    }
}

#[test]
fn every_reason_of_haftd_to_end_has_a_fix() {
    let examples = vec![
        DaemonError::Node {
            file: path(),
            source: NodeLookupError::Unknown {
                name: why(),
                known: vec![],
            },
        },
        DaemonError::Runtime(io()),
        DaemonError::Identity(ReadIdentityError::Absent { dir: path() }),
        DaemonError::OtherNode {
            data_dir: path(),
            identity: NodeName(why()),
            config: NodeName(why()),
        },
        DaemonError::Bind {
            address: "127.0.0.1:1".parse().unwrap(),
            source: io(),
        },
        DaemonError::Store(OpenError::Unmarked),
        DaemonError::Consensus(StartError::Port(io())),
        DaemonError::Authority {
            data_dir: path(),
            why: why(),
        },
        DaemonError::Random(why()),
        DaemonError::Stopped(StopReason::Mute),
        DaemonError::Task {
            name: "api",
            why: why(),
        },
    ];
    let number = |error: &DaemonError| match error {
        DaemonError::Node { .. } => 0,
        DaemonError::Runtime(_) => 1,
        DaemonError::Identity(_) => 2,
        DaemonError::OtherNode { .. } => 3,
        DaemonError::Bind { .. } => 4,
        DaemonError::Store(_) => 5,
        DaemonError::Consensus(_) => 6,
        DaemonError::Authority { .. } => 7,
        DaemonError::Random(_) => 8,
        DaemonError::Stopped(_) => 9,
        DaemonError::Task { .. } => 10,
    };
    check(&examples, 11, number, DaemonError::fix);
}

#[test]
fn every_reason_not_to_take_part_has_a_fix() {
    let examples = vec![
        StartError::Timings(BadTimings {
            timings: Timings {
                heartbeat: Duration::ZERO,
                election_min: Duration::ZERO,
                election_max: Duration::ZERO,
            },
            reason: why(),
        }),
        StartError::Tls(TlsError::NotPem { path: path() }),
        StartError::ForeignCertificate {
            certified: why(),
            cluster: why(),
            own: StoreIdentity {
                cluster: haft_store::ClusterId([7; 16]),
                node: PeerId(1),
                name: why(),
            },
        },
        StartError::Port(io()),
        StartError::Serve(tonic::transport::Endpoint::from_shared("\n").unwrap_err()),
        StartError::Store(haft_store::ReadError::Database { detail: why() }),
        StartError::Refused {
            by: PeerId(1),
            reason: why(),
        },
        StartError::Raft { reason: why() },
    ];
    let number = |error: &StartError| match error {
        StartError::Timings(_) => 0,
        StartError::Tls(_) => 1,
        StartError::ForeignCertificate { .. } => 2,
        StartError::Port(_) => 3,
        StartError::Serve(_) => 4,
        StartError::Store(_) => 5,
        StartError::Refused { .. } => 6,
        StartError::Raft { .. } => 7,
    };
    check(&examples, 8, number, |error| error.remedy().to_owned());
}
