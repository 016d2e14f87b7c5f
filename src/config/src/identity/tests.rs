//! An identity comes back as it was written, and is refused when others could read it.

use super::*;
use std::os::unix::fs::PermissionsExt;

const PEM: &str = "-----BEGIN TEST-----\nAA==\n-----END TEST-----\n";

fn first_coordinator() -> NewIdentity {
    NewIdentity {
        cluster: ClusterId([7; 16]),
        cluster_name: "demo".to_owned(),
        node: NodeName::from("n1"),
        node_id: NodeId(1),
        ca_pem: PEM.to_owned(),
        certificate_pem: PEM.to_owned(),
        key_pem: PEM.to_owned(),
        ca_key_pem: Some(PEM.to_owned()),
        bootstrap: Some(Bootstrap {
            heartbeat_key: [9; 32],
            host: "10.0.0.1".to_owned(),
        }),
    }
}

#[test]
fn an_identity_comes_back_and_its_bootstrap_is_consumed_once() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Identity::read(dir.path()),
        Err(ReadIdentityError::Absent { .. })
    ));
    first_coordinator().write(dir.path()).unwrap();
    let identity = Identity::read(dir.path()).unwrap();
    assert_eq!(identity.cluster, ClusterId([7; 16]));
    assert_eq!(
        (identity.node.as_str(), identity.node_id),
        ("n1", NodeId(1))
    );
    assert!(identity.ca_key_pem.is_some());
    let bootstrap = identity.bootstrap().unwrap().unwrap();
    assert_eq!(bootstrap.heartbeat_key, [9; 32]);
    Bootstrap::consume(&identity).unwrap();
    assert_eq!(identity.bootstrap().unwrap(), None);
    Bootstrap::consume(&identity).unwrap();
}

#[test]
fn a_second_identity_is_refused_and_the_first_is_untouched() {
    let dir = tempfile::tempdir().unwrap();
    first_coordinator().write(dir.path()).unwrap();
    let mut second = first_coordinator();
    second.cluster = ClusterId([8; 16]);
    assert!(matches!(
        second.write(dir.path()),
        Err(WriteIdentityError::Exists { .. })
    ));
    assert_eq!(
        Identity::read(dir.path()).unwrap().cluster,
        ClusterId([7; 16])
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn every_file_is_private_and_a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = first_coordinator().write(dir.path()).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
    }
    for name in ["node.key", "ca.key"] {
        let path = folder.join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::read(dir.path()).unwrap_err();
        assert!(
            matches!(&error, ReadIdentityError::TooOpen { mode: 0o640, .. }),
            "{error}"
        );
        assert!(error.fix().contains("chmod"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn damage_is_named_by_file() {
    let rows = [
        ("cluster.json", "{"),
        ("cluster.json", "{\"format\":2}"),
        ("node.crt", "text"),
        ("ca.crt", ""),
    ];
    for (name, text) in rows {
        let dir = tempfile::tempdir().unwrap();
        let folder = first_coordinator().write(dir.path()).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
        let error = Identity::read(dir.path()).unwrap_err();
        assert!(
            matches!(&error, ReadIdentityError::Damaged { path, .. } if path.ends_with(name)),
            "{name}: {error}"
        );
    }
}

#[test]
fn debug_shows_no_key() {
    let dir = tempfile::tempdir().unwrap();
    first_coordinator().write(dir.path()).unwrap();
    let identity = Identity::read(dir.path()).unwrap();
    let shown = format!("{identity:?} {:?}", identity.bootstrap().unwrap());
    assert!(
        !shown.contains("BEGIN") && !shown.contains("9, 9"),
        "{shown}"
    );
}
