//! What agents report of their machines and of the wire, until the log says it.

use super::*;
use crate::keeper::Carrier;
use crate::leader::Stream;
use crate::leader::placement::{Ineligible, eligible};
use crate::machine::{Carries, Claim, Link, Machine, Obstacle};
use crate::spec::ObjectRef;

/// More than one entry takes.
const ADDRESSES: u16 = 300;

fn claim() -> Claim {
    Claim {
        mac: [2, 0, 0, 0, 0, 0x66],
        link: "eth0".to_owned(),
    }
}

impl Stage {
    fn report(&mut self, input: Input) {
        let outputs = self.step(input);
        self.settle(outputs);
    }

    fn rival(&mut self, place: usize, id: &ResourceId, rival: Option<Claim>) {
        self.report(Input::RivalReported {
            node: self.ids[place],
            resource: id.clone(),
            rival,
        });
    }

    fn link(&mut self, place: usize, carrier: Carrier) {
        self.link_that(place, carrier, Carries::Any);
    }

    fn link_that(&mut self, place: usize, carrier: Carrier, carries: Carries) {
        let link = Link {
            names: vec!["eth0".to_owned()],
            carrier,
            carries,
        };
        let machine = Machine::new(self.now.0, vec![link], Vec::new()).expect("it is small");
        self.report(Input::MachineSeen {
            node: self.ids[place],
            machine: Box::new(machine),
            stream: Stream::Goes,
        });
    }

    fn many_addresses(&mut self) {
        for number in 0..ADDRESSES {
            let [high, low] = number.to_be_bytes();
            let spec = VirtualIpSpec {
                address: IpAddr::V4(Ipv4Addr::new(198, 18, high, low)),
                interface: "eth0".to_owned(),
                isolation: Isolation::Lease,
                unfenced: Unfenced::Allowed,
                preference: Vec::new(),
                failback: Failback::Never,
            };
            let id = ResourceId::vip(&format!("v{number}"));
            self.put(ObjectSpec::Resource(id, ResourceSpec::VirtualIp(spec)));
        }
    }

    fn obstructed(&self, place: usize) -> usize {
        let on = self.state.obstacles.values();
        on.filter(|nodes| nodes.contains_key(&self.ids[place]))
            .count()
    }
}

#[test]
fn a_rival_that_one_node_heard_is_over_by_the_word_of_the_next_owner() {
    let mut stage = Stage::new();
    let id = stage.vip(Isolation::Lease, "n2");
    stage.rival(1, &id, Some(claim()));
    assert_eq!(stage.state.rivals[&id].by, stage.ids[1]);
    stage.now = stage.now + Duration::from_secs(2);
    stage.rival(2, &id, None);
    assert_eq!(stage.state.rivals.get(&id), None);
}

#[test]
fn a_rival_goes_with_the_node_that_heard_it() {
    let mut stage = Stage::new();
    let id = stage.vip(Isolation::Lease, "n2");
    stage.rival(2, &id, Some(claim()));
    let node = stage.ids[2];
    let sets = VoterSets {
        at: EntryId::new(1, 60),
        sets: vec![stage.ids[..2].iter().copied().collect()],
    };
    let incarnation = stage.state.nodes[&node].newest();
    stage.commit(vec![
        Command::Membership(sets),
        Command::Closing { node, incarnation },
    ]);
    let closing = LogIndex(stage.index);
    let ages = [0, 1].map(|by| stage.age(by, lengthened(TIMING.ttl)));
    stage.commit(vec![Command::Expired {
        node,
        incarnation,
        closing,
        ages: ages.to_vec(),
    }]);
    let outcomes = stage.commit(vec![Command::Delete {
        object: ObjectRef::Node(NodeName::from("n3")),
        expected: None,
        request: RequestId::default(),
    }]);
    assert_eq!(outcomes, [Outcome::Done]);
    assert_eq!(stage.state.rivals.get(&id), None);
}

#[test]
fn obstacles_that_one_entry_has_no_room_for_are_told_in_the_next() {
    let mut stage = Stage::new();
    stage.many_addresses();
    stage.link(1, Carrier::Down);
    assert_eq!(stage.obstructed(1), usize::from(ADDRESSES));
    stage.now = stage.now + Duration::from_secs(5);
    stage.link(1, Carrier::Up);
    // At the same moment: none of them has come and gone lately.
    let outputs = stage.tick(Duration::ZERO);
    stage.settle(outputs);
    assert_eq!(stage.obstructed(1), 0);
    // It goes and comes again at once: what came is told, what went waits.
    stage.link(1, Carrier::Down);
    assert_eq!(stage.obstructed(1), usize::from(ADDRESSES));
    stage.now = stage.now + MS;
    stage.link(1, Carrier::Up);
    assert_eq!(stage.obstructed(1), usize::from(ADDRESSES));
    let outputs = stage.tick(Duration::from_secs(2));
    stage.settle(outputs);
    assert_eq!(stage.obstructed(1), 0);
}

#[test]
fn an_interface_that_the_gate_refuses_is_no_place_for_an_address_until_it_does_not() {
    let mut stage = Stage::new();
    let id = stage.vip(Isolation::Lease, "n2");
    let node = stage.ids[2];
    let place = |stage: &Stage| {
        let state = &stage.state;
        eligible(state, &state.resources[&id], &state.nodes[&node])
    };
    let shaped = "its queue (tbf)".to_owned();
    stage.link_that(2, Carrier::Up, Carries::Nothing(shaped.clone()));
    let told = stage.state.obstacle(&id, node);
    assert_eq!(told, Some(&Obstacle::Ungated(shaped)));
    assert_eq!(place(&stage), Err(Ineligible::Obstructed));
    // What a report of the same moment takes back is believed at once, as a carrier is.
    stage.now = stage.now + MS;
    stage.link(2, Carrier::Up);
    assert_eq!(stage.state.obstacle(&id, node), None);
    assert_eq!(place(&stage), Ok(()));
}
