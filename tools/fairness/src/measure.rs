//! Measure: one attack, on a daemon of its own.
//!
//! In:  a plan and an attack.
//! Out: its row.
//!
//! The well-behaved clients come first and stay through all of it. When each has been served a few times their quiet
//! time begins; then the attackers come; then the daemon is asked to stop, with the attackers still at it.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{
    attack::{Attack, Attackers},
    cpus::Cpus,
    figures::Latencies,
    row::Row,
    server::{SHUTDOWN_TIMEOUT, Server},
    victim::{self, Phase, Stage},
};

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The daemon's binary.
    pub binary: PathBuf,
    /// Where its configuration and its log may be.
    pub folder: PathBuf,
    /// How many attackers there are.
    pub attackers: usize,
    /// How long the clients are measured without attackers.
    pub quiet: Duration,
    /// How long they are measured with them.
    pub attacked: Duration,
    /// How often each client does what it does.
    pub interval: Duration,
}

/// How long the clients may take to come.
const COMING_MAX: Duration = Duration::from_secs(60);

/// Measures one attack.
///
/// # Errors
/// The daemon could not be started, or its clients were not served without attackers.
pub fn measure(plan: &Plan, attack: Attack) -> anyhow::Result<Row> {
    let cpus = Cpus::choose()?;
    let server = Server::start(&plan.binary, &plan.folder, &cpus, attack.is_tls())?;
    cpus.at_the_tools(|| measure_with(plan, attack, server))?
}

fn measure_with(plan: &Plan, attack: Attack, mut server: Server) -> anyhow::Result<Row> {
    let target = server.target().clone();
    let stage = Stage::new();
    thread::scope(|scope| {
        let clients: Vec<_> = victim::KINDS
            .iter()
            .map(|kind| scope.spawn(|| victim::be_served(kind, &target, &stage, plan.interval)))
            .collect();
        // Whatever comes of it, they must end.
        let over = stage.over_at_the_end();
        let began = Instant::now();
        while !stage.all_are_served(clients.len()) {
            ensure!(began.elapsed() < COMING_MAX, "not all clients were served before there was any attack");
            thread::sleep(Duration::from_millis(5));
        }
        stage.enter(Phase::Quiet);
        thread::sleep(plan.quiet);

        let attackers = Attackers::start(attack, &target, plan.attackers);
        stage.enter(Phase::Attacked);
        let (began, cpu_before, done_before) = (Instant::now(), server.cpu_time()?, attackers.done());
        thread::sleep(plan.attacked);
        let attack_s = began.elapsed().as_secs_f64();
        let (cpu, attack_operations) = (server.cpu_time()? - cpu_before, attackers.done() - done_before);
        let attackers_heard = attackers.heard();
        // Who waits is waited for: that is part of how it was served.
        drop(over);
        let (mut served, mut late) = (Vec::new(), Latencies::new());
        for client in clients {
            let (one, one_late) = client.join().expect("a client does not panic");
            served.push(one);
            late.merge(&one_late);
        }
        let closed_as_slow = server.closed_as_slow()?;
        let stop = server.stop()?;
        attackers.end();
        let api = served.iter().position(|served| served.name == victim::API).expect("it is one of them");
        let api = served.remove(api);
        Ok(Row {
            attack,
            attackers: plan.attackers,
            attack_operations,
            attackers_heard,
            attack_s,
            closed_as_slow,
            daemon_cpu: cpu.as_secs_f64() / attack_s,
            tool_late_ms: late.figures().p99_ms,
            served,
            api,
            shutdown_timeout_ms: SHUTDOWN_TIMEOUT.as_secs_f64() * 1e3,
            stop_ms: stop.map(|took| took.as_secs_f64() * 1e3),
        })
    })
}
