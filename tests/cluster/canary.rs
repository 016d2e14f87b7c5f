//! Secrets of a whole cluster show nowhere but in their own files: not in any process's arguments or environment,
//! no log at the most talkative level, no answer of the API, nothing that haftctl says, no file of the data
//! directories, no image of a process.
//!
//! The canaries are a fence device's password, the heartbeat key, the nodes' and the authority's private keys,
//! the administrator's key and the join tokens. The agent is a hostile one that prints what it was given. Beside
//! the canaries goes a tracer, a parameter that is no secret: that the same search finds it in the files, logs and
//! answers shows that it would have found a canary there. The agents' own suite searches the fence agents.

mod planted;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haft_api::client::{Credentials, dial};
use haft_api::pb::v1;
use haft_api::pb::v1::virtual_ip_service_client::VirtualIpServiceClient;
use haft_tests::built::executable;
use haft_tests::canary::{Search, Sightings};
use haft_tests::coordinators::{Coordinators, succeeded};
use haft_tests::jail::in_private_network;

use crate::calls::{answered, credentials, methods, runtime};

/// The part of the password that no escaping changes.
const PASSWORD: &str = "Zx9qCanaryOfTheBmc4kPw7T";
/// What stands behind it is changed by every escaping that there is.
const REST: &str = "\"\\%å'";
/// Goes where the password goes, and is no secret.
const TRACER: &str = "Yv3nTracerOfTheSuite8mRw";
/// Everything but HTTP/2's frames, which fill half of a log with their heads and print no contents.
const TALKATIVE: &str = "trace,h2=info";
/// So many entries make a snapshot (consensus/config.rs), and a few more.
const ENTRIES: u32 = 5_200;
/// Entries under way at once.
const ABREAST: u32 = 32;

/// Prints what it was given, on both streams; is unreachable until `up` is there; waits in `off` until `go` is.
const AGENT: &str = r#"#!/bin/sh
while IFS= read -r line; do
    case $line in
    action=*) action=${line#action=} ;;
    password=*) password=${line#password=} ;;
    note=*) note=${line#note=} ;;
    esac
done
if [ "$action" = metadata ]; then
    cat <<'END'
<?xml version="1.0" ?><resource-agent name="fence_canary" shortdesc="prints its password">
<parameters><parameter name="plug"/><parameter name="password"/><parameter name="note"/></parameters>
<actions><action name="on"/><action name="off"/><action name="status"/><action name="monitor"/>
<action name="metadata"/></actions></resource-agent>
END
    exit 0
fi
cd "FOLDER" || exit 1
printf '%s' "$password" | cksum >given
echo "logging in with $password"
if [ ! -e up ]; then
    echo "ERROR: cannot log in with password '$password' and note $note" >&2
    exit 1
fi
echo "WARNING: $password is not a good password" >&2
case $action in
off)
    turns=0
    while [ ! -e go ] && [ $turns -lt 300 ]; do turns=$((turns + 1)); sleep 0.1; done
    touch off
    echo "Success: Powered OFF" ;;
on) rm -f off ;;
status) if [ -e off ]; then echo "Status: OFF"; exit 2; else echo "Status: ON"; fi ;;
esac
exit 0
"#;

/// A secret with its name and the only files that may hold it.
struct Secret {
    name: String,
    bytes: Vec<u8>,
    homes: Vec<PathBuf>,
}

/// A process that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Story {
    cluster: Coordinators,
    secrets: Vec<Secret>,
    /// Everything that haftctl and the API said.
    said: Vec<u8>,
    agent: Option<Running>,
}

#[test]
fn secrets_show_nowhere_but_in_their_own_files() {
    // haft-agent changes the kernel's tables, so it gets a network of its own, and the cluster with it.
    in_private_network(|| Story::begin().run());
}

impl Story {
    fn begin() -> Self {
        let mut cluster = Coordinators::prepare();
        cluster.log_filter = Some(TALKATIVE);
        let folder = cluster.folder.path().to_owned();
        for node in ["n1", "n2", "n3"] {
            let path = cluster.config(node);
            let more = format!(
                "fence: {{ probe_every_ms: 1000 }}\nwatchdog: {{ device: {}/none }}\n",
                folder.display()
            );
            let text = fs::read_to_string(&path).unwrap() + &more;
            fs::write(&path, text).unwrap();
        }
        cluster.init();
        let mut story = Self {
            cluster,
            secrets: Vec::new(),
            said: Vec::new(),
            agent: None,
        };
        let password = folder.join("password");
        private(&password, &format!("{PASSWORD}{REST}"));
        story.keep("the password", PASSWORD.as_bytes(), vec![password]);
        let identity = story.cluster.data("n1").join("identity");
        let bootstrap = identity.join("bootstrap.json");
        let text = fs::read_to_string(&bootstrap).unwrap();
        let values: serde_json::Value = serde_json::from_str(&text).unwrap();
        let key = bytes_of_hex(values["heartbeat_key"].as_str().unwrap());
        // Replicated through the log, so that every coordinator can check a beat.
        let mut homes = vec![bootstrap];
        homes.extend(["n1", "n2", "n3"].map(|node| story.cluster.data(node).join("raft")));
        story.keep("the heartbeat key", &key, homes);
        story.keep_key("the key of n1", &identity.join("node.key"));
        story.keep_key("the authority's key", &identity.join("ca.key"));
        // Handed to every coordinator, so that any of them can sign a join.
        let others = ["n2", "n3"].map(|node| story.cluster.data(node).join("identity/ca.key"));
        let authority = story.secrets.last_mut().expect("just kept");
        authority.homes.extend(others);
        story.keep_key("the administrator's key", &folder.join("context.yaml"));
        story
    }

    fn keep(&mut self, name: &str, bytes: &[u8], homes: Vec<PathBuf>) {
        self.secrets.push(Secret {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
            homes,
        });
    }

    /// The private number in a file with a PKCS#8 key of P-256.
    fn keep_key(&mut self, name: &str, file: &Path) {
        let text = fs::read_to_string(file).unwrap();
        let inside = text
            .lines()
            .map(str::trim)
            .skip_while(|line| *line != "-----BEGIN PRIVATE KEY-----")
            .skip(1)
            .take_while(|line| !line.starts_with("-----"));
        let der = STANDARD.decode(inside.collect::<String>()).unwrap();
        // RFC 5208 and RFC 5915: the OCTET STRING of 32 bytes behind the version of the inner sequence.
        assert_eq!(der[34..36], [0x04, 0x20], "{name} is no key of P-256");
        self.keep(name, &der[36..68], vec![file.to_owned()]);
    }

    fn search(&self) -> Search {
        let secrets = self.secrets.iter();
        Search::new(secrets.map(|secret| (secret.name.as_str(), secret.bytes.as_slice())))
    }

    fn run(mut self) {
        let (done, sightings) = (AtomicBool::new(false), Mutex::new(Sightings::default()));
        let search = self.search();
        std::thread::scope(|scope| {
            let _end = EndAtDrop(&done);
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    search.find_in_processes(&mut sightings.lock().unwrap());
                }
            });
            self.form();
            self.fence(&sightings);
            self.listen();
        });
        let sightings = sightings.into_inner().unwrap();
        assert!(sightings.leaks.is_empty(), "{:?}", sightings.leaks);
        images_are_forbidden(&sightings);
        self.nothing_is_said("at the most talkative level");
        self.snapshot();
        drop(self.agent.take());
        for node in ["n1", "n2", "n3"] {
            self.cluster.kill(node);
        }
        self.nothing_is_said("after the end");
        self.files();
    }

    /// Everybody joins, and n1 gets an agent.
    fn form(&mut self) {
        self.cluster.found();
        for node in ["n2", "n3"] {
            let token = self.cluster.token(node);
            let text = fs::read_to_string(&token).unwrap();
            let secret = text.trim().rsplit('.').next().unwrap().to_owned();
            self.cluster.join(node, &token);
            self.cluster.start(node);
            self.cluster.wait_for("the new voter", |status| {
                let voters = status["voters"].as_array();
                voters.is_some_and(|voters| voters.contains(&node.into()))
            });
            self.keep(
                &format!("the token of {node}"),
                secret.as_bytes(),
                vec![token],
            );
            let key = self.cluster.data(node).join("identity/node.key");
            self.keep_key(&format!("the key of {node}"), &key);
        }
        self.agent = Some(self.start_agent());
        self.wait("node/n1", |node| node["status"]["state"] == "Online");
    }

    fn start_agent(&self) -> Running {
        let log = fs::File::create(self.cluster.folder.path().join("agent.log")).unwrap();
        // What could reset a machine gets no machine to reset.
        let child = Command::new("unshare")
            .args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c"])
            .arg("[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger; exec \"$@\"")
            .arg("sh")
            .arg(executable("haft-agent", "haft-agent"))
            .arg("--config")
            .arg(self.cluster.config("n1"))
            .args(["--node", "n1"])
            .env("HAFT_LOG", TALKATIVE)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Waits for an object to be so.
    fn wait(&mut self, object: &str, fits: impl Fn(&serde_json::Value) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut last = Err("never asked".to_owned());
        while Instant::now() < deadline {
            last = self.cluster.json(&["get", object]);
            if let Ok(found) = &last {
                self.said.extend(found.to_string().bytes());
                if fits(found) {
                    return;
                }
            }
            std::thread::yield_now();
        }
        let agent = fs::read_to_string(self.cluster.folder.path().join("agent.log"));
        let end = agent.unwrap_or_default();
        let end: Vec<&str> = end.lines().rev().take(20).collect();
        panic!("{object}: {last:?}\n{end:#?}");
    }

    /// A device that fails and prints its password, that works and prints its password, and an order to it.
    fn fence(&mut self, sightings: &Mutex<Sightings>) {
        let folder = self.cluster.folder.path().to_owned();
        let agent = folder.join("fence_canary");
        fs::write(&agent, AGENT.replace("FOLDER", folder.to_str().unwrap())).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        let manifest = |spec: &str| {
            format!(
                "apiVersion: haft/v1\nkind: FenceDevice\nmetadata: {{ name: canary }}\nspec:\n{spec}"
            )
        };
        let device = manifest(&format!(
            "  agent: {}\n  targets: {{ n2: \"\" }}\n  deadline: 60s\n  parameters: {{ note: {TRACER} }}\n  \
             secretFiles: {{ password: {}/password }}\n",
            agent.display(),
            folder.display()
        ));
        let vip = "---\napiVersion: haft/v1\nkind: VirtualIP\nmetadata: { name: web }\nspec: { address: 10.9.9.9, interface: eth9 }\n";
        succeeded(&self.apply(&(device + vip)));
        self.wait("fencedevice/canary", |device| {
            device["status"]["health"] == "Failing"
        });
        assert!(folder.join("given").exists(), "the agent had its password");
        let text = format!("{:?}", self.cluster.json(&["get", "fencedevice/canary"]));
        assert!(text.contains("[secret]"), "what it printed is told: {text}");
        // A person who writes the password where it does not belong is told so without it.
        let wrong = manifest(&format!(
            "  agent: fence_dummy\n  targets: {{ n2: \"\" }}\n  parameters: {{ password: \"{PASSWORD}\" }}\n"
        ));
        assert!(!self.apply(&wrong).status.success());
        fs::write(folder.join("up"), "").unwrap();
        self.wait("fencedevice/canary", |device| {
            device["status"]["health"] == "Healthy"
        });
        self.ctl(&["fence", "n2", "--force", "--reason", "a test"]);
        self.seen_running(sightings, "fence_canary");
        fs::write(folder.join("go"), "").unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.logs().contains("says off twice") {
            assert!(Instant::now() < deadline, "n2 was not fenced");
            std::thread::yield_now();
        }
    }

    /// Waits until a look at the processes has seen this one and the daemons.
    fn seen_running(&self, sightings: &Mutex<Sightings>, program: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        for wanted in [program, "haftd", "haft-agent"] {
            let folder = self.cluster.folder.path().to_str().unwrap();
            let seen = || {
                let sightings = sightings.lock().unwrap();
                let mut lines = sightings.seen.iter();
                lines.any(|line| line.contains(wanted) && line.contains(folder))
            };
            while !seen() {
                assert!(Instant::now() < deadline, "{wanted} was not seen running");
                std::thread::yield_now();
            }
        }
    }

    fn apply(&mut self, text: &str) -> std::process::Output {
        let path = self.cluster.folder.path().join("object.yaml");
        fs::write(&path, text).unwrap();
        let output = self.ctl(&["apply", "-f", path.to_str().unwrap()]);
        fs::remove_file(path).unwrap();
        output
    }

    /// Runs haftctl and keeps what it says.
    fn ctl(&mut self, words: &[&str]) -> std::process::Output {
        let output = self.cluster.ctl(words);
        self.said.extend(&output.stdout);
        self.said.extend(&output.stderr);
        output
    }

    /// Everything that can be read, through haftctl and as the API's bytes.
    fn listen(&mut self) {
        for words in [
            &["get", "fencedevice/canary", "-o", "yaml"][..],
            &["get", "fencedevice/canary", "-o", "json"],
            &["get", "fencedevice", "-o", "wide"],
            &["get", "node", "-o", "yaml"],
            &["get", "vip", "-o", "yaml"],
            &["describe", "fencedevice/canary"],
            &["describe", "node/n2"],
            &["why", "node/n2"],
            &["why", "vip/web"],
            &["cluster", "status"],
            &["cluster", "status", "-o", "json"],
            &["events"],
            &["events", "-o", "json"],
        ] {
            succeeded(&self.ctl(words));
        }
        assert!(found(TRACER, &self.said), "haftctl tells the tracer");
        // Only who leads reads objects out, and leadership may move at any moment: everybody is asked, again and
        // again, until somebody told the tracer.
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut told = false;
        while !told {
            assert!(Instant::now() < deadline, "the API tells the tracer");
            for node in ["n1", "n2", "n3"] {
                let answers = self.answers(node);
                told |= found(TRACER, &answers);
                self.said.extend(answers);
            }
        }
    }

    /// What a coordinator answers to every method that reads.
    fn answers(&self, node: &str) -> Vec<u8> {
        let mut answers = Vec::new();
        let api = format!("{}:7400", self.cluster.host(node));
        let credentials = credentials(&self.cluster);
        runtime().block_on(async {
            let channel = dial(&api, &credentials).await.unwrap();
            for method in methods() {
                let reads = ["/Get", "/List", "/Why", "/Watch"];
                if !reads.iter().any(|word| method.path.contains(word)) {
                    continue;
                }
                for name in ["", "canary", "n1", "n2", "web"] {
                    let length = u8::try_from(name.len()).unwrap();
                    let body = [&[0x0a, length], name.as_bytes()].concat();
                    match answered(&channel, &method, body).await {
                        Ok(bytes) => answers.extend(bytes),
                        Err(status) => answers.extend(format!("{status:?}").bytes()),
                    }
                }
            }
        });
        answers
    }

    fn logs(&self) -> String {
        let logs = ["n1", "n2", "n3"].map(|node| self.cluster.log_text(node));
        logs.concat()
    }

    /// The logs and what was said hold none of the secrets.
    fn nothing_is_said(&self, when: &str) {
        let search = self.search();
        let agent = fs::read(self.cluster.folder.path().join("agent.log")).unwrap();
        let logs = self.logs().into_bytes();
        let talkative = String::from_utf8_lossy(&logs);
        assert!(talkative.contains("TRACE") && talkative.contains("[secret]"));
        assert!(found(TRACER, &logs), "the logs tell the tracer");
        for (what, bytes) in [
            ("logs of haftd", &logs),
            ("log of haft-agent", &agent),
            ("what haftctl and the API said", &self.said),
        ] {
            let found = search.find(bytes);
            assert!(found.is_empty(), "{what} {when}: {found:?}");
        }
    }

    /// Enough entries for a snapshot, written by a quieter cluster with the same disks.
    fn snapshot(&mut self) {
        for node in ["n1", "n2", "n3"] {
            self.cluster.kill(node);
        }
        self.cluster.log_filter = Some("info,haft_coordinator=debug");
        for node in ["n1", "n2", "n3"] {
            self.cluster.start(node);
        }
        let credentials = credentials(&self.cluster);
        let deadline = Instant::now() + Duration::from_secs(300);
        let mut written = 0;
        // Who loses the lead in the midst of it refuses the rest, which the next one then gets.
        while written < ENTRIES {
            assert!(Instant::now() < deadline, "only {written} entries written");
            let leader = self.leader();
            let api = format!("{}:7400", self.cluster.host(&leader));
            written += runtime().block_on(fill(&api, &credentials, ENTRIES - written));
        }
    }

    fn leader(&self) -> String {
        let status = self.cluster.wait_for("a leader", |status| {
            status["quorum"] == true
                && status["leader"]
                    .as_str()
                    .is_some_and(|name| !name.is_empty())
        });
        status["leader"].as_str().unwrap().to_owned()
    }

    /// No file of the cluster holds a secret but its own, which nobody else may read.
    fn files(&self) {
        let folder = self.cluster.folder.path();
        let traced = Search::new([("tracer", TRACER.as_bytes())]).find_below(folder);
        for node in ["n1", "n2", "n3"] {
            let raft = self.cluster.data(node).join("raft");
            let here = traced.keys().any(|path| path.starts_with(&raft));
            assert!(here, "the search reads the store of {node}: {traced:?}");
        }
        for secret in &self.secrets {
            let search = Search::new([(secret.name.as_str(), secret.bytes.as_slice())]);
            for (path, forms) in search.find_below(folder) {
                let home = secret.homes.iter().any(|home| path.starts_with(home));
                assert!(home, "{forms:?} in {}", path.display());
                assert!(
                    closed(&path, folder),
                    "{} is open to others",
                    path.display()
                );
            }
        }
    }
}

/// Ends the looks at processes, also when the story fails.
struct EndAtDrop<'a>(&'a AtomicBool);

impl Drop for EndAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writes so many entries through one coordinator, and ends early where it refuses one. Returns how many it took.
async fn fill(api: &str, credentials: &Credentials, wanted: u32) -> u32 {
    let Ok(channel) = dial(api, credentials).await else {
        return 0;
    };
    let mut written = 0;
    while written < wanted {
        let calls = (written..written + ABREAST).map(|number| {
            let mut client = VirtualIpServiceClient::new(channel.clone());
            async move { client.apply_virtual_ip(address(number)).await.is_ok() }
        });
        let tasks: Vec<_> = calls.map(|call| tokio::spawn(call)).collect();
        let mut refused = false;
        for task in tasks {
            match task.await.unwrap() {
                true => written += 1,
                false => refused = true,
            }
        }
        if refused {
            break;
        }
    }
    written
}

/// One more version of an object.
fn address(number: u32) -> v1::ApplyVirtualIpRequest {
    let spec = v1::VirtualIpSpec {
        address: "10.9.9.10".to_owned(),
        interface: format!("eth{}", number % 2),
        isolation: v1::Isolation::Lease.into(),
        ..v1::VirtualIpSpec::default()
    };
    v1::ApplyVirtualIpRequest {
        virtual_ip: Some(v1::VirtualIp {
            metadata: Some(v1::ObjectMeta {
                name: "filler".to_owned(),
                ..v1::ObjectMeta::default()
            }),
            spec: Some(spec),
            status: None,
        }),
        options: None,
    }
}

fn found(tracer: &str, bytes: &[u8]) -> bool {
    !Search::new([("it", tracer.as_bytes())])
        .find(bytes)
        .is_empty()
}

/// Whether only the owner reaches a file: by its own mode, or by that of a folder on the way.
fn closed(path: &Path, within: &Path) -> bool {
    path.ancestors()
        .take_while(|above| *above != within)
        .any(|above| fs::metadata(above).unwrap().permissions().mode() & 0o077 == 0)
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn bytes_of_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Neither the daemons nor the agents that they start may leave an image of their memory.
fn images_are_forbidden(sightings: &Sightings) {
    for program in ["haftd --config", "haft-agent --config", "fence_canary"] {
        let mut limits = BTreeSet::new();
        for (line, limit) in sightings.core_limits.values() {
            // unshare and the shell before haft-agent are no part of haft.
            if line.contains(program) && !line.starts_with("unshare") && !line.starts_with("sh ") {
                limits.insert(limit.clone());
            }
        }
        assert_eq!(limits, BTreeSet::from(["0 0".to_owned()]), "{program}");
    }
}
