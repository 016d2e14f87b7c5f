//! Three coordinators as real processes on loopback, driven by the real haftctl.
//!
//! No agents: those change the kernel and run only in namespaces (tests/lab). Every process is ended with
//! the value that started it.

use crate::built::{executable, planted};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Each cluster of a test process has a loopback network of its own, so that ports never clash.
static NETWORK: AtomicU16 = AtomicU16::new(1);

/// A cluster on loopback.
pub struct Coordinators {
    /// Holds configs, identities and logs.
    pub folder: tempfile::TempDir,
    network: u16,
    running: Vec<(String, Child)>,
    /// `HAFT_LOG` of what is started from now on; the programs' own default without.
    pub log_filter: Option<&'static str>,
    /// `HAFT_PLANT` of what is started from now on, which is then built with planted bugs; none
    /// without.
    pub plant: Option<&'static str>,
}

impl Coordinators {
    /// A config for three nodes, nothing started.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn prepare() -> Self {
        let network = NETWORK.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        let cluster = Self {
            folder,
            network,
            running: Vec::new(),
            log_filter: None,
            plant: None,
        };
        for node in ["n1", "n2", "n3"] {
            let text = cluster.config_text(node);
            fs::write(cluster.config(node), text).unwrap();
        }
        cluster
    }

    fn config_text(&self, node: &str) -> String {
        let base = self.folder.path().display();
        let nodes: String = (1..=3)
            .map(|n| format!("  - name: n{n}\n    addresses: [{}]\n", self.address(n)))
            .collect();
        format!(
            "cluster:\n  name: suite\ntiming:\n  failover: normal\ndata_dir: {base}/{node}\nnodes:\n{nodes}"
        )
    }

    /// Address of a node's ports, for those that speak to them directly.
    ///
    /// # Panics
    /// When it is none of n1, n2, n3.
    pub fn host(&self, node: &str) -> String {
        self.address(node.strip_prefix('n').unwrap().parse().unwrap())
    }

    fn address(&self, n: u16) -> String {
        let process = std::process::id() % 200 + 10;
        format!("127.{process}.{}.{n}", self.network)
    }

    /// Path of a node's config.
    pub fn config(&self, node: &str) -> PathBuf {
        self.folder.path().join(format!("{node}.yaml"))
    }

    /// Path of a node's data.
    pub fn data(&self, node: &str) -> PathBuf {
        self.folder.path().join(node)
    }

    /// Path of the log of a node's haftd.
    pub fn log(&self, node: &str) -> PathBuf {
        self.folder.path().join(format!("{node}.log"))
    }

    /// Runs haftctl with this cluster's admin context.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        Command::new(executable("haft-ctl", "haftctl"))
            .args(arguments)
            .env("HAFT_CONTEXT", self.folder.path().join("context.yaml"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs haftctl and takes its standard output as JSON.
    ///
    /// # Errors
    /// Its standard error when it fails.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value, String> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        let output = self.ctl(&all);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    /// Starts a node's haftd; its log is appended to.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self, node: &str) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(node))
            .unwrap();
        let mut haftd = match self.plant {
            None => Command::new(executable("haft-coordinator", "haftd")),
            Some(plant) => {
                let mut haftd = Command::new(planted("haft-coordinator", "haftd"));
                haftd.env("HAFT_PLANT", plant);
                haftd
            }
        };
        if let Some(filter) = self.log_filter {
            haftd.env("HAFT_LOG", filter);
        }
        let child = haftd
            .arg("--config")
            .arg(self.config(node))
            .args(["--node", node])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running.push((node.to_owned(), child));
    }

    /// Kills a node's haftd with SIGKILL and reaps it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, node: &str) {
        let at = self
            .running
            .iter()
            .position(|(name, _)| name == node)
            .unwrap();
        let (_, mut child) = self.running.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The process id of a node's haftd.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self, node: &str) -> u32 {
        self.running
            .iter()
            .find(|(name, _)| name == node)
            .unwrap()
            .1
            .id()
    }

    /// Waits until a node's haftd has ended by itself; its exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ended(&mut self, node: &str) -> Option<i32> {
        self.ended_as(node).code()
    }

    /// The same, with the signal that ended it.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ended_as(&mut self, node: &str) -> ExitStatus {
        let at = self
            .running
            .iter()
            .position(|(name, _)| name == node)
            .unwrap();
        let (_, mut child) = self.running.remove(at);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!(
                    "haftd of {node} did not end; its log:\n{}",
                    self.log_text(node)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a node's haftd wrote.
    pub fn log_text(&self, node: &str) -> String {
        fs::read_to_string(self.log(node)).unwrap_or_default()
    }

    /// Init on n1, join on the others, everything started.
    ///
    /// # Panics
    /// When any step fails.
    pub fn form(&mut self) {
        self.init();
        self.start("n1");
        self.grow();
    }

    /// The others join n1, which has been started, and are started.
    ///
    /// # Panics
    /// When any step fails.
    pub fn grow(&mut self) {
        for node in ["n2", "n3"] {
            let token = self.token(node);
            self.join(node, &token);
            self.start(node);
            self.wait_for("the new voter", |status| {
                status["voters"]
                    .as_array()
                    .is_some_and(|voters| voters.contains(&node.into()))
            });
        }
    }

    /// Init on n1; nothing is started.
    ///
    /// # Panics
    /// When it fails.
    pub fn init(&self) {
        let config = self.config("n1");
        let config = config.to_str().unwrap();
        succeeded(&self.ctl(&["cluster", "init", "--config", config, "--node", "n1"]));
    }

    /// Starts n1 alone, after its init, and waits until the log holds the cluster's first entry.
    ///
    /// # Panics
    /// When that does not come about in time.
    pub fn found(&mut self) {
        self.start("n1");
        // A leader has a name once it is registered; before that nothing is known of any node.
        self.wait_for("the founder to be registered", |status| {
            status["quorum"] == true && status["leader"] == "n1"
        });
    }

    /// A fresh join token, in a file.
    ///
    /// # Panics
    /// When none is given in time.
    pub fn token(&self, node: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{node}.token"));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let output = self.ctl(&["cluster", "token", "create", "--node", node]);
            if output.status.success() {
                fs::write(&path, &output.stdout).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                return path;
            }
            assert!(
                Instant::now() < deadline,
                "no token: {}\nlog of n1:\n{}",
                String::from_utf8_lossy(&output.stderr),
                self.log_text("n1")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs `cluster join` and wants success.
    ///
    /// # Panics
    /// When it fails.
    pub fn join(&self, node: &str, token: &Path) {
        succeeded(&self.try_join(node, token));
    }

    /// Runs `cluster join`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn try_join(&self, node: &str, token: &Path) -> Output {
        let (config, token) = (self.config(node), token.to_str().unwrap().to_owned());
        let config = config.to_str().unwrap().to_owned();
        self.ctl(&[
            "cluster",
            "join",
            "--config",
            &config,
            "--node",
            node,
            "--token-file",
            &token,
        ])
    }

    /// Waits until `cluster status` fits.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn wait_for(
        &self,
        what: &str,
        fits: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut last = String::new();
        while Instant::now() < deadline {
            match self.json(&["cluster", "status"]) {
                Ok(status) if fits(&status) => return status,
                Ok(status) => last = status.to_string(),
                Err(error) => last = error,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let logs: String = ["n1", "n2", "n3"]
            .map(|node| format!("-- {node}\n{}", self.log_text(node)))
            .concat();
        panic!("waiting for {what}: {last}\n{logs}");
    }
}

impl Drop for Coordinators {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Wants success, and shows what was said otherwise.
///
/// # Panics
/// When it failed.
pub fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "exit {:?}: {}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
