//! Half-open connections and lost answers.

use std::sync::Arc;

use haft_coordinator::consensus::{Fate, Purpose};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::cluster::{A, ALL, B, C, Cluster};

/// Forwards connections to a node, and can leave those that exist hanging, as a partition does.
struct Proxy {
    address: String,
    epoch: Arc<watch::Sender<u64>>,
}

impl Proxy {
    async fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let epoch = Arc::new(watch::Sender::new(0));
        let hang = Arc::clone(&epoch);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = target.clone();
                let mut hung = hang.subscribe();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else {
                        return;
                    };
                    hung.mark_unchanged();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = hung.changed() => {
                            // Open for ever, and silent: neither side is told.
                            std::future::pending::<()>().await;
                        }
                    }
                });
            }
        });
        Self { address, epoch }
    }

    fn hang_all(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_behind_a_half_open_connection_is_found_again() {
    let mut cluster = Cluster::single().await;
    for id in [B, C] {
        cluster.house(id);
        cluster.start(id).await;
    }
    let proxy = Proxy::before(cluster.homes[&C].address.clone()).await;
    cluster.homes.get_mut(&C).unwrap().address = proxy.address.clone();
    cluster.join_all(&ALL).await;
    cluster.write(&[A], "one").await;
    cluster.wait_journal(&ALL, &["one"]).await;
    proxy.hang_all();
    cluster.write(&[A], "two").await;
    cluster.wait_journal(&ALL, &["one", "two"]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_does_not_lose_the_follower() {
    let cluster = Cluster::three().await;
    cluster.links.set(A, C, Purpose::Log, Fate::LoseAnswer);
    cluster.write(&ALL, "one").await;
    cluster.wait_journal(&[A, B], &["one"]).await;
    cluster.links.heal();
    cluster.write(&ALL, "two").await;
    cluster.wait_journal(&ALL, &["one", "two"]).await;
    cluster.wait_fit(A, C).await;
    cluster.end().await;
}
