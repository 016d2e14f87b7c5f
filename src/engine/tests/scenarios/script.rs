//! Reads a story line by line and compares what it expects with the world.
//!
//! A failure names the line, what was expected and what was found, and the newest events.

use super::world::World;
use haft_engine::clock::Timing;
use haft_engine::command::{FenceAction, HoldReason, Probe, Verdict};
use haft_engine::spec::{Isolation, Observes, Scheduling};
use haft_engine::state::{OrderPhase, Ownership, Proof, Session};
use haft_engine::why::{Subject, why};
use std::time::Duration;

/// Runs a story; the error is `line: what went wrong`.
pub(crate) fn run(text: &str) -> Result<(), String> {
    let mut world = World::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        step(&mut world, line)
            .map_err(|why| format!("{}: {line}\n    {why}\n{}", number + 1, world.tail()))?;
    }
    Ok(())
}

fn step(world: &mut World, line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["preset", "relaxed"] => {
            world.count_by(Timing::RELAXED);
            Ok(())
        }
        ["cluster", names @ ..] => world.form(names),
        ["lead", name] => world.lead(name),
        ["run", span] => world.run(span_of(span)?),
        ["lose", name] => world.lose(name),
        ["return", name, boot, "boot", probe] => {
            let probe = match *probe {
                "clean" => Probe::Clean,
                "unclean" => Probe::Unclean,
                other => return Err(format!("no probe is called {other}")),
            };
            world.come_back(name, *boot == "new", probe)
        }
        ["agent", name, word] => world.agent(name, word),
        ["deaf", name, "to", agent] => world.cut(name, agent),
        ["hears", name, agent] => world.heal(name, agent),
        ["log", word] => world.log(word),
        ["kernel", name, what, word] => world.kernel(name, what, word),
        ["rival", name, id, word] => world.rival(name, id, word),
        ["refused", reason, rest @ ..] => {
            let attempt = step(world, &rest.join(" "));
            match attempt {
                Ok(()) => Err("it was accepted".to_owned()),
                Err(why) if why.starts_with(reason) => Ok(()),
                Err(why) => Err(why),
            }
        }
        ["executor", "answers", verdict] => {
            let verdict = match *verdict {
                "confirmed" => Verdict::Confirmed,
                "refused" => Verdict::Refused,
                "unknown" => Verdict::Unknown,
                other => return Err(format!("no verdict is called {other}")),
            };
            world.answer(verdict)
        }
        ["executor", "answers", "confirmed", "against", by] => world.answer_against(by),
        ["answers", name, "to", by] => world.testify(name, by),
        ["expect", rest @ ..] => expect(world, rest, line),
        _ => administer(world, &words),
    }
}

/// What an administrator does.
fn administer(world: &mut World, words: &[&str]) -> Result<(), String> {
    match words {
        ["device", name, "targets", target] => world.device(name, target, 1, Observes::Power),
        ["device", name, "targets", target, "storage"] => {
            world.device(name, target, 1, Observes::Storage)
        }
        ["device", name, "targets", target, "level", level] => {
            let level = level.parse().map_err(|_| "bad level".to_owned())?;
            world.device(name, target, level, Observes::Power)
        }
        ["topology", name, "of", nodes, rest @ ..] => world.topology(name, nodes, rest),
        ["after-fence", "power-on"] => {
            world.power_on_after_fence();
            Ok(())
        }
        ["feed", name] => {
            world.set_feed(name);
            Ok(())
        }
        ["path", device, "answers"] => {
            world.set_path(device, None);
            Ok(())
        }
        ["path", device, "fails", words @ ..] => {
            world.set_path(device, Some(words.join(" ")));
            Ok(())
        }
        ["vip", name, isolation, rest @ ..] => {
            let isolation = match *isolation {
                "lease" => Isolation::Lease,
                "stonith" => Isolation::Stonith,
                "watchdog" => Isolation::Watchdog,
                other => return Err(format!("no isolation is called {other}")),
            };
            world.vip(name, isolation, rest)
        }
        ["delete", id] => world.delete(id),
        ["move", id, to] => world.move_to(id, to),
        ["schedule", name, word] => {
            let scheduling = match *word {
                "open" => Scheduling::Open,
                "cordoned" => Scheduling::Cordoned,
                "standby" => Scheduling::Standby,
                other => return Err(format!("no scheduling is called {other}")),
            };
            world.schedule(name, scheduling)
        }
        ["fence", name] => world.order_fence(name, FenceAction::Off),
        ["power-on", name] => world.order_fence(name, FenceAction::On),
        ["confirm-off", name] => world.confirm_off(name),
        _ => Err("no such word; see README.md".to_owned()),
    }
}

pub(crate) fn span_of(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is not a span");
    if let Some(ms) = text.strip_suffix("ms") {
        return ms.parse().map(Duration::from_millis).map_err(|_| wrong());
    }
    let seconds = text.strip_suffix('s').ok_or_else(wrong)?;
    seconds
        .parse()
        .map(Duration::from_secs)
        .map_err(|_| wrong())
}

fn expect(world: &World, words: &[&str], line: &str) -> Result<(), String> {
    let found = match words {
        ["session", name, ..] => session(world, name)?,
        ["evidence", id, ..] => evidence(world, id)?,
        ["order", name, ..] => order(world, name)?,
        ["told", "once", reason] => return world.expect_once(reason),
        ["told", reason, text @ ..] => return world.expect_told(reason, &text.join(" ")),
        ["event", reason] => return world.expect_event(reason),
        ["no", "event", reason] => {
            return match world.expect_event(reason) {
                Ok(()) => Err("there is such an event".to_owned()),
                Err(_) => Ok(()),
            };
        }
        ["one", "entry", kinds @ ..] => return world.expect_entry(kinds),
        ["executor", "calls", ..] => world.calls(),
        ["executor", ..] => world.executor(),
        ["transfer", ..] => world.transfer(),
        ["why", "not", subject, "says", ..] => {
            let told = expect(world, &["why", subject, "says"], line);
            return match told {
                Ok(()) => Err("why says so".to_owned()),
                Err(_) => Ok(()),
            };
        }
        ["why", subject, "says", ..] => {
            let wanted = line.split_once(" says ").map_or("", |(_, text)| text);
            let subject = Subject::parse(subject).ok_or("not a subject")?;
            let report = why(&world.state, &subject)
                .ok_or("no such thing")?
                .to_string();
            return if report.contains(wanted) {
                Ok(())
            } else {
                Err(format!("why says:\n{report}"))
            };
        }
        [id, ..] => ownership(world, id)?,
        [] => return Err("expect what?".to_owned()),
    };
    let skip = match words {
        ["session" | "evidence" | "order", ..] => 2,
        _ => 1,
    };
    let wanted = words[skip..].join(" ");
    if found == wanted {
        Ok(())
    } else {
        Err(format!("found: {found}"))
    }
}

fn ownership(world: &World, id: &str) -> Result<String, String> {
    let resource = match world.resource(id) {
        Ok(resource) => resource,
        Err(_) => return Ok("gone".to_owned()),
    };
    let on = |word: &str, node| format!("{word} on {}", world.name(node));
    Ok(match &resource.ownership {
        Ownership::Unowned => "unowned".to_owned(),
        Ownership::Granted(holding) => on("granted", holding.node),
        Ownership::Active(holding) => on("active", holding.node),
        Ownership::Releasing(holding, _) => on("releasing", holding.node),
        Ownership::Orphaned(_) => "orphaned".to_owned(),
    })
}

fn session(world: &World, name: &str) -> Result<String, String> {
    Ok(match world.node(name)?.session {
        Session::Never => "never",
        Session::Open { .. } => "open",
        Session::Closing { .. } => "closing",
        Session::Ended { ending, .. } => match ending {
            haft_engine::state::Ending::Expired => "lost",
            haft_engine::state::Ending::Fenced => "fenced",
        },
    }
    .to_owned())
}

fn evidence(world: &World, id: &str) -> Result<String, String> {
    let resource = world.resource(id)?;
    Ok(
        match resource.evidence.as_ref().map(|evidence| &evidence.proof) {
            None => "none",
            Some(Proof::Released) => "released",
            Some(Proof::NeverBegun) => "never begun",
            Some(Proof::ProbedClean) => "probed clean",
            Some(Proof::Fenced { .. }) => "fenced",
            Some(Proof::Rebooted { .. }) => "rebooted",
            Some(Proof::LeaseExpired { .. }) => "lease expired",
            Some(Proof::LifetimeLapsed { .. }) => "lifetime lapsed",
            Some(Proof::WatchdogLapsed { .. }) => "watchdog lapsed",
            Some(Proof::ConfirmedByHuman { .. }) => "confirmed by human",
        }
        .to_owned(),
    )
}

fn order(world: &World, name: &str) -> Result<String, String> {
    let node = world.node(name)?.id;
    let newest = world
        .state
        .orders
        .values()
        .rfind(|order| order.node == node);
    Ok(match newest.map(|order| &order.phase) {
        None => "none".to_owned(),
        Some(OrderPhase::Intended) => "intended".to_owned(),
        Some(OrderPhase::Held(HoldReason::Quorum)) => "held for quorum".to_owned(),
        Some(OrderPhase::Held(HoldReason::NoDevice)) => "held without device".to_owned(),
        Some(OrderPhase::Running { attempt, level, .. }) => {
            format!("running attempt {attempt} level {level}")
        }
        Some(OrderPhase::Waiting { .. }) => "waiting".to_owned(),
        Some(OrderPhase::Confirmed) => "confirmed".to_owned(),
        Some(OrderPhase::Cancelled(_)) => "cancelled".to_owned(),
    })
}
