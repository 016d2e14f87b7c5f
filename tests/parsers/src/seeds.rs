//! Inputs to begin with: real vectors, and scripts of dialogues that go well.
//!
//! The fuzzer changes them; what it finds worth keeping lies in `fuzz/corpus`.

use haft_api::persisted::{encode_entry, encode_state};
use haft_engine::command::{Command, Entry, PathFault, PathHealth, VoterSets};
use haft_engine::ids::{DeviceName, EntryId, Generation, Incarnation, NodeId, RequestId};
use haft_engine::state::ClusterState;
use haft_fence_pdu::oid::Oid;
use haft_fence_pdu::wire::message::{
    Binding, CommunityMessage, ErrorStatus, Pdu, PduKind, Value, Version,
};

/// Inputs for a target; none for a name that is no target's.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "agent_input" => texts(&[
            "action=off\nip=10.0.0.9\nusername=admin\npower_wait=2.5s\ncipher=17\nnodename=n2\n",
            "# a comment\n\noption=status\nplug=\"3,7\"\nipaddr=pdu\nsnmp_version=3\nlogin=fencer\n",
            "action=list\ndevices=/dev/sdb;/dev/sdc,/dev/sdd\nio_timeout=0.5\nmethod=onoff\n",
            "-a10.0.0.9\0-lroot\0-P\0--action=reboot\0-v",
            "action\noff\nwhat=1",
        ]),
        "agent_output" => texts(&[
            "\u{3}\u{3}Status: OFF\n\0\0hunter2\0hunter22",
            "\u{3}\u{1}Status: ON\n\0",
            "\u{1}\u{1}Success: Powered OFF\n",
            "\u{1}\u{1}Success: Rebooted\n\0",
            "\u{1}\u{2}\0 2026-01-01 10:00:00,123 ERROR: Unable to connect hunter2\n\nERROR: Please use '-h' for usage\n\0hunter2\0unable",
            "\u{5}\u{1}1,node1,ON\n2,node2;n3 n4\\nn5\ninvalid x\n",
            "\u{7}\u{1}<?xml version=\"1.0\" ?><resource-agent name=\"fence_x\" shortdesc='X'>\
             <parameter name=\"plug\" unique=\"0\"/><actions><action name=\"on\" automatic=\"1\"/>\
             <action name=\"off\"/></actions></resource-agent>",
        ]),
        "config" => [
            include_bytes!("../../cli/configs/timing-sum.yaml").to_vec(),
            include_bytes!("../../cli/configs/resources.yaml").to_vec(),
            include_bytes!("../../cli/configs/sbd.yaml").to_vec(),
            b"cluster: { name: &a c }\nnodes: &n [{ name: *a, addresses: [10.0.0.1] }]\nresources: [*n, *a]\n".to_vec(),
            include_bytes!("../../cli/configs/unknown-keys.yaml").to_vec(),
            include_bytes!("../../cli/configs/ports.yaml").to_vec(),
            include_bytes!("../../cli/manifests/fence-device.yaml").to_vec(),
            include_bytes!("../../cli/manifests/virtual-ip.yaml").to_vec(),
            include_bytes!("../../cli/manifests/node.yaml").to_vec(),
            b"cluster: { name: c }\nnodes: [{ name: a, addresses: [10.0.0.1] }]\ntiming: { failover: 2s }\n".to_vec(),
            b"1.5s".to_vec(),
        ]
        .into(),
        "pdu_table" => texts(&[
            "outlet_status_oid=1.3.6.1.4.1.99.1.{unit}.{plug}\noutlet_control_oid=.1.3.6.1.4.1.99.2.{plug}\n\
             outlet_status_on=1\noutlet_status_off=2\noutlet_command_on=1\noutlet_command_off=2\nplug=3,2:7,web\n",
            "outlet_status_oid=1.3.{plug}\noutlet_off_oid=1.3.1.{plug}\noutlet_on_oid=1.3.2.{plug}\n\
             outlet_name_oid=1.3.4.{plug}\noutlet_status_on=-1\noutlet_status_off=0\noutlet_command_on=0\noutlet_command_off=0\n",
            "pdu=apc-rpdu2\nswitch=2\nplug=1\n",
        ]),
        "beats" => vec![vec![0; 80], vec![1; 112], vec![2; 130], tagged_beat()],
        "ipmi" => ipmi(),
        "snmp" => snmp(),
        "snmp_user" => snmp_user(),
        "sbd" => sbd(),
        "persisted" => persisted(),
        _ => Vec::new(),
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The fields of a beat, to be tagged by the target.
fn tagged_beat() -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.extend(b"hF\x02\x01\x03\x02\x00\x00");
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 1].repeat(7));
    bytes
}

fn ipmi() -> Vec<Vec<u8>> {
    let set_up = [0, 0, 0].repeat(5);
    let status = [7, 0, 0, 0, 4, 0, 0x60, 0, 0];
    let off = [7, 1, 0, 0, 0];
    let mut whole = vec![0];
    whole.extend(&set_up);
    whole.extend(status);
    whole.extend(off);
    whole.extend(status);
    let mut seventeen = whole.clone();
    seventeen[0] = 1;
    let mut stranger = whole.clone();
    stranger[0] = 2;
    let mut changed = vec![0];
    changed.extend(&set_up);
    changed.extend([7, 0, 2, 0, 4, 0, 0, 0, 0, 20, 1, 4, 3, 5, 1]);
    let mut garbage = vec![1];
    garbage.extend(&set_up);
    garbage.extend([
        7, 0, 6, 0, 0, 0, 9, 8, 0x81, 4, 0x7B, 0x20, 8, 1, 0, 0xD7, 8,
    ]);
    // OpenIPMI's answers to the capabilities request and to an open session request.
    let plain = b"\x06\x00\xff\x07\x00\0\0\0\0\0\0\0\0\x10\x81\x1c\x63\x20\x04\x38\x00\x01\x97\x04\x03\0\0\0\0\x05".to_vec();
    let open = b"\x06\x00\xff\x07\x06\x11\0\0\0\0\0\0\0\0\x24\0\0\0\x04\0\xa4\xa3\xa2\xa0\x0b\0\0\x02\0\0\0\x08\x01\0\0\0\x01\0\0\x08\x01\0\0\0\x02\0\0\x08\x01\0\0\0".to_vec();
    vec![whole, seventeen, stranger, changed, garbage, plain, open]
}

fn snmp() -> Vec<Vec<u8>> {
    let message = |value| {
        let binding = Binding {
            oid: Oid::parse("1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.3").expect("a valid one"),
            value,
        };
        CommunityMessage {
            version: Version::V2c,
            community: b"public".to_vec(),
            pdu: Pdu {
                kind: PduKind::Response,
                request_id: 7,
                error: ErrorStatus::NONE,
                error_index: 0,
                bindings: vec![binding],
            },
        }
        .to_bytes()
    };
    let mut all: Vec<Vec<u8>> = [
        Value::Integer(2),
        Value::Unsigned(70_000),
        Value::Octets(b"node7".to_vec()),
        Value::NoSuchInstance,
    ]
    .map(message)
    .into();
    // net-snmp's report to a search for its engine.
    all.push(
        b"\x30\x67\x02\x01\x03\x30\x10\x02\x04\x3d\x46\x3c\x8b\x02\x03\x00\xff\xe3\x04\x01\x00\x02\x01\x03\x04\x1d\x30\x1b\x04\x0f\x80\x00\x1f\x88\x80\x59\xdc\x48\x61\x45\xa2\x63\x22\x00\x00\x00\x02\x01\x08\x02\x01\x22\x04\x00\x04\x00\x04\x00\x30\x31\x04\x0f\x80\x00\x1f\x88\x80\x59\xdc\x48\x61\x45\xa2\x63\x22\x00\x00\x00\x04\x00\xa8\x1c\x02\x04\x37\xf0\x87\x5e\x02\x01\x00\x02\x01\x00\x30\x0e\x30\x0c\x06\x0a\x2b\x06\x01\x06\x03\x0f\x01\x01\x04\x00\x41\x01\x04"
            .to_vec(),
    );
    all.extend([
        vec![0, 0, 0, 0, 0, 2, 5, 0, 0, 0, 0, 0, 1],
        vec![3, 0, 0, 1, 5, 5, 2, 2, 0, 0, 1, 2, 30, 1, 3, 0, 4, 3],
        b"1.3.6.1.4.1.99.{unit}.{plug}".to_vec(),
        b"\x2b\x06\x01\x04\x01\x82\x3e\x01".to_vec(),
    ]);
    all
}

fn snmp_user() -> Vec<Vec<u8>> {
    (0..4)
        .flat_map(|level| {
            let good = vec![level, 0, 0, 0, 2, 7, 0, 0, 0, 1];
            let spoiled = vec![level, 0, 2, 0, 2, 40, 1, 4, 0, 3, 1, 2, 0, 0, 1];
            let sealed = vec![
                level, 0, 6, 5, 0x30, 3, 4, 1, 0, 3, 3, 0, 4, 7, 200, 0, 0, 1, 0, 0, 0,
            ];
            [good, spoiled, sealed]
        })
        .collect()
}

fn sbd() -> Vec<Vec<u8>> {
    // Sector 0 as Debian's sbd 1.5.2 wrote it with `-1 15 -4 30`.
    let header = b"SBD_SBD_\x02\xff\0\0\0\0\x02\0\0\0\0\x0f\0\0\0\x02\0\0\0\x01\0\0\0\x1e\x01\xaa\x18\x48\x94\x3b\xb3\x4a\xc5\x9c\xc1\x07\xc0\x23\x17\xd0\xab".to_vec();
    let mut wide = header.clone();
    wide[14] = 0x10;
    let long = [&[1][..], &[b'x'; 80]].concat();
    vec![
        header,
        wide,
        b"\x01NodeA\0".to_vec(),
        b"\x02nodeB\0".to_vec(),
        b"\x07\xff\tb".to_vec(),
        long,
    ]
}

fn persisted() -> Vec<Vec<u8>> {
    let entry = Entry {
        stamp_unix_ms: 1_700_000_000_000,
        commands: some_commands(),
    };
    vec![encode_entry(&entry), encode_state(&ClusterState::default())]
}

fn some_commands() -> Vec<Command> {
    let mut commands = vec![
        Command::Closing {
            node: NodeId(1),
            incarnation: Incarnation(7),
        },
        Command::DeviceProbed {
            device: DeviceName::from("bmc"),
            generation: Generation(7),
            health: PathHealth::Failing {
                fault: PathFault::NoAnswer,
                why: "connection refused".to_owned(),
            },
        },
        Command::Membership(VoterSets {
            at: EntryId::new(2, 3),
            sets: vec![[NodeId(1), NodeId(4)].into()],
        }),
    ];
    let manifests = haft_config::manifest::parse("seeds", MANIFESTS).unwrap_or_default();
    commands.extend(manifests.into_iter().map(|manifest| Command::Put {
        object: manifest.spec,
        expected: Some(Generation(0)),
        request: RequestId([9; 16]),
    }));
    commands
}

const MANIFESTS: &str = "\
apiVersion: haft/v1
kind: VirtualIP
metadata: { name: web }
spec: { address: 10.9.9.9, interface: eth0 }
---
apiVersion: haft/v1
kind: FenceDevice
metadata: { name: bmc }
spec:
  agent: fence_haft_ipmi
  observes: power
  targets: { n1: \"\" }
  parameters: { ip: 10.0.0.9 }
  secretFiles: { password: /etc/haft/secrets/n1 }
";
