//! What an agent says between its two reads.

use super::{Bench, soon};
use crate::caller::{DeviceLock, OffOrder, OffVerdict, confirm_off, untold};
use std::io::Write as _;

#[tokio::test]
async fn a_first_off_read_is_told_while_the_agent_still_runs() {
    let bench = Bench::with("fence_haft_ipmi", "twice");
    // The agent does not go on before this is written.
    let hear = || {
        let mut log = bench.log.as_file();
        writeln!(log, "heard").unwrap();
    };
    let order = OffOrder {
        first_off_read: &hear,
        ..bench.order()
    };
    let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
    let verdict = confirm_off(&mut turn, &order).await;
    let OffVerdict::Confirmed { evidence } = verdict else {
        panic!("{verdict:?}")
    };
    let words = "fence_haft_ipmi: Success: Powered OFF (two off reads by the agent)";
    assert_eq!(evidence, words);
    let heard = bench.log().iter().filter(|line| *line == "heard").count();
    assert_eq!(heard, 1);
}

#[tokio::test]
async fn a_first_off_read_without_a_second_proves_nothing() {
    let bench = Bench::with("fence_haft_ipmi", "once");
    let order = OffOrder {
        first_off_read: &untold,
        ..bench.order()
    };
    let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
    let verdict = confirm_off(&mut turn, &order).await;
    assert!(matches!(verdict, OffVerdict::Unknown { .. }), "{verdict:?}");
}
