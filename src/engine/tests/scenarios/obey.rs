//! What agents do in a story with what the log says of them, and what they report.

use super::*;
use haft_engine::ids::Token;

impl World {
    /// Every agent does what the log says of it, and reports.
    pub(super) fn obey(&mut self) {
        let mut reports = Vec::new();
        for resource in self.state.resources.values() {
            let (Some(holding), id) = (resource.ownership.holding(), resource.id.clone()) else {
                continue;
            };
            let machine = &self.machines[&holding.node];
            let obeys = match machine.agent {
                Agent::Obeys | Agent::Stuck | Agent::Dogless | Agent::Unheard => machine.up,
                Agent::Stubborn | Agent::Stopped => false,
            };
            if !obeys || machine.life != holding.incarnation {
                continue;
            }
            let (token, incarnation) = (holding.token, holding.incarnation);
            if !self.kernels.carries(holding.node) {
                reports.push(released(id, token, incarnation));
                continue;
            }
            match &resource.ownership {
                Ownership::Granted(holding)
                    if holding.isolation == Isolation::Watchdog && !holding.may_have_acted() =>
                {
                    reports.push(if machine.agent == Agent::Dogless {
                        released(id, token, incarnation)
                    } else {
                        Report::Armed(Command::WatchdogArmed {
                            resource: id,
                            token,
                            incarnation,
                            period: Duration::from_secs(1),
                        })
                    });
                }
                Ownership::Granted(holding) if !holding.may_have_acted() => {
                    reports.push(Report::Begun(Command::Begun {
                        resource: id,
                        token,
                        incarnation,
                    }));
                }
                // Nothing more is heard of it.
                Ownership::Granted(_) | Ownership::Releasing(..)
                    if machine.agent == Agent::Unheard => {}
                Ownership::Releasing(..) if machine.agent == Agent::Stuck => {
                    reports.push(Report::Troubled(Command::Troubled {
                        resource: id,
                        token,
                        incarnation,
                        difficulty: Difficulty::Stop,
                        why: "device or resource busy".to_owned(),
                    }));
                }
                Ownership::Granted(_) => reports.push(Report::Activated(Command::Activated {
                    resource: id,
                    token,
                    incarnation,
                    guard: machine.guards,
                    address_life: self.timing.address_life,
                })),
                Ownership::Releasing(..) => reports.push(released(id, token, incarnation)),
                Ownership::Unowned | Ownership::Active(_) | Ownership::Orphaned(_) => {}
            }
        }
        for report in reports {
            self.step_leader(Input::Reported(Box::new(report)));
        }
    }
}

fn released(resource: ResourceId, token: Token, incarnation: Incarnation) -> Report {
    Report::Released(Command::Released {
        resource,
        token,
        incarnation,
    })
}
