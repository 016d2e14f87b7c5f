//! The agent's actions: from options to exit code and words.
//!
//! It asks the disks in rounds and words what [`crate::poison`] makes of the answers. `off` and
//! `reboot` differ in the pill alone. In haft the proof of isolation is the success of `off` itself;
//! `status` reads only what lies in the slot and proves nothing.

use std::time::{Duration, Instant};

use haft_fence_protocol::Action;
use haft_fence_protocol::agent::{Input, Report, Talk, edge, talk};

use crate::bank::Bank;
use crate::device::Access;
use crate::disk::{Mailbox, Message, Pill, SlotName};
use crate::majority::DiskCount;
use crate::poison::{self, Answer, PoisonError, Reading};
use crate::settings::{Method, Settings};
use crate::spec::AGENT;
use crate::volume::Survey;

/// What an input asks for, as far as it can be told without a disk.
pub enum Task {
    /// Everything is said already.
    Done(Report),
    /// The disks must be asked.
    Disks(Action, Box<Settings>),
}

/// Answers what needs no disk, and checks the rest.
pub fn prepare(input: &Input) -> Task {
    let action = match edge::action(&AGENT, input) {
        Ok(action) => action,
        Err(answer) => return Task::Done(edge::warned(input, answer)),
    };
    let settings = match Settings::read(input, action) {
        Ok(settings) => settings,
        Err(error) => return Task::Done(edge::warned(input, Report::failed(&error.to_string()))),
    };
    match action {
        Action::ValidateAll => {
            Task::Done(edge::warned(input, Report::success("parameters are valid")))
        }
        Action::Off
        | Action::On
        | Action::Reboot
        | Action::Status
        | Action::Monitor
        | Action::List
        | Action::ListStatus
        | Action::Metadata => Task::Disks(action, Box::new(settings)),
    }
}

/// Carries out a task that needs the disks. Must run where a stuck thread hurts nobody
/// ([`crate::front`]).
pub fn carry_out(input: &Input, action: Action, settings: &Settings) -> Report {
    let mut steps = Steps(Vec::new());
    std::thread::sleep(settings.delay);
    let mut report = act(action, settings, &mut steps)
        .unwrap_or_else(|error| Report::failed(&error.to_string()));
    if talk(input) == Ok(Talk::Verbose) {
        report.stderr = edge::lines(steps.0, std::mem::take(&mut report.stderr));
    }
    edge::warned(input, report)
}

/// What was done, for those who want to know.
pub(crate) struct Steps(Vec<String>);

impl Steps {
    pub(crate) const fn untold() -> Self {
        Self(Vec::new())
    }

    fn tell(&mut self, step: String) {
        self.0.push(step);
    }
}

fn act(action: Action, settings: &Settings, steps: &mut Steps) -> Result<Report, PoisonError> {
    let access = match action {
        Action::On | Action::Off | Action::Reboot | Action::Monitor => Access::Write,
        Action::Status
        | Action::List
        | Action::ListStatus
        | Action::Metadata
        | Action::ValidateAll => Access::Read,
    };
    let bank = Bank::open(settings, access);
    match (action, &settings.node) {
        (Action::Off, Some(node)) => {
            let said = isolate(&bank, settings, node, settings.off_pill, steps)?;
            Ok(success("Powered OFF", &said))
        }
        (Action::Reboot, Some(node)) => reboot(&bank, settings, node, steps),
        (Action::On, Some(node)) => {
            let said = leave(&bank, node, Message::Clear)?;
            Ok(success("Powered ON", &said))
        }
        (Action::Status, Some(node)) => status(&bank, node),
        (Action::Monitor, _) => monitor(&bank),
        (Action::List, _) => list(&bank, settings, Columns::Names),
        (Action::ListStatus, _) => list(&bank, settings, Columns::States),
        // Answered before, or refused for want of a node.
        (Action::Metadata | Action::ValidateAll, _)
        | (Action::Off | Action::Reboot | Action::On | Action::Status, None) => {
            Ok(Report::failed("no node given; set plug"))
        }
    }
}

/// Delivers a pill and waits until it counts. The answer is the evidence.
///
/// # Errors
/// See [`PoisonError`]: after any of them the node may be alive or not.
pub(crate) fn isolate(
    bank: &Bank,
    settings: &Settings,
    node: &SlotName,
    pill: Pill,
    steps: &mut Steps,
) -> Result<String, PoisonError> {
    let surveys = bank.survey();
    let plan = poison::plan(bank.count(), node, &surveys)?;
    if settings.power_timeout <= plan.msgwait {
        steps.tell(format!(
            "WARNING: power_timeout ({:?}) should be longer than msgwait ({:?})",
            settings.power_timeout, plan.msgwait
        ));
    }
    // A pill that lies there already is written again: how long it has lain is not known.
    let mailbox = Mailbox::message(Message::Pill(pill), own_name());
    let writes = bank.deliver(node, &plan, &mailbox);
    let last = poison::delivered(bank.count(), &writes)?;
    let verified = writes.iter().flatten().count();
    let all = bank.count().get();
    steps.tell(format!(
        "{} verified on {verified} of {all} disks, waiting {:?}",
        pill.name(),
        plan.msgwait
    ));
    wait_until(last + plan.msgwait);
    poison::undisturbed(bank.count(), &writes, &bank.look(node, &plan))?;
    Ok(format!(
        "{} pill for {node} verified on {verified} of {all} disks, msgwait of {} s over",
        pill.name(),
        plan.msgwait.as_secs()
    ))
}

fn wait_until(at: Instant) {
    // A sleep may end early only by a signal, and std sleeps on; the loop costs nothing.
    loop {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left);
    }
}

/// Puts a message that nobody needs to wait for into the node's mailboxes, verified on a majority.
pub(crate) fn leave(bank: &Bank, node: &SlotName, message: Message) -> Result<String, PoisonError> {
    let plan = poison::plan(bank.count(), node, &bank.survey())?;
    let writes = bank.deliver(node, &plan, &Mailbox::message(message, own_name()));
    poison::delivered(bank.count(), &writes)?;
    Ok(format!(
        "{} for {node} verified on {} of {} disks",
        message.name(),
        writes.iter().flatten().count(),
        bank.count().get()
    ))
}

fn reboot(
    bank: &Bank,
    settings: &Settings,
    node: &SlotName,
    steps: &mut Steps,
) -> Result<Report, PoisonError> {
    match settings.method {
        Method::Cycle => {
            let said = isolate(bank, settings, node, Pill::Reset, steps)?;
            Ok(success("Rebooted", &said))
        }
        Method::OnOff => {
            let said = isolate(bank, settings, node, Pill::Off, steps)?;
            let mut report = success("Rebooted", &said);
            // The node was isolated; that it cannot start again is worth a line, not a failure.
            if let Err(error) = leave(bank, node, Message::Clear) {
                report.stderr = format!("WARNING: the pill was not taken out again: {error}");
            }
            Ok(report)
        }
    }
}

fn status(bank: &Bank, node: &SlotName) -> Result<Report, PoisonError> {
    Ok(match poison::reading(bank.count(), node, &bank.survey())? {
        Reading::NoPill => Report::status_on(),
        Reading::Pill => Report {
            stderr: "WARNING: a pill lies in the slot; whether the node obeyed it is not known"
                .to_owned(),
            ..Report::status_off()
        },
        Reading::Mixed => Report::failed("the disks disagree about the node's mailbox"),
    })
}

fn monitor(bank: &Bank) -> Result<Report, PoisonError> {
    let surveys = bank.survey();
    poison::check(bank.count(), &surveys)?;
    let bad = bank.count().each().zip(&surveys);
    let warnings = bad
        .filter_map(|(disk, answer)| Some(format!("WARNING: {disk}: {}", answer.as_ref().err()?)));
    Ok(Report {
        stderr: warnings.collect::<Vec<_>>().join("\n"),
        ..Report::text(String::new())
    })
}

#[derive(Clone, Copy)]
enum Columns {
    Names,
    States,
}

fn list(bank: &Bank, settings: &Settings, columns: Columns) -> Result<Report, PoisonError> {
    let surveys = bank.survey();
    poison::check(bank.count(), &surveys)?;
    let (mut stdout, mut skipped) = (String::new(), Vec::new());
    for node in known_to_majority(bank.count(), &surveys) {
        let separator = &settings.separator;
        // Callers split lists at white space and punctuation.
        let plain = node.as_text().filter(|text| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        });
        let Some(name) = plain else {
            skipped.push(format!("WARNING: slot name {node:?} cannot be listed"));
            continue;
        };
        let state = match (columns, poison::reading(bank.count(), node, &surveys)) {
            (Columns::Names, _) => String::new(),
            (Columns::States, Ok(Reading::NoPill)) => format!("{separator}on"),
            (Columns::States, Ok(Reading::Pill)) => format!("{separator}off"),
            (Columns::States, Ok(Reading::Mixed) | Err(_)) => format!("{separator}UNKNOWN"),
        };
        stdout.push_str(&format!("{name}{separator}{name}{state}\n"));
    }
    Ok(Report {
        stderr: skipped.join("\n"),
        ..Report::text(stdout)
    })
}

/// Names with a slot on enough disks to be fenced, in the order of the first disk that has them.
fn known_to_majority(count: DiskCount, surveys: &[Answer<Survey>]) -> Vec<&SlotName> {
    let mut names: Vec<&SlotName> = Vec::new();
    let entries = surveys.iter().flatten().flat_map(|survey| &survey.entries);
    for name in entries.filter_map(|entry| entry.name.as_ref()) {
        let known = surveys.iter().flatten();
        let enough = known
            .filter(|survey| survey.slot_of(name).is_some())
            .count()
            >= count.to_fence();
        if enough && !names.iter().any(|other| other.same_node(name)) {
            names.push(name);
        }
    }
    names
}

/// This machine's name in lower case, as the tool signs its messages.
pub(crate) fn own_name() -> SlotName {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().to_ascii_lowercase();
    SlotName::new(&name).unwrap_or_else(|_| {
        SlotName::new("fence_haft_sbd").expect("this name is short and has no spaces")
    })
}

fn success(what: &str, evidence: &str) -> Report {
    let mut report = Report::success(what);
    report.stdout.push_str(evidence);
    report.stdout.push('\n');
    report
}

/// Longest time that one run takes: the delay and msgwait are bounded by a day each.
pub const ACTION_MAX: Duration = Duration::from_secs(49 * 3600);
