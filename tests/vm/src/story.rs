//! The stories, in the order of a run, and how a run goes.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use haft_lab::say::{print, say};

use crate::cluster::{self, Cluster, PATIENCE};
use crate::image::{self, Content};
use crate::rack::{self, Rack};
use crate::stage::Stage;
use crate::stock::Stock;
use crate::table::{self, Demand, Outcome};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Story {
    /// Guests boot, the cluster forms, both addresses answer.
    Boot,
}

impl Story {
    /// In the order of a run.
    pub const ALL: [Self; 1] = [Self::Boot];

    /// As it is named on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
        }
    }

    /// What must hold, in one sentence.
    #[must_use]
    pub fn demanded(self) -> &'static str {
        match self {
            Self::Boot => {
                "three guests form a cluster; a lease and a stonith address answer from a client"
            }
        }
    }

    /// The part that the product lacks for it.
    #[must_use]
    pub fn awaits(self) -> Option<&'static str> {
        AWAITED
            .iter()
            .find(|(story, _)| *story == self)
            .map(|(_, part)| *part)
    }
}

/// Stories whose part of the product is not there yet. A story is switched on by deleting its line.
const AWAITED: &[(Story, &str)] = &[];

/// Prints the stories.
pub fn list() {
    for story in Story::ALL {
        let waits = story
            .awaits()
            .map_or_else(String::new, |part| format!(" (not yet: waits for {part})"));
        print(&format!("{:22} {}{waits}", story.name(), story.demanded()));
    }
}

/// Runs in the container: builds the rack, forms the cluster, tells the stories, prints the table. The answer is an
/// exit code: 0 only if every story that could be told held.
///
/// # Errors
/// The rack or the cluster could not be made.
pub fn run(stock: &Path, folder: &Path, chosen: &[Story]) -> anyhow::Result<u8> {
    let started = Instant::now();
    let mut boot = Outcome::of(Story::Boot.name(), Story::Boot.demanded());
    let mut stage = set_up(stock, folder, &mut boot)?;
    boot.took(started.elapsed());
    let mut outcomes = vec![boot];
    for story in Story::ALL {
        let wanted = chosen.is_empty() || chosen.contains(&story);
        if story != Story::Boot && wanted {
            outcomes.push(tell(story, &mut stage));
        }
    }
    let broken = table::show(&outcomes);
    print(&format!("{} s in all", started.elapsed().as_secs()));
    Ok(u8::from(broken > 0))
}

fn tell(story: Story, stage: &mut Stage) -> Outcome {
    if let Some(part) = story.awaits() {
        return Outcome::awaited(story.name(), story.demanded(), part);
    }
    say(&format!("\n{}: {}", story.name(), story.demanded()));
    let started = Instant::now();
    let mut outcome = Outcome::of(story.name(), story.demanded());
    if let Err(error) = perform(story, stage, &mut outcome) {
        outcome.demand("told to its end", Demand::Unmet, &format!("{error:#}"));
    }
    outcome.took(started.elapsed());
    outcome
}

fn perform(story: Story, _stage: &mut Stage, _outcome: &mut Outcome) -> anyhow::Result<()> {
    match story {
        Story::Boot => Ok(()),
    }
}

fn set_up(stock: &Path, folder: &Path, outcome: &mut Outcome) -> anyhow::Result<Stage> {
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
        programs: &programs,
        files: &cluster::guest_files(),
    };
    image::build(&image, &stock, &content)?;
    let rack = Rack::build(&folder, &stock.kernel, &image)?;
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
    use haft_lab::bmc::Power;
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
