//! `haft-lab check`: the lab proves its own parts, without haft. BMCs tell the truth about power, a power cycle gives
//! a fresh boot id, the judge sees one owner as one and, when Keepalived's owner is cut from its peers, two as two.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::bmc;
use crate::judge::Judge;
use crate::keepalived;
use crate::lab::{Lab, own_directory};
use crate::say::say;
use crate::shell;
use crate::site::Site;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the check found; it fails by error where a promise does not hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Findings {
    /// Whole `ipmitool chassis power off`, until the process tree was reaped and the ports were down.
    pub power_off_ms: f64,
    /// Whole `ipmitool chassis power status`.
    pub power_status_ms: f64,
    /// Whole `fence_haft_ipmi` off, two off reads included, if it is built.
    pub fence_off_ms: Option<f64>,
    /// From power on to PID 1 being up with its network.
    pub boot_ms: f64,
    /// With one owner, undisturbed: longest time between answers to the judge.
    pub quiet_gap_ms: f64,
    /// With the owner cut from its peers: time with two owners.
    pub isolated_two_owners_ms: f64,
    /// The judge's worst stall during that.
    pub worst_stall_ms: f64,
}

/// Runs the check on a site of its own.
///
/// # Errors
/// The first promise that does not hold.
pub fn run() -> anyhow::Result<Findings> {
    let lab = Lab::open(&own_directory()?, &[])?;
    let mut site = lab.site("k", 2, "k")?;
    site.start_bmcs()?;
    let vip = keepalived::install(&site)?;
    let (power_off_ms, power_status_ms, boot_ms) = check_power(&site)?;
    let fence_off_ms = check_fence_agent(&site)?;
    for node in &site.nodes {
        node.power_on()?;
    }
    let hand = [
        IpAddr::V4(site.address(120)),
        IpAddr::V6(site.address6(0x120)),
    ];
    let targets = [
        ("vip", IpAddr::V4(vip)),
        ("hand4", hand[0]),
        ("hand6", hand[1]),
    ];
    let mut judge = site.judge(
        targets
            .map(|(name, address)| (name.to_owned(), address))
            .into(),
    )?;
    let quiet_gap_ms = check_quiet(&mut judge)?;
    check_by_hand(&site, &mut judge, hand)?;
    let (isolated_two_owners_ms, worst_stall_ms) = check_isolated(&site, &mut judge)?;
    Ok(Findings {
        power_off_ms,
        power_status_ms,
        fence_off_ms,
        boot_ms,
        quiet_gap_ms,
        isolated_two_owners_ms,
        worst_stall_ms,
    })
}

fn ipmitool(site: &Site, index: u8, words: &[&str]) -> anyhow::Result<(String, f64)> {
    let address = site.bmc_address(index).to_string();
    let mut command = Command::new("ipmitool");
    command
        .args([
            "-I",
            "lanplus",
            "-C",
            "3",
            "-H",
            &address,
            "-U",
            bmc::USER,
            "-P",
            bmc::PASSWORD,
        ])
        .args(words);
    let begin = Instant::now();
    let text = shell::run(&mut command)?;
    Ok((
        text.trim().to_owned(),
        begin.elapsed().as_secs_f64() * 1000.0,
    ))
}

fn check_power(site: &Site) -> anyhow::Result<(f64, f64, f64)> {
    let node = &site.nodes[0];
    shell::wait_for("the BMC to answer", PATIENCE, || {
        ipmitool(site, 1, &["chassis", "power", "status"]).map(Some)
    })?;
    let begin = Instant::now();
    node.power_on()?;
    let boot_ms = begin.elapsed().as_secs_f64() * 1000.0;
    let boot_id = |node: &crate::machine::Machine| -> anyhow::Result<String> {
        shell::run(node.command("cat")?.arg("/proc/sys/kernel/random/boot_id"))
    };
    let first = boot_id(node)?;
    let (on, power_status_ms) = ipmitool(site, 1, &["chassis", "power", "status"])?;
    ensure!(on.ends_with("is on"), "a running machine reads `{on}`");
    node.crash()?;
    let (crashed, _) = ipmitool(site, 1, &["chassis", "power", "status"])?;
    ensure!(
        crashed.ends_with("is on"),
        "a crashed machine reads `{crashed}`"
    );
    ipmitool(site, 1, &["chassis", "power", "off"])?;
    ipmitool(site, 1, &["chassis", "power", "on"])?;
    shell::wait_for("the machine to start", PATIENCE, || Ok(node.init()))?;
    ensure!(boot_id(node)? != first, "a power cycle kept the boot id");
    let (_, power_off_ms) = ipmitool(site, 1, &["chassis", "power", "off"])?;
    shell::wait_for("off to be read", PATIENCE, || {
        Ok(ipmitool(site, 1, &["chassis", "power", "status"])?
            .0
            .ends_with("is off")
            .then_some(()))
    })?;
    ensure!(
        node.init().is_none(),
        "off was read while the process tree lived"
    );
    say(&format!(
        "BMC: off in {power_off_ms:.0} ms, status in {power_status_ms:.0} ms, start in {boot_ms:.0} ms"
    ));
    Ok((power_off_ms, power_status_ms, boot_ms))
}

/// Our own fence agent against the same BMC, by the ClusterLabs contract: parameters on stdin.
fn check_fence_agent(site: &Site) -> anyhow::Result<Option<f64>> {
    let agent = own_directory()?.join("fence_haft_ipmi");
    if !agent.exists() {
        return Ok(None);
    }
    let node = &site.nodes[0];
    node.power_on()?;
    let input = format!(
        "action=off\nip={}\nusername={}\npassword={}\n",
        site.bmc_address(1),
        bmc::USER,
        bmc::PASSWORD
    );
    let begin = Instant::now();
    shell::feed(&mut Command::new(agent), &input)?;
    let took = begin.elapsed().as_secs_f64() * 1000.0;
    ensure!(
        node.reads_off() && node.init().is_none(),
        "the agent said off and the machine lived"
    );
    say(&format!(
        "fence_haft_ipmi: off, twice read, in {took:.0} ms"
    ));
    Ok(Some(took))
}

fn check_quiet(judge: &mut Judge) -> anyhow::Result<f64> {
    judge.wait_owner("vip", "k1", PATIENCE)?;
    judge.begin()?;
    let report = shell::wait_for("two quiet seconds", PATIENCE, || {
        Ok(Some(judge.report()?).filter(|r| r.duration_ms >= 2000.0))
    })?;
    let vip = report.targets.get("vip").context("no target vip")?;
    ensure!(
        vip.two_owners_ticks == 0,
        "two owners were seen where there is one: {:?}",
        vip.timeline
    );
    say(&format!(
        "quiet: longest gap {:.1} ms, worst stall {:.1} ms",
        vip.longest_gap_ms, report.worst_stall_ms
    ));
    Ok(vip.longest_gap_ms)
}

/// The targets that are put on by hand.
const HAND: [&str; 2] = ["hand4", "hand6"];

/// Whether every target put on by hand had two owners in one tick of this segment.
fn doubles_seen(judge: &mut Judge) -> anyhow::Result<bool> {
    let report = judge.report()?;
    Ok(HAND
        .iter()
        .all(|target| report.targets[*target].two_owners_ticks > 0))
}

/// Addresses put on by hand, IPv4 and IPv6: nobody, one owner, two owners, the other alone.
fn check_by_hand(site: &Site, judge: &mut Judge, addresses: [IpAddr; 2]) -> anyhow::Result<()> {
    let set = |verb: &str, node: usize| -> anyhow::Result<()> {
        for address in addresses {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            let mut command = site.nodes[node].network_command("ip")?;
            command.args(["addr", verb, &format!("{address}/{prefix}"), "dev", "eth0"]);
            if address.is_ipv6() && verb == "add" {
                command.arg("nodad");
            }
            shell::run(&mut command)?;
        }
        Ok(())
    };
    for (change, owners) in [
        (None, &[][..]),
        (Some(("add", 0)), &["k1"]),
        (Some(("add", 1)), &["k1", "k2"]),
        (Some(("del", 0)), &["k2"]),
        (Some(("del", 1)), &[]),
    ] {
        if let Some((verb, node)) = change {
            set(verb, node)?;
        }
        shell::wait_for(
            &format!("{owners:?} to answer after {change:?}"),
            PATIENCE,
            || {
                let now = judge.now()?;
                if !HAND.iter().all(|target| now.owners[*target] == *owners) {
                    return Ok(None);
                }
                // "Now" joins the answers of several ticks. Two owners are both in one tick that was not smeared,
                // and on a busy machine the first such tick may come later: only then may the first one go.
                Ok((owners.len() < 2 || doubles_seen(judge)?).then_some(()))
            },
        )?;
    }
    say(
        "addresses put on by hand: nobody, one, two and the other one were all seen, IPv4 and IPv6",
    );
    Ok(())
}

fn check_isolated(site: &Site, judge: &mut Judge) -> anyhow::Result<(f64, f64)> {
    judge.begin()?;
    judge.mark("cut")?;
    site.cut_from_peers(&site.nodes[0])?;
    let report = shell::wait_for("the judge to see two owners", PATIENCE, || {
        Ok(Some(judge.report()?).filter(|r| r.targets.values().any(|t| t.two_owners_ms >= 500.0)))
    })?;
    site.heal()?;
    judge.wait_owner("vip", "k1", PATIENCE)?;
    let vip = report.targets.get("vip").context("no target vip")?;
    say(&format!(
        "Keepalived's owner cut from its peers: two owners for {:.0} ms and going on",
        vip.two_owners_ms
    ));
    Ok((vip.two_owners_ms, report.worst_stall_ms))
}
