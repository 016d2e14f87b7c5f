//! Place 0 of the map, by which frames that cannot be read are judged.

use super::*;
use haft_engine::clock::Moment;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::net::Ipv4Addr;

#[derive(Clone, Debug)]
enum Act {
    Close(u8),
    Renew(Vec<u8>, u64),
    Forget(u8),
    /// Somebody else writes an end into the map, and the next renewal another one.
    Meddle(u8, u64),
    /// Another agent takes the maps over.
    Inherit,
}

fn act() -> impl Strategy<Value = Act> {
    let address = 0..6_u8;
    let several = proptest::collection::vec(address.clone(), 0..4);
    prop_oneof![
        4 => address.clone().prop_map(Act::Close),
        6 => (several, 0..5_u64).prop_map(|(of, end)| Act::Renew(of, end)),
        3 => address.clone().prop_map(Act::Forget),
        2 => (address, 0..5_u64).prop_map(|(of, end)| Act::Meddle(of, end)),
        1 => Just(Act::Inherit),
    ]
}

fn named(number: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, number).into()
}

#[test]
fn place_0_is_the_soonest_of_what_stands_whatever_happens() {
    in_own_namespace(|root| {
        let mut runner = TestRunner::new(Config::with_cases(64));
        let acts = proptest::collection::vec(act(), 1..60);
        let outcome = runner.run(&acts, |acts| {
            let home = Home::within(root).unwrap();
            let mut ends = Ends::open(&home).unwrap();
            for act in acts {
                match &act {
                    Act::Close(one) => ends.close(named(*one)).unwrap(),
                    Act::Renew(of, end) => {
                        let of: Vec<IpAddr> = of.iter().map(|one| named(*one)).collect();
                        ends.renew(&of, Moment(*end));
                    }
                    Act::Forget(one) => ends.forget(named(*one)).unwrap(),
                    Act::Meddle(one, end) => {
                        ends.written_by_another(named(*one), Moment(*end));
                        ends.renew(&[named(*one)], Moment(3));
                    }
                    Act::Inherit => ends = Ends::open(&home).unwrap(),
                }
                let (told, is) = ends.soonest_told_and_true();
                prop_assert_eq!(told, is, "after {:?}", act);
            }
            Ok(())
        });
        outcome.unwrap();
    });
}
