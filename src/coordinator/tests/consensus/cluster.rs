//! A cluster to break: nodes with ids 1, 2, 3, their certificates, directories and ports.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haft_coordinator::consensus::{
    Applied, Compaction, Condition, Consensus, Leadership, LogPosition, Options, Peer, PeerId,
    PeerTls, ProposeError, RestoreError, RowChange, StartError, StateMachine, StopReason,
    StoreIdentity, Timings,
};
use haft_engine::clock::Timing;
use haft_store::{ClusterId, LogStore, OpenOptions, RocksStore, Syncer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use tokio::time::Instant;

use super::links::TestLinks;

/// Long enough for a loaded machine; no test passes or fails by it alone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Those of the preset `normal`, so that a busy machine loses no leader by being busy.
pub(crate) fn timings() -> Timings {
    let normal = Timing::NORMAL;
    Timings {
        heartbeat: normal.raft_heartbeat,
        election_min: normal.election_min,
        election_max: normal.election_max,
    }
}

/// Waits until `state` gives something.
pub(crate) async fn wait_for<T>(what: &str, mut state: impl FnMut() -> Option<T>) -> T {
    let until = deadline();
    loop {
        if let Some(found) = state() {
            return found;
        }
        assert!(Instant::now() < until, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Every command in order; what the cluster agrees on.
pub(crate) type Journal = Arc<Mutex<Vec<String>>>;

/// Appends each command to its journal and answers how many there are.
pub(crate) struct Journalist(pub(crate) Journal);

impl StateMachine for Journalist {
    fn apply(&mut self, at: LogPosition, payload: &[u8], rows: &mut Vec<RowChange>) -> Vec<u8> {
        let mut journal = self.0.lock().unwrap();
        journal.push(String::from_utf8(payload.to_vec()).unwrap());
        rows.push(RowChange::Put {
            key: at.index.to_be_bytes().to_vec(),
            value: payload.to_vec(),
        });
        journal.len().to_string().into_bytes()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.lock().unwrap().join("\n").into_bytes()
    }

    fn restore(
        &mut self,
        _: Option<LogPosition>,
        snapshot: &[u8],
        rows: &mut Vec<RowChange>,
    ) -> Result<(), RestoreError> {
        let text = String::from_utf8(snapshot.to_vec()).map_err(|error| RestoreError {
            reason: error.to_string(),
        })?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        rows.push(RowChange::Put {
            key: b"restored".to_vec(),
            value: snapshot.to_vec(),
        });
        *self.0.lock().unwrap() = lines;
        Ok(())
    }
}

/// The cluster's CA and what it signs.
pub(crate) struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("ca.crt"), certificate.pem()).unwrap();
        Self {
            dir,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key for a URI.
    pub(crate) fn sign(&self, uri: &str) -> PeerTls {
        self.sign_among(uri, self)
    }

    /// The same, for a node that trusts the CA of `others`.
    pub(crate) fn sign_among(&self, uri: &str, others: &Self) -> PeerTls {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (crt, pem) = (self.dir.path().join("n.crt"), self.dir.path().join("n.key"));
        std::fs::write(&crt, certificate.pem()).unwrap();
        std::fs::write(&pem, key.serialize_pem()).unwrap();
        PeerTls::from_files(&others.dir.path().join("ca.crt"), &crt, &pem).unwrap()
    }

    pub(crate) fn node(&self, cluster: ClusterId, name: &str) -> PeerTls {
        self.sign(&format!("haft://{cluster}/node/{name}"))
    }
}

pub(crate) fn name_of(id: PeerId) -> String {
    format!("node{id}")
}

/// One running node.
pub(crate) struct Node {
    pub(crate) consensus: Consensus,
    pub(crate) store: Arc<RocksStore>,
    pub(crate) journal: Journal,
}

/// Where a node lives, running or not.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
    /// Where others reach it.
    pub(crate) address: String,
    listener: Option<TcpListener>,
}

/// A cluster under test.
pub(crate) struct Cluster {
    pub(crate) authority: Authority,
    pub(crate) links: Arc<TestLinks>,
    pub(crate) homes: BTreeMap<PeerId, Home>,
    pub(crate) nodes: BTreeMap<PeerId, Node>,
    pub(crate) compaction: Compaction,
    pub(crate) disk_abort_after: Duration,
}

pub(crate) const A: PeerId = PeerId(1);
pub(crate) const B: PeerId = PeerId(2);
pub(crate) const C: PeerId = PeerId(3);
pub(crate) const ALL: [PeerId; 3] = [A, B, C];

impl Cluster {
    pub(crate) fn new() -> Self {
        Self {
            authority: Authority::new(),
            links: Arc::default(),
            homes: BTreeMap::new(),
            nodes: BTreeMap::new(),
            compaction: Compaction::default(),
            disk_abort_after: PATIENCE * 2,
        }
    }

    /// Node 1 alone, leading.
    pub(crate) async fn single() -> Self {
        Self::single_with(Compaction::default()).await
    }

    pub(crate) async fn single_with(compaction: Compaction) -> Self {
        let mut cluster = Self {
            compaction,
            ..Self::new()
        };
        cluster.house(A);
        cluster.start(A).await;
        let peer = cluster.peer(A);
        cluster.nodes[&A].consensus.initialize(peer).await.unwrap();
        cluster.wait_leader(&[A]).await;
        cluster
    }

    /// Three voters, led by node 1.
    pub(crate) async fn three() -> Self {
        Self::three_with(Compaction::default()).await
    }

    pub(crate) async fn three_with(compaction: Compaction) -> Self {
        let mut cluster = Self::single_with(compaction).await;
        for id in [B, C] {
            cluster.house(id);
            cluster.start(id).await;
        }
        cluster.join_all(&ALL).await;
        for id in ALL {
            wait_for("every node to know that it votes", || {
                let memberships = cluster.nodes[&id].consensus.membership();
                (memberships.borrow().committed.configs == [ALL.into()]).then_some(())
            })
            .await;
        }
        cluster
    }

    /// Adds running nodes as learners and makes `voters` vote.
    pub(crate) async fn join_all(&self, voters: &[PeerId]) {
        let leader = &self.nodes[&A].consensus;
        for id in voters.iter().filter(|id| **id != A) {
            leader
                .add_learner(*id, self.peer(*id), deadline())
                .await
                .unwrap();
        }
        let last = leader.membership().borrow().effective.at;
        let last = match last {
            Some(at) if leader.metrics().committed >= Some(at) => at,
            _ => {
                wait_for("the learners' membership", || {
                    leader.membership().borrow().committed.at
                })
                .await
            }
        };
        let voters = voters.iter().copied().collect();
        leader
            .change_voters(voters, last, deadline())
            .await
            .unwrap();
    }

    /// A directory and a port for a node.
    pub(crate) fn house(&mut self, id: PeerId) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dir = TempDir::new().unwrap();
        self.homes.insert(
            id,
            Home {
                dir,
                address,
                listener: Some(listener),
            },
        );
    }

    pub(crate) fn peer(&self, id: PeerId) -> Peer {
        Peer {
            name: name_of(id),
            addresses: vec![self.homes[&id].address.clone()],
        }
    }

    pub(crate) fn dir(&self, id: PeerId) -> PathBuf {
        self.homes[&id].dir.path().to_owned()
    }

    pub(crate) async fn start(&mut self, id: PeerId) {
        let node = self.try_start(id, None).await.unwrap();
        self.nodes.insert(id, node);
    }

    pub(crate) async fn start_with_disk(&mut self, id: PeerId, syncer: Arc<dyn Syncer>) {
        let node = self.try_start(id, Some(syncer)).await.unwrap();
        self.nodes.insert(id, node);
    }

    /// Starts a node in its home.
    pub(crate) async fn try_start(
        &mut self,
        id: PeerId,
        syncer: Option<Arc<dyn Syncer>>,
    ) -> Result<Node, StartError> {
        let home = self.homes.get_mut(&id).unwrap();
        let port = home.address.clone();
        let listener = home.listener.take();
        let listener = match listener {
            Some(listener) => listener,
            None => wait_for("the old port", || TcpListener::bind(&port).ok()).await,
        };
        let dir = home.dir.path().to_owned();
        self.start_in(id, &dir, listener, syncer).await
    }

    /// Starts a node on any directory and port.
    pub(crate) async fn start_in(
        &self,
        id: PeerId,
        dir: &Path,
        listener: TcpListener,
        syncer: Option<Arc<dyn Syncer>>,
    ) -> Result<Node, StartError> {
        let identity = StoreIdentity {
            cluster: CLUSTER,
            node: id,
            name: name_of(id),
        };
        let mut options = OpenOptions::new(dir.to_owned(), identity);
        if let Some(syncer) = syncer {
            options.syncer = syncer;
        }
        let tls = self.authority.node(CLUSTER, &name_of(id));
        self.start_on(Arc::new(RocksStore::open(options).unwrap()), listener, tls)
            .await
    }

    /// Starts a node in its home, with a certificate of the test's choice.
    pub(crate) async fn start_as(&mut self, id: PeerId, tls: PeerTls) -> Result<Node, StartError> {
        let identity = StoreIdentity {
            cluster: CLUSTER,
            node: id,
            name: name_of(id),
        };
        let store = RocksStore::open(OpenOptions::new(self.dir(id), identity)).unwrap();
        let listener = self.homes.get_mut(&id).unwrap().listener.take().unwrap();
        self.start_on(Arc::new(store), listener, tls).await
    }

    async fn start_on(
        &self,
        store: Arc<RocksStore>,
        listener: TcpListener,
        tls: PeerTls,
    ) -> Result<Node, StartError> {
        let journal = Journal::default();
        let options = Options {
            listener,
            tls,
            timings: timings(),
            compaction: self.compaction,
            disk_abort_after: self.disk_abort_after,
            links: self.links.clone(),
        };
        let machine = Box::new(Journalist(journal.clone()));
        let consensus = Consensus::start(options, store.clone(), machine).await?;
        Ok(Node {
            consensus,
            store,
            journal,
        })
    }

    /// Gives a stopped node an empty directory.
    pub(crate) fn wipe(&mut self, id: PeerId) {
        self.homes.get_mut(&id).unwrap().dir = TempDir::new().unwrap();
    }

    /// Ends a node as a crash would look from outside, and waits until its store is closed.
    pub(crate) async fn stop(&mut self, id: PeerId) {
        let node = self.nodes.remove(&id).unwrap();
        node.consensus.shutdown().await;
        let store: Arc<dyn LogStore> = node.store;
        drop(node.consensus);
        wait_for("the store to close", || {
            (Arc::strong_count(&store) == 1).then_some(())
        })
        .await;
    }

    pub(crate) async fn restart(&mut self, id: PeerId) {
        self.stop(id).await;
        self.start(id).await;
    }

    /// The node among `these` that may act as leader.
    pub(crate) fn leader_of(&self, these: &[PeerId]) -> Option<PeerId> {
        these.iter().copied().find(|id| {
            matches!(
                *self.nodes[id].consensus.leadership().borrow(),
                Leadership::Leader { .. }
            )
        })
    }

    pub(crate) async fn wait_leader(&self, these: &[PeerId]) -> PeerId {
        wait_for("a leader", || self.leader_of(these)).await
    }

    pub(crate) async fn propose(&self, at: PeerId, text: &str) -> Result<Applied, ProposeError> {
        let consensus = &self.nodes[&at].consensus;
        consensus
            .propose(text.as_bytes().to_vec(), Condition::Any, deadline())
            .await
    }

    /// Waits until `to` holds the whole log of the leader `from` and answers it.
    pub(crate) async fn wait_fit(&self, from: PeerId, to: PeerId) {
        wait_for("a fit successor", || {
            let metrics = self.nodes[&from].consensus.metrics();
            let peer = metrics.peers.get(&to).copied().unwrap_or_default();
            let whole = peer.matched.map(|at| at.index) >= metrics.last_log;
            let alive = peer
                .ack_age
                .is_some_and(|age| age < timings().heartbeat * 2);
            (whole && alive && self.nodes[&from].consensus.leads_now().is_some()).then_some(())
        })
        .await;
    }

    /// Moves leadership.
    pub(crate) async fn hand_over(&self, from: PeerId, to: PeerId) {
        self.wait_fit(from, to).await;
        self.nodes[&from]
            .consensus
            .transfer_to(to, deadline())
            .await
            .unwrap();
    }

    /// Proposes through whichever of `these` leads, again after each refusal.
    pub(crate) async fn write(&self, these: &[PeerId], text: &str) -> Applied {
        let until = deadline();
        loop {
            let leader = self.wait_leader(these).await;
            match self.propose(leader, text).await {
                Ok(applied) => return applied,
                Err(ProposeError::Unknown | ProposeError::Stopped) => {
                    panic!("the outcome of {text} is not known")
                }
                Err(error) => assert!(Instant::now() < until, "{text}: {error}"),
            }
        }
    }

    /// Why a node's consensus ended, once it has.
    pub(crate) async fn stop_reason(&self, id: PeerId) -> StopReason {
        let stopped = self.nodes[&id].consensus.stopped();
        tokio::time::timeout_at(deadline(), stopped)
            .await
            .expect("the node stops by itself")
    }

    pub(crate) fn journal(&self, id: PeerId) -> Vec<String> {
        self.nodes[&id].journal.lock().unwrap().clone()
    }

    /// Waits until each of `these` has applied exactly `lines`.
    pub(crate) async fn wait_journal(&self, these: &[PeerId], lines: &[&str]) {
        for id in these {
            wait_for(
                &format!("{lines:?} at node {id}, which has {:?}", self.journal(*id)),
                || (self.journal(*id) == lines).then_some(()),
            )
            .await;
        }
    }

    pub(crate) async fn end(mut self) {
        let ids: Vec<PeerId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.stop(id).await;
        }
    }
}
