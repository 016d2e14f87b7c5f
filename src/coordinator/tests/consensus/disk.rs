//! A disk that hangs.

use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};

use haft_coordinator::consensus::{Condition, Leadership};
use haft_store::Syncer;

use super::cluster::{A, ALL, B, C, Cluster, deadline, wait_for};

/// Syncs unless it is held.
#[derive(Default)]
struct Disk {
    held: Mutex<bool>,
    changed: Condvar,
}

impl Disk {
    fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.changed.notify_all();
    }
}

/// Lets the disk go when the test ends, also when it fails: a held flusher would never be joined.
struct LetGo(Arc<Disk>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Syncer for Disk {
    fn sync(&self, flush: &mut dyn FnMut() -> Result<(), String>) -> Result<(), String> {
        let held = self.held.lock().unwrap();
        drop(self.changed.wait_while(held, |held| *held).unwrap());
        flush()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_gives_way() {
    let mut cluster = Cluster::three().await;
    let disk = Arc::new(Disk::default());
    cluster.stop(A).await;
    cluster.start_with_disk(A, disk.clone()).await;
    // The restarted node may have been elected already.
    let leader = cluster.wait_leader(&ALL).await;
    if leader != A {
        cluster.hand_over(leader, A).await;
    }
    wait_for("node 1 to lead", || cluster.nodes[&A].consensus.leads_now()).await;
    let _let_go = LetGo(disk.clone());
    disk.hold();
    // Nothing is written: the leader probes its disk by itself.
    wait_for("the end of its leadership", || {
        let leads = *cluster.nodes[&A].consensus.leadership().borrow();
        (!matches!(leads, Leadership::Leader { .. })).then_some(())
    })
    .await;
    cluster.wait_leader(&[B, C]).await;
    cluster.write(&[B, C], "one").await;
    disk.release();
    cluster.wait_journal(&ALL, &["one"]).await;
    cluster.end().await;
}

const CHILD: &str = "HAFT_CONSENSUS_TEST_CHILD";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_too_long_aborts_the_process() {
    if std::env::var_os(CHILD).is_some() {
        let mut cluster = Cluster::new();
        cluster.disk_abort_after = super::cluster::timings().election_max;
        cluster.house(A);
        let disk = Arc::new(Disk::default());
        cluster.start_with_disk(A, disk.clone()).await;
        cluster.nodes[&A]
            .consensus
            .initialize(cluster.peer(A))
            .await
            .unwrap();
        cluster.wait_leader(&[A]).await;
        let _let_go = LetGo(disk.clone());
        disk.hold();
        // Without the abort this ends with an error at its deadline, and the parent sees no signal.
        let stuck = cluster.nodes[&A]
            .consensus
            .propose(b"x".to_vec(), Condition::Any, deadline());
        stuck.await.unwrap();
        return;
    }
    let output = tokio::task::spawn_blocking(|| {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "disk::a_disk_that_hangs_too_long_aborts_the_process",
            ])
            .env(CHILD, "1")
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(6), "{output:?}");
}
