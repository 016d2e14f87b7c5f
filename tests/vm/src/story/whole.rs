//! What concerns the whole cluster: every link dead at once, and every machine without power at once.

use std::time::Duration;

use haft_lab::bmc::Power;
use haft_lab::sys::Link;

use crate::cluster::PATIENCE;
use crate::stage::Stage;
use crate::stamp::Token;
use crate::table::Outcome;

/// How long all links stay dead.
const DEAD: Duration = Duration::from_secs(90);
/// What is watched after they are back: longer than a session and a fence order need to begin.
const AFTERMATH: Duration = Duration::from_secs(15);
/// Without power.
const DARK: Duration = Duration::from_secs(2);

/// Every link is dead for 90 s, those to the BMCs too, and then comes back: nobody is to be fenced for that.
pub(super) fn links_frozen(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n1", "n2")?;
    set_all(stage, Link::Down)?;
    stage.mark("every link is dead, those to the BMCs too")?;
    stage.let_pass(DEAD);
    set_all(stage, Link::Up)?;
    let healed = stage.mark("every link is back")?;
    let db = stage.wait_served("db")?;
    let web = stage.wait_served("web")?;
    let took = healed.elapsed();
    for guest in &stage.rack.guests {
        stage.cluster.ctl.wait_online(guest.name(), PATIENCE)?;
    }
    stage.let_pass(AFTERMATH);
    outcome.figure(format!(
        "both served {:.1} s after the links were back: web on {}, db on {}",
        took.as_secs_f64(),
        web.owner,
        db.owner
    ));
    stage.demand_one_owner(outcome, "web")?;
    stage.demand_one_owner(outcome, "db")?;
    stage.demand_not_reset(outcome, &[]);
    Ok(())
}

fn set_all(stage: &Stage, link: Link) -> anyhow::Result<()> {
    for guest in &stage.rack.guests {
        stage.rack.set_port(guest, link)?;
    }
    stage.rack.set_management(link)
}

/// All machines lose their power at once and get it back at once. Nobody helps.
pub(super) fn power_loss(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n1", "n2")?;
    let token = |stage: &Stage, vip: &str| -> anyhow::Result<Token> {
        stage.cluster.ctl.vip(vip)?.token.parse()
    };
    let before = (token(stage, "web")?, token(stage, "db")?);
    for guest in &stage.rack.guests {
        guest.power_off()?;
    }
    stage.mark("all three lost their power")?;
    stage.let_pass(DARK);
    for guest in &stage.rack.guests {
        guest.power_on()?;
    }
    let on = stage.mark("all three have power again")?;
    let mut booted: f64 = 0.0;
    for guest in &stage.rack.guests {
        booted = booted.max(guest.wait_booted(PATIENCE)?.as_secs_f64());
    }
    let db = stage.wait_served("db")?;
    let web = stage.wait_served("web")?;
    outcome.figure(format!(
        "booted after {booted:.0} s, both served after {:.0} s: db on {} ({}), web on {} ({})",
        on.elapsed().as_secs_f64(),
        db.owner,
        db.proof,
        web.owner,
        web.proof
    ));
    let after: (Token, Token) = (web.token.parse()?, db.token.parse()?);
    outcome.demand(
        "tokens rose",
        (after.0 > before.0 && after.1 > before.1).into(),
        &format!("{before:?}, then {after:?}"),
    );
    let lives: Vec<usize> = stage.rack.guests.iter().map(|g| g.lives()).collect();
    stage.let_pass(AFTERMATH);
    let again: Vec<usize> = stage.rack.guests.iter().map(|g| g.lives()).collect();
    outcome.demand(
        "nobody was fenced on the way",
        (lives == again).into(),
        &format!("{lives:?}, then {again:?} lives"),
    );
    stage.demand_one_owner(outcome, "web")?;
    stage.demand_one_owner(outcome, "db")
}
