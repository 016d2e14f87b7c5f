//! `make bench-fence`: the time of a confirmed off through our IPMI agent, beside `fence_ipmilan`.
//!
//! One `ipmi_sim` for all, contenders alternating, every sample a whole process from a machine that is on
//! to exit 0 with the machine off. Ours makes its two off reads inside that time. `fence_ipmilan` reads
//! once and is timed as it is, so the comparison favours it; `fence_ipmilan_two_reads` is the same agent
//! with the two `status` calls that haft's caller adds. Figures go to `target/figures/fence.json`. It
//! changes nothing but the simulator and starts no service.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![expect(clippy::print_stdout, reason = "the figures are told on stdout")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use haft_tests::ipmi_sim::{IpmiSim, PASSWORD, Power, USER};
use serde_json::{Value, json};

/// Ours may take at most this part of `fence_ipmilan` with power_wait=0.
const PART_ALLOWED: f64 = 0.2;
/// Largest agent binary, in bytes.
const BINARY_MAX: u64 = 5 * 1024 * 1024;
/// Largest resident memory of the agent, in KiB.
const RESIDENT_MAX: u64 = 10 * 1024;
/// How long one agent may take before the benchmark is given up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Contender {
    name: &'static str,
    agent: PathBuf,
    lines: &'static str,
    /// `status` calls after the off, each of which must say off.
    reads: usize,
    samples: Vec<f64>,
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (Some(ours), Some(runs), Some(out)) = (words.next(), words.next(), words.next()) else {
        println!("usage: haft-bench-fence AGENT RUNS OUT (make bench-fence RUNS=5)");
        return ExitCode::FAILURE;
    };
    let runs: usize = runs.parse().expect("RUNS is a number");
    let (ours, out) = (PathBuf::from(ours), PathBuf::from(out));
    let sim = IpmiSim::start();
    let mut contenders = contenders(&ours);
    // One of each first, uncounted: interpreters and files come into the cache.
    for round in 0..=runs {
        for contender in &mut contenders {
            sim.set_power(Power::On);
            let took = one_off(&sim, contender);
            if round > 0 {
                contender.samples.push(took);
                println!("{:<24} run {round}: {took:.1} ms", contender.name);
            }
        }
    }
    let binary = std::fs::metadata(&ours).unwrap().len();
    let resident = resident_kib(&sim, &ours);
    let part = median(&contenders[0].samples) / median(&contenders[1].samples);
    write(&out, &contenders, part, binary, resident);
    println!(
        "haft_ipmi takes {part:.3} of fence_ipmilan with power_wait=0 (allowed {PART_ALLOWED})"
    );
    println!(
        "binary {binary} bytes, resident at most {resident} KiB; figures in {}",
        out.display()
    );
    if part <= PART_ALLOWED && binary <= BINARY_MAX && resident <= RESIDENT_MAX {
        ExitCode::SUCCESS
    } else {
        println!("MISSED");
        ExitCode::FAILURE
    }
}

fn contenders(ours: &Path) -> Vec<Contender> {
    let theirs = Path::new("/usr/sbin/fence_ipmilan");
    [
        ("haft_ipmi", ours, "", 0),
        ("fence_ipmilan", theirs, "power_wait=0\n", 0),
        ("fence_ipmilan_two_reads", theirs, "power_wait=0\n", 2),
        ("fence_ipmilan_default", theirs, "", 0),
    ]
    .map(|(name, agent, lines, reads)| Contender {
        name,
        agent: agent.to_owned(),
        lines,
        reads,
        samples: Vec::new(),
    })
    .into()
}

/// Milliseconds from the start of the first process to the end of the last.
fn one_off(sim: &IpmiSim, contender: &Contender) -> f64 {
    let began = Instant::now();
    let off = finish(start(sim, contender, "off", contender.lines));
    assert_eq!(off, Some(0), "{}: off must succeed", contender.name);
    for _ in 0..contender.reads {
        let read = finish(start(sim, contender, "status", contender.lines));
        assert_eq!(read, Some(2), "{}: status must say off", contender.name);
    }
    let took = began.elapsed();
    assert_eq!(sim.power(), Power::Off, "{}", contender.name);
    took.as_secs_f64() * 1000.0
}

/// Starts an agent as haftd does: parameters on stdin, a closed environment.
fn start(sim: &IpmiSim, contender: &Contender, action: &str, lines: &str) -> Child {
    let mut child = Command::new(&contender.agent)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the agent is installed");
    let input = format!(
        "action={action}\nip=127.0.0.1\nipport={}\nusername={USER}\npassword={PASSWORD}\nlanplus=1\ncipher=3\n{lines}",
        sim.port()
    );
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child
}

fn finish(mut child: Child) -> Option<i32> {
    child.wait().unwrap().code()
}

/// Peak resident memory of our agent, read while it pauses between its last two reads. VmHWM counts from
/// exec, unlike the rusage of a child, which remembers the process it was forked from.
fn resident_kib(sim: &IpmiSim, ours: &Path) -> u64 {
    sim.set_power(Power::On);
    let contender = &contenders(ours)[0];
    let mut child = start(sim, contender, "off", "off_read_interval_ms=300\n");
    let status = format!("/proc/{}/status", child.id());
    let deadline = Instant::now() + PATIENCE;
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the agent ends by itself");
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::yield_now();
    }
    assert!(peak > 0, "the agent was seen while it ran");
    peak
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn write(out: &Path, contenders: &[Contender], part: f64, binary: u64, resident: u64) {
    let mut figures = serde_json::Map::new();
    figures.insert("origin".to_owned(), haft_tests::figures::origin());
    for contender in contenders {
        let samples = &contender.samples;
        figures.insert(
            contender.name.to_owned(),
            json!({
                "runs": samples.len(),
                "median_ms": median(samples),
                "max_ms": samples.iter().copied().fold(0.0, f64::max),
                "samples_ms": samples,
            }),
        );
    }
    figures.insert(
        "part_of_fence_ipmilan".to_owned(),
        json!({ "measured": part, "allowed": PART_ALLOWED }),
    );
    figures.insert(
        "agent".to_owned(),
        json!({ "binary_bytes": binary, "max_resident_kib": resident }),
    );
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    let text = serde_json::to_string_pretty(&Value::Object(figures)).unwrap();
    std::fs::write(out, text + "\n").unwrap();
}
