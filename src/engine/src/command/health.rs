//! What a probe says of the path to a fence device. Does not probe.

/// What a probe found out about the path to a fence device: its agent's `monitor`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathHealth {
    /// The device answered.
    Healthy,
    /// It did not.
    Failing {
        /// In which way; another way is news, other words are not.
        fault: PathFault,
        /// The agent's words, for people; no secrets.
        why: String,
    },
}

/// In which way a probe fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathFault {
    /// The agent could not be started: it or a secret's file is missing on the leader.
    NotRunnable,
    /// The agent ended with a failure.
    Failed,
    /// The agent did not end in time.
    NoAnswer,
}

impl PathHealth {
    /// Whether both say the same, whatever the words.
    pub fn is_like(&self, other: &PathHealth) -> bool {
        match (self, other) {
            (PathHealth::Healthy, PathHealth::Healthy) => true,
            (
                PathHealth::Failing { fault, .. },
                PathHealth::Failing {
                    fault: other_fault, ..
                },
            ) => fault == other_fault,
            (PathHealth::Healthy, PathHealth::Failing { .. })
            | (PathHealth::Failing { .. }, PathHealth::Healthy) => false,
        }
    }
}
