//! What the keeper wants done, in the order in which it is done.
//!
//! What follows from the newest step comes first: an address that is armed is installed before the next one is armed,
//! and a release waits for no other address. Of one step, renewals and pets come first. The keeper waits for the end of
//! an operation before it wants another of the same resource, but for three: it may want a removal at any moment,
//! after which whatever waits is asked again whether it still may; a renewal beside a refresh, whose order does not
//! matter; and an address armed anew, which takes the place of the same one that waits.

use haft_engine::keeper::{Operation, Output};
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Wanted(VecDeque<Output>);

impl Wanted {
    /// What one step has led to.
    pub(super) fn add(&mut self, news: Vec<Output>) {
        let is_old = |old: &Output| is_arm(old) && news.contains(old);
        self.0.retain(|old| !is_old(old));
        let (urgent, rest): (Vec<_>, Vec<_>) = news.into_iter().partition(is_urgent);
        for output in urgent.into_iter().chain(rest).rev() {
            self.0.push_front(output);
        }
    }

    pub(super) fn next(&mut self) -> Option<Output> {
        self.0.pop_front()
    }
}

fn is_arm(output: &Output) -> bool {
    matches!(output, Output::Do(Operation::Arm(..)))
}

fn is_urgent(output: &Output) -> bool {
    matches!(
        output,
        Output::Do(Operation::Renew(_) | Operation::PetWatchdog)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use haft_engine::ids::{Epoch, LogIndex, ResourceId, Token};

    fn key(name: &str) -> (ResourceId, Token) {
        let token = Token {
            epoch: Epoch(1),
            index: LogIndex(30),
        };
        (ResourceId::vip(name), token)
    }

    fn arm(name: &str) -> Output {
        let (resource, token) = key(name);
        Output::Do(Operation::Arm(resource, token))
    }

    fn install(name: &str) -> Output {
        let (resource, token) = key(name);
        Output::Do(Operation::Install(resource, token))
    }

    fn renew(name: &str) -> Output {
        Output::Do(Operation::Renew(vec![key(name)]))
    }

    fn all(mut wanted: Wanted) -> Vec<Output> {
        std::iter::from_fn(|| wanted.next()).collect()
    }

    #[test]
    fn what_follows_from_the_newest_step_comes_first_and_a_renewal_before_the_rest_of_it() {
        let mut wanted = Wanted::default();
        wanted.add(vec![arm("a"), arm("b"), renew("c")]);
        assert_eq!(wanted.next(), Some(renew("c")));
        assert_eq!(wanted.next(), Some(arm("a")));
        wanted.add(vec![install("a")]);
        assert_eq!(all(wanted), [install("a"), arm("b")]);
    }

    #[test]
    fn an_address_that_is_armed_anew_is_armed_once() {
        let mut wanted = Wanted::default();
        wanted.add(vec![arm("a"), arm("b"), arm("c")]);
        wanted.add(vec![arm("b")]);
        assert_eq!(all(wanted), [arm("b"), arm("a"), arm("c")]);
    }
}
