//! The stories, in the order of a run, and how a run goes.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use haft_lab::bmc::Power;
use haft_lab::say::{print, say};

use crate::cluster::{self, Cluster, PATIENCE};
use crate::guest::Switch;
use crate::image::{self, Content};
use crate::rack::{self, Rack};
use crate::stage::Stage;
use crate::stock::{self, Stock};
use crate::table::{self, Demand, Outcome};

mod isolation;
mod lost;
mod poison;
mod returned;
mod watchdog;
mod whole;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Story {
    /// Guests boot, the cluster forms, both addresses answer.
    Boot,
    /// The watchdog alone, never petted.
    WatchdogBites,
    /// The watchdog alone, in a paused guest.
    WatchdogPauses,
    /// The owner is paused for less than its session.
    ShortPause,
    /// haft-agent is killed and started again.
    AgentRestarted,
    /// The owner of a lease address is paused and resumed.
    LeaseOverlap,
    /// The owner is paused, lost, and resumed while no BMC can be reached.
    Resumed,
    /// The owner is resumed while it is being declared lost and fenced.
    Race,
    /// The owner is paused for good.
    Frozen,
    /// The owner's kernel panics and hangs.
    Hung,
    /// haft-agent is killed and stays away.
    AgentKilled,
    /// One of three loses its power.
    OneOff,
    /// The owner, leader if it can be, is cut from its peers and reaches every BMC.
    Split,
    /// Every link is dead for 90 s.
    LinksFrozen,
    /// All lose their power at once.
    PowerLoss,
    /// A node without any fence device is cut off.
    WatchdogCut,
    /// haft-agent of a watchdog owner is killed and stays away.
    WatchdogAgent,
    /// A healthy owner without a fence device is cut off.
    WatchdogLeaves,
    /// No BMC can be reached; a poison pill is written.
    PoisonPill,
    /// The same, and nobody reads the pill.
    PoisonUnread,
}

impl Story {
    /// In the order of a run.
    pub const ALL: [Self; 20] = [
        Self::Boot,
        Self::WatchdogBites,
        Self::WatchdogPauses,
        Self::ShortPause,
        Self::AgentRestarted,
        Self::LeaseOverlap,
        Self::Resumed,
        Self::Race,
        Self::Frozen,
        Self::Hung,
        Self::AgentKilled,
        Self::OneOff,
        Self::Split,
        Self::LinksFrozen,
        Self::PowerLoss,
        Self::WatchdogCut,
        Self::WatchdogAgent,
        Self::WatchdogLeaves,
        Self::PoisonPill,
        Self::PoisonUnread,
    ];

    /// As it is named on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::WatchdogBites => "watchdog-bites",
            Self::WatchdogPauses => "watchdog-pauses",
            Self::ShortPause => "short-pause",
            Self::AgentRestarted => "agent-restarted",
            Self::LeaseOverlap => "lease-overlap",
            Self::Resumed => "resumed",
            Self::Race => "race",
            Self::Frozen => "frozen",
            Self::Hung => "hung",
            Self::AgentKilled => "agent-killed",
            Self::OneOff => "one-off",
            Self::Split => "split",
            Self::LinksFrozen => "links-frozen",
            Self::PowerLoss => "power-loss",
            Self::WatchdogCut => "watchdog-cut",
            Self::WatchdogAgent => "watchdog-agent",
            Self::WatchdogLeaves => "watchdog-leaves",
            Self::PoisonPill => "poison-pill",
            Self::PoisonUnread => "poison-unread",
        }
    }

    /// What must hold, in one sentence.
    #[must_use]
    pub fn demanded(self) -> &'static str {
        match self {
            Self::Boot => {
                "three guests form a cluster; a lease and a stonith address answer from a client"
            }
            Self::WatchdogBites => {
                "without haft: a guest that opened its watchdog and pets it no more is reset"
            }
            Self::WatchdogPauses => {
                "without haft: a paused guest's watchdog pauses too; the overlap is measured"
            }
            Self::ShortPause => "a pause of 2 s moves nothing and fences nobody",
            Self::AgentRestarted => {
                "an agent that is killed and restarts on the same boot costs no fencing"
            }
            Self::LeaseOverlap => {
                "a lease address overlaps after its owner's resume for at most one ttl"
            }
            Self::Resumed => {
                "no grant of db without proof; the resumed owner lets go by itself, nobody is fenced"
            }
            Self::Race => {
                "an owner resumed around the moment of its fencing: one owner of db, whatever comes first"
            }
            Self::Frozen => {
                "a frozen owner is fenced by its BMC; db is granted only after it was observed off"
            }
            Self::Hung => {
                "a hung kernel is fenced by its BMC; db is granted only after it was observed off"
            }
            Self::AgentKilled => {
                "without its agent the owner is fenced; db is granted only after it was observed off"
            }
            Self::OneOff => "powering off one of three resets no other",
            Self::Split => {
                "both sides of a cut reach every BMC: only the side without quorum is powered off"
            }
            Self::LinksFrozen => "every link dead for 90 s, BMCs included: healing fences nobody",
            Self::PowerLoss => "a whole-cluster power loss starts again without help",
            Self::WatchdogCut => {
                "no fence device at all: a cut owner that hangs is reset by its watchdog before the grant"
            }
            Self::WatchdogAgent => {
                "an agent is killed: the owner's watchdog resets it before the grant"
            }
            Self::WatchdogLeaves => {
                "no fence device at all: a cut owner that is healthy stops by itself and is not reset"
            }
            Self::PoisonPill => {
                "BMC dead: the poison pill on the shared disk resets the owner before the grant"
            }
            Self::PoisonUnread => {
                "BMC dead, nobody reads the pill: the owner's watchdog resets it before the grant"
            }
        }
    }
}

/// Prints the stories.
pub fn list() {
    for story in Story::ALL {
        print(&format!("{:22} {}", story.name(), story.demanded()));
    }
}

/// Runs in the container: builds the rack, forms the cluster, tells the stories, prints the table. The answer is an
/// exit code: 0 only if every story held.
///
/// # Errors
/// The rack or the cluster could not be made.
pub fn run(stock: &Path, folder: &Path, switch: Switch, chosen: &[Story]) -> anyhow::Result<u8> {
    let started = Instant::now();
    let mut boot = Outcome::of(Story::Boot.name(), Story::Boot.demanded());
    let mut stage = set_up(stock, folder, switch, &mut boot)?;
    boot.took(started.elapsed());
    let mut outcomes = vec![boot];
    for story in Story::ALL {
        let wanted = chosen.is_empty() || chosen.contains(&story);
        if story != Story::Boot && wanted {
            outcomes.push(tell(story, &mut stage));
        }
    }
    drop(stage);
    remove_images(folder)?;
    let broken = table::show(&outcomes);
    print(&format!("{} s in all", started.elapsed().as_secs()));
    Ok(u8::from(broken > 0))
}

/// The disks are large and of no more use; consoles and logs stay.
fn remove_images(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn tell(story: Story, stage: &mut Stage) -> Outcome {
    say(&format!("\n{}: {}", story.name(), story.demanded()));
    let started = Instant::now();
    let mut outcome = Outcome::of(story.name(), story.demanded());
    if let Err(error) = perform(story, stage, &mut outcome) {
        outcome.demand("told to its end", Demand::Unmet, &format!("{error:#}"));
    }
    outcome.took(started.elapsed());
    outcome
}

fn perform(story: Story, stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    match story {
        // Told by setting up.
        Story::Boot => Ok(()),
        Story::WatchdogBites => watchdog::bites(stage, outcome),
        Story::WatchdogPauses => watchdog::pauses(stage, outcome),
        Story::ShortPause => returned::short_pause(stage, outcome),
        Story::AgentRestarted => returned::agent_restarted(stage, outcome),
        Story::LeaseOverlap => returned::lease_overlap(stage, outcome),
        Story::Resumed => returned::resumed(stage, outcome),
        Story::Race => returned::race(stage, outcome),
        Story::Frozen => lost::frozen(stage, outcome),
        Story::Hung => lost::hung(stage, outcome),
        Story::AgentKilled => lost::agent_killed(stage, outcome),
        Story::OneOff => lost::one_off(stage, outcome),
        Story::Split => lost::split(stage, outcome),
        Story::LinksFrozen => whole::links_frozen(stage, outcome),
        Story::PowerLoss => whole::power_loss(stage, outcome),
        Story::WatchdogCut => isolation::cut(stage, outcome),
        Story::WatchdogAgent => isolation::agent(stage, outcome),
        Story::WatchdogLeaves => isolation::leaves(stage, outcome),
        Story::PoisonPill => poison::obeyed(stage, outcome),
        Story::PoisonUnread => poison::unread(stage, outcome),
    }
}

fn set_up(
    stock: &Path,
    folder: &Path,
    switch: Switch,
    outcome: &mut Outcome,
) -> anyhow::Result<Stage> {
    say(&format!(
        "\n{}: {}",
        Story::Boot.name(),
        Story::Boot.demanded()
    ));
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    let stock = Stock::open(
        &stock
            .canonicalize()
            .context("target/vm/stock; run scripts/test-vm")?,
    )?;
    let programs = cluster::built_programs()?;
    lab_programs(&programs)?;
    let image = folder.join("image.cpio");
    let content = Content {
        init: image::INIT,
        modules: stock::MODULES,
        programs: &programs,
        files: &cluster::guest_files(),
    };
    image::build(&image, &stock, &content)?;
    let rack = Rack::build(&folder, &stock.kernel, &image, switch)?;
    boot_all(&rack, outcome)?;
    let forming = Instant::now();
    let cluster = Cluster::form(&rack)?;
    let formed = forming.elapsed();
    let mut stage = Stage::set(rack, cluster)?;
    stage.begin("n1", "n1")?;
    outcome.figure(format!(
        "cluster formed {:.0} s later, both addresses answered and stamped after {:.0} s",
        formed.as_secs_f64(),
        forming.elapsed().as_secs_f64()
    ));
    let (target, _) = stage.seen("db")?;
    outcome.demand(
        "the stonith address answers from one node",
        (target.two_owners_ticks == 0).into(),
        "two answered",
    );
    Ok(stage)
}

/// Copies what the lab's own parts run: the BMCs and the judge call this executable by the name of the lab's.
fn lab_programs(programs: &[std::path::PathBuf]) -> anyhow::Result<()> {
    let folder = rack::programs();
    std::fs::create_dir_all(&folder)?;
    for program in programs {
        let name = program.file_name().context("a program without a name")?;
        std::fs::copy(program, folder.join(name))
            .with_context(|| format!("{} is not built", program.display()))?;
    }
    std::fs::copy(std::env::current_exe()?, folder.join("haft-lab"))?;
    Ok(())
}

fn boot_all(rack: &Rack, outcome: &mut Outcome) -> anyhow::Result<()> {
    for guest in &rack.guests {
        guest.power_on()?;
    }
    let mut times = Vec::new();
    for guest in &rack.guests {
        let took = guest.wait_booted(PATIENCE)?;
        times.push(format!("{} {:.0} s", guest.name(), took.as_secs_f64()));
    }
    let kernel = rack.guests[0].sh("uname -r")?;
    outcome.figure(format!(
        "kernel {kernel}; booted together: {}",
        times.join(", ")
    ));
    Ok(())
}
