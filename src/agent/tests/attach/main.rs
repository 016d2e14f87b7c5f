//! The stream's task against coordinators of our own making, over real mutual TLS on loopback.
//!
//! The coordinators here know no Raft: each answers by a script. The lease thread is played by the test.

#![expect(
    clippy::unwrap_used,
    reason = "test code throughout; clippy only knows functions marked as tests"
)]

mod coordinator;

use coordinator::{Authority, Coordinator, Word};
use haft_agent::attach::{Attach, AttachTask};
use haft_agent::hindrances::Hindrances;
use haft_agent::order::{Notice, Order, OrderInbox, Orders, orders};
use haft_api::pb::v1;
use haft_config::timing::{Failover, TimingRequest};
use haft_config::{Config, NodeConfig, Ports};
use haft_engine::clock::Timing;
use haft_engine::command::{NodeRole, Probe};
use haft_engine::ids::{
    BootId, Epoch, Generation, Incarnation, LogIndex, NodeName, ResourceId, Term, Token,
};
use haft_engine::keeper::Output;
use haft_engine::machine::Prefix;
use haft_engine::session::authority::Origin;
use haft_engine::timing::ClusterTiming;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(20);
const LIFE: Incarnation = Incarnation(20);

/// What every coordinator here says that the life counts by.
fn in_force() -> ClusterTiming {
    ClusterTiming {
        generation: Generation(3),
        timing: Timing::NORMAL,
    }
}

/// The task under test with the ends that the lease thread and the process would hold.
struct Agent {
    _orders: Orders,
    inbox: OrderInbox,
    notices: mpsc::Sender<Notice>,
    end: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Agent {
    fn start(authority: &Authority, coordinators: &[&Coordinator], port: u16) -> Agent {
        let nodes = coordinators
            .iter()
            .map(|coordinator| NodeConfig {
                name: NodeName(coordinator.name.clone()),
                addresses: vec![coordinator.host.into()],
                role: NodeRole::Coordinator,
            })
            .collect();
        let config = Config {
            cluster_name: "test".to_owned(),
            timing: Timing::NORMAL,
            timing_request: TimingRequest {
                failover: Failover::Normal,
                overrides: BTreeMap::new(),
            },
            nodes,
            data_dir: "/nonexistent".into(),
            ports: Ports {
                api: port,
                peer: 0,
                beat: 7402,
            },
            watchdog_device: "/dev/null".into(),
            bpf_fs: None,
            sbd: None,
            agent_dirs: Vec::new(),
            probe_every: Duration::from_secs(60),
            tls: None,
            resources: Vec::new(),
        };
        let attach = Attach {
            node: NodeName::from("n9"),
            boot: BootId([7; 16]),
            place: haft_engine::place::Place::default(),
            config,
            credentials: authority.credentials("node/n9"),
            sight: watch::channel(v1::Machine::default()).1,
        };
        let (orders, inbox) = orders().unwrap();
        let (notices, noticed) = mpsc::channel(64);
        let (end, ending) = watch::channel(None);
        let task = AttachTask::new(attach, orders.clone(), noticed, ending);
        Agent {
            _orders: orders,
            inbox,
            notices,
            end,
            task: tokio::spawn(task.run()),
        }
    }

    async fn say(&self, notice: Notice) {
        self.notices.send(notice).await.unwrap();
    }

    /// Says it and waits until the task has heard it.
    async fn tell(&self, notice: Notice) {
        self.say(notice).await;
        let deadline = Instant::now() + PATIENCE;
        while self.notices.capacity() < self.notices.max_capacity() {
            tokio::task::yield_now().await;
            assert!(Instant::now() < deadline, "nobody listens");
        }
    }

    /// The next order that `wanted` takes something of; others before it are passed over.
    async fn await_order<T>(&self, what: &str, wanted: impl Fn(Order) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.inbox.take().and_then(&wanted) {
                Some(found) => return found,
                None => tokio::task::yield_now().await,
            }
            assert!(Instant::now() < deadline, "never ordered: {what}");
        }
    }

    async fn await_begin(&self) -> Incarnation {
        self.await_order("begin", |order| match order {
            Order::Begin(admission) => Some(admission.incarnation),
            Order::Addresses(_) | Order::Assigned(..) | Order::Over(..) | Order::Shutdown => None,
        })
        .await
    }

    async fn await_end(self) {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

fn token() -> Token {
    Token {
        epoch: Epoch(1),
        index: LogIndex(30),
    }
}

fn released() -> Notice {
    Notice::Report(
        LIFE,
        Output::ReportReleased {
            resource: ResourceId::vip("web"),
            token: token(),
        },
    )
}

/// A free port on every loopback address that the tests use.
fn port() -> u16 {
    let probe = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    probe.local_addr().unwrap().port()
}

/// An agent that lives, and its leader.
async fn living() -> (Authority, Coordinator, Agent) {
    let authority = Authority::mint();
    let port = port();
    let mut leader = Coordinator::start(&authority, "n1", 1, port).await;
    let agent = Agent::start(&authority, &[&leader], port);
    agent.say(Notice::Idle(Probe::Clean)).await;
    leader.await_hello().await;
    leader.admit(LIFE);
    agent.await_begin().await;
    (authority, leader, agent)
}

/// The leader's word that the life is over, as the lease thread gets it.
async fn ended(agent: &Agent) -> (Incarnation, Origin) {
    agent
        .await_order("over", |order| match order {
            Order::Over(incarnation, origin) => Some((incarnation, origin)),
            Order::Begin(_) | Order::Addresses(_) | Order::Assigned(..) | Order::Shutdown => None,
        })
        .await
}

#[tokio::test]
async fn an_idle_agent_says_hello_and_is_admitted() {
    let authority = Authority::mint();
    let port = port();
    let mut leader = Coordinator::start(&authority, "n1", 1, port).await;
    let agent = Agent::start(&authority, &[&leader], port);
    agent.say(Notice::Idle(Probe::Clean)).await;
    let hello = leader.await_hello().await;
    assert_eq!(
        (hello.incarnation, hello.probe(), hello.boot_id.clone()),
        (0, v1::Probe::Clean, vec![7; 16])
    );
    leader.admit(LIFE);
    leader.assign(30, &[token()]);
    assert_eq!(agent.await_begin().await, LIFE);
    let assignment = agent
        .await_order("assigned", |order| match order {
            Order::Assigned(_, assignment) => Some(assignment),
            Order::Begin(_) | Order::Addresses(_) | Order::Over(..) | Order::Shutdown => None,
        })
        .await;
    assert_eq!(assignment.items[0].token, token());
}

fn a_tunnel() -> Hindrances {
    Hindrances {
        tunnels: vec![Prefix {
            address: [10, 0, 0, 0].into(),
            bits: 8,
        }],
        ..Hindrances::default()
    }
}

/// The hello has gone without it, and before the welcome nobody would hear it.
#[tokio::test]
async fn what_hinders_between_the_hello_and_the_welcome_is_told_with_the_welcome() {
    let authority = Authority::mint();
    let port = port();
    let mut leader = Coordinator::start(&authority, "n1", 1, port).await;
    let agent = Agent::start(&authority, &[&leader], port);
    agent.say(Notice::Idle(Probe::Clean)).await;
    let hello = leader.await_hello().await;
    assert!(hello.sight.unwrap_or_default().tunnels.is_empty());
    agent.tell(Notice::Hindered(a_tunnel())).await;
    leader.admit(LIFE);
    leader.await_word(&Word::Tunnels(1)).await;
    agent.tell(Notice::Hindered(Hindrances::default())).await;
    leader.await_word(&Word::Tunnels(0)).await;
}

#[tokio::test]
async fn a_follower_is_left_for_the_leader_it_names() {
    let authority = Authority::mint();
    let port = port();
    let mut leader = Coordinator::start(&authority, "n2", 2, port).await;
    let follower = Coordinator::start(&authority, "n1", 1, port).await;
    follower.follow(Some(format!("127.0.0.2:{port}")));
    // The leader is not in the config: only the hint leads there.
    let agent = Agent::start(&authority, &[&follower], port);
    agent.say(Notice::Idle(Probe::Clean)).await;
    assert_eq!(leader.await_hello().await.incarnation, 0);
}

#[tokio::test]
async fn a_lost_stream_is_attached_anew_under_the_same_life() {
    let (_authority, mut leader, _agent) = living().await;
    leader.cut();
    let hello = leader.await_hello().await;
    assert_eq!(
        (hello.incarnation, hello.probe()),
        (LIFE.0, v1::Probe::Unclean)
    );
}

#[tokio::test]
async fn a_leader_that_falls_silent_is_given_up() {
    let (_authority, mut leader, _agent) = living().await;
    leader.answer_no_pings();
    assert_eq!(leader.await_hello().await.incarnation, LIFE.0);
}

#[tokio::test]
async fn a_life_that_is_over_is_let_go_before_a_new_one_is_asked_for() {
    let (_authority, mut leader, agent) = living().await;
    leader.end("SessionEnded");
    let origin = Origin {
        epoch: Epoch(1),
        term: Term(4),
        index: LogIndex(90),
    };
    assert_eq!(ended(&agent).await, (LIFE, origin));
    agent.say(released()).await;
    agent.say(Notice::Idle(Probe::Unclean)).await;
    let hello = leader.await_hello().await;
    assert_eq!((hello.incarnation, hello.probe()), (0, v1::Probe::Unclean));
    // What could not be said on the ended stream was handed over before.
    leader.await_word(&Word::Relayed(30)).await;
}

#[tokio::test]
async fn a_life_that_the_thread_keeps_asks_for_its_stream_again() {
    let (_authority, mut leader, agent) = living().await;
    leader.end("SessionEnded");
    assert_eq!(ended(&agent).await.0, LIFE);
    agent.say(Notice::Stands(LIFE)).await;
    assert_eq!(leader.await_hello().await.incarnation, LIFE.0);
}

#[tokio::test]
async fn a_session_that_the_thread_finds_over_ends_the_stream() {
    let (_authority, mut leader, agent) = living().await;
    agent.say(Notice::Idle(Probe::Clean)).await;
    assert_eq!(leader.await_hello().await.incarnation, 0);
}

#[tokio::test]
async fn without_a_leader_any_coordinator_relays_a_release() {
    let (_authority, mut only, agent) = living().await;
    only.follow(None);
    only.cut();
    agent.say(released()).await;
    only.await_word(&Word::Relayed(30)).await;
}

#[tokio::test]
async fn the_end_waits_until_the_leader_has_taken_the_releases() {
    let authority = Authority::mint();
    let port = port();
    let mut leader = Coordinator::start(&authority, "n1", 1, port).await;
    let agent = Agent::start(&authority, &[&leader], port);
    agent.say(Notice::Idle(Probe::Clean)).await;
    leader.await_hello().await;
    leader.admit(LIFE);
    leader.assign(30, &[token()]);
    agent.await_begin().await;
    agent.end.send(Some(Instant::now() + PATIENCE)).unwrap();
    agent.say(released()).await;
    agent.say(Notice::Idle(Probe::Clean)).await;
    leader.await_word(&Word::Released(30)).await;
    assert!(!agent.task.is_finished());
    leader.assign(31, &[]);
    agent.await_end().await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let authority = Authority::mint();
    let port = port();
    let nobody = Coordinator::start(&authority, "n1", 1, port).await;
    nobody.follow(None);
    let agent = Agent::start(&authority, &[&nobody], port);
    agent.end.send(Some(Instant::now())).unwrap();
    agent.await_end().await;
}

#[tokio::test]
async fn a_coordinator_of_another_authority_is_not_believed() {
    let port = port();
    let stranger = Authority::mint();
    let mut false_leader = Coordinator::start(&stranger, "n1", 1, port).await;
    let authority = Authority::mint();
    let mut leader = Coordinator::start(&authority, "n2", 2, port).await;
    let agent = Agent::start(&authority, &[&false_leader, &leader], port);
    agent.say(Notice::Idle(Probe::Clean)).await;
    leader.await_hello().await;
    assert!(false_leader.has_heard_nothing());
}
