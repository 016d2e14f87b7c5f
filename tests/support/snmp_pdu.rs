//! A real SNMP agent in the role of a PDU for a test: net-snmp's `snmpd` on a loopback port of its own.
//!
//! The outlets are objects under the vendor's part of the tree, served by a `pass_persist` program that reads
//! and writes one file per object, so a test can look at an outlet and change it. Both processes end with the
//! value. Nothing is powered: machines that really go off are the lab's business. Debian package: snmpd.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::ipmi_sim::Power;

/// The community that may read and write; the suites look for it in places where it must not be.
pub const COMMUNITY: &str = "canary-community";
/// The community that may only read.
pub const VIEWER_COMMUNITY: &str = "canary-viewer";
/// Authentication pass phrase of every SNMPv3 user.
pub const PASSWORD: &str = "canary-auth-pass";
/// Privacy pass phrase of every SNMPv3 user.
pub const PRIV_PASSWORD: &str = "canary-priv-pass";
/// Outlets of every PDU here.
pub const OUTLETS: u32 = 8;

/// SNMPv3 users: name, authentication and privacy protocol in net-snmp's words.
pub const USERS: [(&str, &str, &str); 11] = [
    ("md5-des", "MD5", "DES"),
    ("sha-aes", "SHA", "AES"),
    ("sha224-aes", "SHA-224", "AES"),
    ("sha256-aes192", "SHA-256", "AES-192"),
    ("sha384-aes256", "SHA-384", "AES-256"),
    ("sha512-aes256", "SHA-512", "AES-256"),
    ("sha-aes192", "SHA", "AES-192"),
    ("md5-aes256", "MD5", "AES-256"),
    ("sha-des", "SHA", "DES"),
    ("sha-aes192c", "SHA", "AES-192-C"),
    ("md5-aes256c", "MD5", "AES-256-C"),
];
/// A user who authenticates and does not encrypt.
pub const AUTH_USER: &str = "sha-only";
/// A user known by name alone.
pub const OPEN_USER: &str = "open";
/// A user who may look but not switch.
pub const VIEWER: &str = "viewer";

/// How long `snmpd` may take to answer its first request. It takes half a second.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// The objects and numbers of a kind of PDU. `#` stands for the outlet's number.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// sysObjectID.
    pub identity: &'static str,
    /// The vendor's part of the tree.
    pub root: &'static str,
    /// Object of the state.
    pub status: &'static str,
    /// Object of the command off and its number.
    pub off: (&'static str, i64),
    /// Object of the command on and its number.
    pub on: (&'static str, i64),
    /// Object of the name.
    pub names: &'static str,
    /// The state's numbers for off and on.
    pub says: (i64, i64),
}

/// APC Switched Rack PDU.
pub const APC_RPDU: Model = Model {
    identity: "1.3.6.1.4.1.318.1.3.4.5",
    root: ".1.3.6.1.4.1.318",
    status: ".1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.#",
    off: (".1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.#", 2),
    on: (".1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.#", 1),
    names: ".1.3.6.1.4.1.318.1.1.12.3.5.1.1.2.#",
    says: (2, 1),
};

/// APC MasterSwitch Plus, first unit.
pub const APC_MSP: Model = Model {
    identity: "1.3.6.1.4.1.318.1.3.4.4",
    root: ".1.3.6.1.4.1.318",
    status: ".1.3.6.1.4.1.318.1.1.6.7.1.1.5.1.1.#",
    off: (".1.3.6.1.4.1.318.1.1.6.5.1.1.5.1.1.#", 3),
    on: (".1.3.6.1.4.1.318.1.1.6.5.1.1.5.1.1.#", 1),
    names: ".1.3.6.1.4.1.318.1.1.6.7.1.1.4.1.1.#",
    says: (2, 1),
};

/// APC MasterSwitch: the objects that every APC PDU has, and an identity that nobody knows.
pub const APC_SWITCH: Model = Model {
    identity: "1.3.6.1.4.1.318.1.3.4.99",
    root: ".1.3.6.1.4.1.318",
    status: ".1.3.6.1.4.1.318.1.1.4.4.2.1.3.#",
    off: (".1.3.6.1.4.1.318.1.1.4.4.2.1.3.#", 2),
    on: (".1.3.6.1.4.1.318.1.1.4.4.2.1.3.#", 1),
    names: ".1.3.6.1.4.1.318.1.1.4.4.2.1.4.#",
    says: (2, 1),
};

/// Tripp Lite.
pub const TRIPPLITE: Model = Model {
    identity: "1.3.6.1.4.1.850.1",
    root: ".1.3.6.1.4.1.850",
    status: ".1.3.6.1.4.1.850.10.2.3.5.1.2.1.#",
    off: (".1.3.6.1.4.1.850.10.2.3.5.1.4.1.#", 1),
    on: (".1.3.6.1.4.1.850.10.2.3.5.1.4.1.#", 2),
    names: ".1.3.6.1.4.1.850.10.2.3.5.1.5.1.#",
    says: (1, 2),
};

/// A PDU that is in nobody's table, with a command of its own for each direction.
pub const HOMEMADE: Model = Model {
    identity: "1.3.6.1.4.1.99999.1",
    root: ".1.3.6.1.4.1.99999",
    status: ".1.3.6.1.4.1.99999.2.1.#",
    off: (".1.3.6.1.4.1.99999.2.2.#", 0),
    on: (".1.3.6.1.4.1.99999.2.3.#", 0),
    names: ".1.3.6.1.4.1.99999.2.4.#",
    says: (0, 7),
};

/// How outlets take commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlets {
    /// They do what they are told.
    Obey,
    /// They acknowledge and do nothing.
    Stick,
    /// The PDU refuses to switch.
    Refuse,
}

/// A running `snmpd`; killed and reaped when dropped.
pub struct SnmpPdu {
    child: Child,
    port: u16,
    dir: PathBuf,
    model: Model,
}

/// Speaks the protocol of `pass_persist` (snmpd.conf(5)). One file per object: its kind and its value; one
/// file per command: which object becomes what.
const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
tell() {
  if [ -n "$1" ] && [ -e "kind/$1" ]; then
    echo "$1"; cat "kind/$1"; cat "value/$1"
  else
    echo NONE
  fi
}
after() {
  awk -v at="$1" 'found { print; exit } $0 == at { found = 1 } index($0, at ".") == 1 { print; exit }' order
}
while read -r word; do
  case $word in
    PING) echo PONG ;;
    get) read -r oid; echo "get $oid" >> calls; tell "$oid" ;;
    getnext) read -r oid; tell "$(after "$oid")" ;;
    set)
      read -r oid; read -r kind number
      echo "set $oid $number" >> calls
      if [ ! -e "command/$oid=$number" ]; then
        echo wrong-value
      else
        case $(cat mode) in
          refuse) echo not-writable ;;
          stick) echo DONE ;;
          *)
            read -r object state < "command/$oid=$number"
            echo "$state" > value.new && mv value.new "value/$object"
            echo DONE ;;
        esac
      fi ;;
    '') ;;
    *) exit 0 ;;
  esac
done
"#;

impl SnmpPdu {
    /// Starts a PDU whose outlets are all on, and waits until it answers.
    ///
    /// # Panics
    /// When `snmpd` is not installed or does not answer.
    pub fn start(model: Model) -> Self {
        // The port is free when it is drawn; another process may be faster, so a few are tried.
        (0..5)
            .find_map(|_| Self::try_start(model))
            .expect("snmpd answers on some port")
    }

    fn try_start(model: Model) -> Option<Self> {
        let port = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let dir = fresh_dir();
        write_objects(&dir, &model);
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new("snmpd")
            .args(["-f", "-Lo", "-C", "-c", "pdu.conf"])
            .arg(format!("udp:127.0.0.1:{port}"))
            .current_dir(&dir)
            // Its own place for engine boots and users' keys; no MIB files are needed.
            .env("SNMP_PERSISTENT_DIR", &dir)
            .env("SNMPCONFPATH", &dir)
            .env("MIBS", "")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("snmpd is installed (Debian package snmpd)");
        let mut pdu = Self {
            child,
            port,
            dir,
            model,
        };
        pdu.answers().then_some(pdu)
    }

    /// Asks for the state of the first outlet until something comes back.
    fn answers(&mut self) -> bool {
        // v2c, community "probe", get sysObjectID.0.
        let question = b"\x30\x28\x02\x01\x01\x04\x05probe\xa0\x1c\x02\x04\x00\x00\x00\x07\x02\x01\x00\
                         \x02\x01\x00\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x02\x00\x05\x00";
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", self.port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            let _ = socket.send(question);
            if socket.recv(&mut [0; 256]).is_ok() {
                return true;
            }
        }
        false
    }

    /// The UDP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn value(&self, outlet: u32) -> PathBuf {
        self.dir.join("value").join(at(self.model.status, outlet))
    }

    /// The power of an outlet.
    pub fn power(&self, outlet: u32) -> Power {
        let text = std::fs::read_to_string(self.value(outlet)).unwrap();
        if text.trim() == self.model.says.0.to_string() {
            Power::Off
        } else {
            Power::On
        }
    }

    /// Switches an outlet from outside, as a hand on the button would.
    pub fn set_power(&self, outlet: u32, power: Power) {
        self.set_state(
            outlet,
            match power {
                Power::Off => self.model.says.0,
                Power::On => self.model.says.1,
            },
        );
    }

    /// Makes an outlet's state any number, such as one for "pending".
    pub fn set_state(&self, outlet: u32, state: i64) {
        // Renamed into place: the agent must never read half a file.
        let fresh = self.dir.join("state.new");
        std::fs::write(&fresh, format!("{state}\n")).unwrap();
        std::fs::rename(fresh, self.value(outlet)).unwrap();
    }

    /// Gives an outlet another name.
    pub fn set_name(&self, outlet: u32, name: &str) {
        let object = at(self.model.names, outlet);
        std::fs::write(self.dir.join("value").join(object), format!("{name}\n")).unwrap();
    }

    /// Changes how outlets take commands from now on.
    pub fn set_outlets(&self, outlets: Outlets) {
        let text = match outlets {
            Outlets::Obey => "obey\n",
            Outlets::Stick => "stick\n",
            Outlets::Refuse => "refuse\n",
        };
        std::fs::write(self.dir.join("mode"), text).unwrap();
    }

    /// What was asked of the outlets so far, in order: `read 3`, `off 3`, `on 3`.
    pub fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.dir.join("calls")).unwrap();
        let model = &self.model;
        let mut seen = Vec::new();
        for call in calls.lines() {
            for outlet in 1..=OUTLETS {
                let off = format!("set {} {}", at(model.off.0, outlet), model.off.1);
                let on = format!("set {} {}", at(model.on.0, outlet), model.on.1);
                let read = format!("get {}", at(model.status, outlet));
                let word = [("off", off), ("on", on), ("read", read)]
                    .into_iter()
                    .find(|(_, text)| text == call);
                seen.extend(word.map(|(word, _)| format!("{word} {outlet}")));
            }
        }
        seen
    }

    /// Ends the agent, as a pulled cable or a dead supply would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for SnmpPdu {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn at(pattern: &str, outlet: u32) -> String {
    pattern.replace('#', &outlet.to_string())
}

fn fresh_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    let dir = std::env::temp_dir().join(format!("haft-snmp-pdu-{}-{count}", std::process::id()));
    for part in ["kind", "value", "command"] {
        std::fs::create_dir_all(dir.join(part)).unwrap();
    }
    dir
}

fn write_objects(dir: &std::path::Path, model: &Model) {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    let (says_off, says_on) = model.says;
    let mut order = Vec::new();
    for outlet in 1..=OUTLETS {
        let (status, name) = (at(model.status, outlet), at(model.names, outlet));
        write(&format!("kind/{status}"), "integer\n");
        write(&format!("value/{status}"), &format!("{says_on}\n"));
        write(&format!("kind/{name}"), "string\n");
        write(&format!("value/{name}"), &format!("node{outlet}\n"));
        let (off, on) = (at(model.off.0, outlet), at(model.on.0, outlet));
        let command = |object: &str, number: i64, state: i64| {
            write(
                &format!("command/{object}={number}"),
                &format!("{status} {state}\n"),
            );
        };
        command(&off, model.off.1, says_off);
        command(&on, model.on.1, says_on);
        // snmpd asks whether there is such an object before it lets it be set.
        for object in [off, on] {
            if object != status {
                write(&format!("kind/{object}"), "integer\n");
                write(&format!("value/{object}"), "1\n");
                order.push(object);
            }
        }
        order.extend([status, name]);
    }
    // As numbers: text would put outlet 10 before outlet 2.
    order.sort_by_key(|oid| {
        let numbers = oid.split('.').skip(1).map(|part| part.parse().unwrap());
        numbers.collect::<Vec<u32>>()
    });
    order.dedup();
    write("order", &(order.join("\n") + "\n"));
    write("mode", "obey\n");
    write("calls", "");
    write("outlets", SCRIPT);
    std::fs::set_permissions(dir.join("outlets"), PermissionsExt::from_mode(0o755)).unwrap();
    write("pdu.conf", &config(dir, model));
}

fn config(dir: &std::path::Path, model: &Model) -> String {
    let users: String = USERS
        .iter()
        .map(|(name, auth, privacy)| {
            // The names of Cisco's variants have no dashes in snmpd.
            let privacy = privacy.replace("-C", "C").replace("AES-", "AES");
            format!(
                "createUser {name} {auth} {PASSWORD} {privacy} {PRIV_PASSWORD}\nrwuser {name} priv\n"
            )
        })
        .collect();
    format!(
        "rwcommunity {COMMUNITY} 127.0.0.1\nrocommunity {VIEWER_COMMUNITY} 127.0.0.1\n\
         rocommunity probe 127.0.0.1 .1.3.6.1.2.1.1\nsysObjectID {}\npass_persist {} {}\n{users}\
         createUser {AUTH_USER} SHA {PASSWORD}\nrwuser {AUTH_USER} auth\n\
         createUser {OPEN_USER}\nrwuser {OPEN_USER} noauth\n\
         createUser {VIEWER} SHA {PASSWORD} AES {PRIV_PASSWORD}\nrouser {VIEWER} priv\n",
        model.identity,
        model.root,
        dir.join("outlets").display(),
    )
}
