//! Agents that were started before their order: which of them are its try.

use super::{Bench, soon};
use crate::Secret;
use crate::caller::{DeviceLock, OffVerdict, Parameter, Parameters, Prepared, confirm_off_with};

async fn confirm(bench: &Bench) -> OffVerdict {
    let prepared = Prepared::start(&bench.agent, &bench.parameters, soon()).unwrap();
    let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
    confirm_off_with(&mut turn, &bench.order(), prepared).await
}

#[tokio::test]
async fn only_an_agent_that_knows_of_the_word_is_the_try() {
    let confirmed = |verdict: &OffVerdict| matches!(verdict, OffVerdict::Confirmed { .. });
    // What it did, or could not do, counts: it is not called again, and the next level has waited long enough.
    for (mode, is_confirmed, called) in [
        ("knows", true, &["await-word"][..]),
        ("fails", false, &["await-word"]),
        ("older", true, &["await-word", "off"]),
    ] {
        let bench = Bench::with("fence_haft_ipmi", mode);
        let verdict = confirm(&bench).await;
        assert_eq!(confirmed(&verdict), is_confirmed, "{mode}: {verdict:?}");
        assert_eq!(bench.log(), called, "{mode}");
    }
}

#[tokio::test]
async fn a_secret_that_looks_like_its_words_hides_none_of_them() {
    let mut bench = Bench::with("fence_haft_ipmi", "knows");
    let log = bench.log.path().to_str().unwrap();
    bench.parameters = Parameters::new(vec![
        Parameter::plain("mode", "knows").unwrap(),
        Parameter::plain("log", log).unwrap(),
        Parameter::secret("password", Secret::new("word".to_owned())).unwrap(),
    ])
    .ok()
    .unwrap();
    let verdict = confirm(&bench).await;
    assert!(
        matches!(verdict, OffVerdict::Confirmed { .. }),
        "{verdict:?}"
    );
    assert_eq!(bench.log(), ["await-word"]);
}

#[tokio::test]
async fn parameters_that_a_pipe_may_not_hold_are_left_to_the_order() {
    let bench = Bench::with("fence_haft_ipmi", "knows");
    let long = |length| Parameters::new(vec![Parameter::plain("ip", &"x".repeat(length)).unwrap()]);
    let start = |length| Prepared::start(&bench.agent, &long(length).ok().unwrap(), soon());
    start(3_900).ok().unwrap().dismiss().await;
    assert!(start(4_096).is_err());
}
