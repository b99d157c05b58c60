//! A whole run: setting up, measuring round by round, and putting down what was found, also when
//! it ends early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::Fault;
use super::client::Trouble;
use super::crew::{Crew, Done};
use super::engine::{Clock, Round};
use super::plan::{Load, Plan, Step, Trains};
use super::probe;
use super::process::Process;
use super::report::{
    Allocating, Described, Figures, MOST_LOSS, MemoryAt, Report, Server, Setup, Try, own_limit,
};
use super::stats::Tally;

/// Most rates that a search tries.
const TRIES: usize = 18;
/// A search is over when the highest good rate and the lowest bad one are so close.
const CLOSE: f64 = 0.03;
/// Of the rate that was asked for, what has to be sent at least.
const ENOUGH: f64 = 0.98;

/// A server to measure.
pub(crate) struct Target {
    pub(crate) plan: Plan,
    /// The server's process, if it is on this machine.
    pub(crate) process: Option<Process>,
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    /// What a load costs, and what becomes of it.
    Load(Load),
    /// The highest rate with next to no loss, starting from this one.
    Search(f64),
    /// How many allocations can be made in a second.
    Allocations,
}

/// How to measure.
pub(crate) struct Settings {
    pub(crate) what: What,
    /// Of each round.
    pub(crate) length: Duration,
    /// Load before the first round that is not counted.
    pub(crate) warm_up: Duration,
    pub(crate) rounds: usize,
    /// What a core costs in an hour.
    pub(crate) core_price: f64,
    /// Set from outside to end early.
    pub(crate) stop: Arc<AtomicBool>,
}

/// Who is told what is being done, and which part of it is done already.
pub(crate) type Watcher<'a> = &'a mut dyn FnMut(&str, f64);

/// Measures `targets` in turn. What was found until something failed is in the report all the same.
pub(crate) fn run(targets: Vec<Target>, settings: &Settings, watcher: Watcher<'_>) -> Report {
    let described = targets
        .first()
        .map(|target| settings.describe(&target.plan));
    let mut report = Report::new(described.unwrap_or_else(|| unreachable!("a target at least")));
    let names = targets.iter().map(|target| Server::new(&target.plan.label));
    report.servers = names.collect();
    let fault = measure_all(targets, settings, watcher, &mut report).err();
    report.conclude(fault);
    report
}

fn measure_all(
    targets: Vec<Target>,
    settings: &Settings,
    watcher: Watcher<'_>,
    report: &mut Report,
) -> Result<(), Fault> {
    let clock = Clock::new();
    let mut sessions = Vec::new();
    for (index, target) in targets.into_iter().enumerate() {
        let server = &mut report.servers[index];
        sessions.push(Session::start(
            target, index, clock, settings, server, watcher,
        )?);
    }
    let outcome = rounds(&mut sessions, settings, watcher, report);
    for session in &sessions {
        session.release(settings, watcher);
    }
    outcome
}

fn rounds(
    sessions: &mut [Session],
    settings: &Settings,
    watcher: Watcher<'_>,
    report: &mut Report,
) -> Result<(), Fault> {
    for (session, server) in sessions.iter().zip(&mut report.servers) {
        session.warm_up(settings, server, watcher)?;
    }
    for round in 0..settings.rounds {
        for (session, server) in sessions.iter_mut().zip(&mut report.servers) {
            match settings.what {
                What::Load(load) => {
                    let label = format!("round {} of {}", round + 1, settings.rounds);
                    session.round(load, settings, &label, server, watcher)?;
                }
                What::Search(from) => session.search(from, settings, server, watcher)?,
                What::Allocations => session.allocations(settings, server, watcher)?,
            }
        }
    }
    Ok(())
}

impl Settings {
    fn describe(&self, plan: &Plan) -> Described {
        let what = match self.what {
            What::Load(Load::Rate(rate)) => format!("{rate:.0} packets/s"),
            What::Load(Load::Window(window)) => format!("{window} packets under way at any time"),
            What::Search(_) => "the highest rate with less than 0.1 % loss".into(),
            What::Allocations => "allocations".into(),
        };
        Described {
            core_price: self.core_price,
            ..Described::new(plan, what, self.length, self.rounds)
        }
    }

    fn interrupted(&self) -> Result<(), Fault> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Fault::Failed("interrupted".into()));
        }
        Ok(())
    }
}

/// One server, set up.
struct Session {
    plan: Arc<Plan>,
    process: Option<Process>,
    crew: Crew,
    clock: Clock,
    stop: Arc<AtomicBool>,
}

impl Session {
    fn start(
        target: Target,
        index: usize,
        clock: Clock,
        settings: &Settings,
        server: &mut Server,
        watcher: Watcher<'_>,
    ) -> Result<Self, Fault> {
        let Target { plan, process } = target;
        probe::look(plan.server, plan.transport)?;
        let before = process.and_then(Process::memory);
        let plan = Arc::new(plan);
        let crew = Crew::start(&plan, clock, run_number(index), &settings.stop)?;
        let session = Self {
            plan,
            process,
            crew,
            clock,
            stop: Arc::clone(&settings.stop),
        };
        if settings.what == What::Allocations {
            return Ok(session);
        }
        let round = session.allocate(settings, watcher)?;
        let bound = session.crew.bind(&mut |_| {})?;
        session.complete(&bound, settings, "permissions or channels")?;
        let after = process.and_then(Process::memory);
        server.setup = Some(Setup::new(&round, before.zip(after)));
        Ok(session)
    }

    fn allocate(&self, settings: &Settings, watcher: Watcher<'_>) -> Result<Round, Fault> {
        let label = format!("{}: allocating", self.plan.label);
        let all = self.clients();
        let round = self
            .crew
            .allocate(&mut |done| watcher(&label, share(done.ready, all)))?;
        self.complete(&round, settings, "allocations")?;
        Ok(round)
    }

    /// Whether all of a round of requests succeeded, or else why not.
    fn complete(&self, round: &Round, settings: &Settings, what: &str) -> Result<(), Fault> {
        settings.interrupted()?;
        let all = self.clients();
        if round.succeeded == all {
            return Ok(());
        }
        let most = round.troubles.iter().max_by_key(|(_, count)| **count);
        let why = most.map_or_else(|| "no answer".into(), |(trouble, _)| explain(*trouble));
        let missing = all - round.succeeded;
        Err(Fault::Failed(format!(
            "{}: {missing} of {all} {what} failed: {why}",
            self.plan.label
        )))
    }

    fn clients(&self) -> u64 {
        let ends = if self.plan.mode.has_peer() { 1 } else { 2 };
        u64::try_from(ends * self.plan.pairs).unwrap_or(u64::MAX)
    }

    fn measure(
        &self,
        load: Load,
        length: Duration,
        label: &str,
        watcher: Watcher<'_>,
    ) -> Result<Tally, Fault> {
        let begin = Instant::now();
        let label = format!("{}: {label}", self.plan.label);
        let whole = length.as_secs_f64();
        let mut tick = |_: Done| watcher(&label, begin.elapsed().as_secs_f64() / whole);
        let tally = self.crew.measure(Step::new(load, length), &mut tick)?;
        if tally.counts.sent > 0 && tally.counts.received == 0 && !tally.cut_short {
            return Err(Fault::Failed(format!(
                "{}: none of {} packets arrived: does the relay let these two reach each other?",
                self.plan.label, tally.counts.sent
            )));
        }
        Ok(tally)
    }

    /// Load that is not counted, but shows what does not work at all.
    fn warm_up(
        &self,
        settings: &Settings,
        server: &mut Server,
        watcher: Watcher<'_>,
    ) -> Result<(), Fault> {
        let load = match settings.what {
            What::Load(load) => load,
            What::Search(from) => Load::Rate(from),
            What::Allocations => return Ok(()),
        };
        if settings.warm_up.is_zero() {
            return Ok(());
        }
        let tally = self.measure(load, settings.warm_up, "warming up", watcher)?;
        if tally.troubles.untrained > 0 {
            server.limited(own_limit(&tally, load));
        }
        self.whole(&tally)
    }

    /// Whether a step went on to its end.
    fn whole(&self, tally: &Tally) -> Result<(), Fault> {
        if tally.troubles.untrained > 0 && self.plan.trains == Trains::On {
            return Err(Fault::Failed(
                "the way to the relay takes no trains of packets (UDP GSO)\n  help: --trains auto \
                 sends them one by one where that is so"
                    .into(),
            ));
        }
        if !tally.cut_short {
            return Ok(());
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(Fault::Failed("interrupted".into()));
        }
        Err(Fault::Failed(format!(
            "{} fell silent after {:.1} s: did it stop? What was measured until then is in the \
             report",
            self.plan.label,
            tally.elapsed.as_secs_f64()
        )))
    }

    fn round(
        &self,
        load: Load,
        settings: &Settings,
        label: &str,
        server: &mut Server,
        watcher: Watcher<'_>,
    ) -> Result<(), Fault> {
        let slice = Step::new(load, settings.length).slice;
        let mut memory = Memory::new(self.process, slice);
        let before = self.process.and_then(Process::cpu);
        let tally = self.measure(load, settings.length, label, &mut |label, share| {
            memory.look();
            watcher(label, share);
        })?;
        let after = self.process.and_then(Process::cpu);
        let used = before
            .zip(after)
            .and_then(|(before, after)| after.checked_sub(before));
        let mut figures = Figures::new(&tally, used).with_series(&tally, slice);
        figures.memory = memory.seen;
        server.rounds.push(figures);
        server.limited(own_limit(&tally, load));
        self.whole(&tally)
    }

    /// Doubles the rate while it is good, then halves the distance to the lowest that is not.
    fn search(
        &self,
        from: f64,
        settings: &Settings,
        server: &mut Server,
        watcher: Watcher<'_>,
    ) -> Result<(), Fault> {
        let (mut rate, mut good, mut bad) = (from, 0.0, f64::INFINITY);
        for _ in 0..TRIES {
            let load = Load::Rate(rate);
            let label = format!("trying {rate:.0} packets/s");
            let tally = self.measure(load, settings.length, &label, watcher)?;
            self.whole(&tally)?;
            let figures = Figures::new(&tally, None);
            let limit = own_limit(&tally, load);
            let own = limit.is_some();
            server.limited(limit.map(|why| format!("at {rate:.0} packets/s: {why}")));
            let fine = !own && figures.loss < MOST_LOSS && figures.sent_per_second > rate * ENOUGH;
            server.search.push(Try {
                rate,
                loss: figures.loss,
                p99_us: figures.latency.p99_us,
                good: fine,
                own_limit: own,
            });
            if fine {
                good = rate;
                server.highest_rate = Some(server.highest_rate.unwrap_or(0.0).max(rate));
            } else {
                bad = rate;
            }
            if bad - good < bad * CLOSE {
                break;
            }
            rate = if bad.is_finite() {
                f64::midpoint(good, bad)
            } else {
                rate * 2.0
            };
        }
        Ok(())
    }

    /// Allocates and gives back for as long as a round is. Every time from other ports: not every
    /// server lets go of a 5-tuple at once.
    fn allocations(
        &mut self,
        settings: &Settings,
        server: &mut Server,
        watcher: Watcher<'_>,
    ) -> Result<(), Fault> {
        let begin = Instant::now();
        let (mut made, mut took, mut used) = (0, Duration::ZERO, Some(Duration::ZERO));
        while begin.elapsed() < settings.length {
            let before = self.process.and_then(Process::cpu);
            let round = self.allocate(settings, watcher)?;
            let after = self.process.and_then(Process::cpu);
            let cpu = before
                .zip(after)
                .and_then(|(before, after)| after.checked_sub(before));
            used = used.zip(cpu).map(|(sum, cpu)| sum + cpu);
            made += round.succeeded;
            took += round.elapsed;
            let released = self.crew.release(&mut |_| {})?;
            self.complete(&released, settings, "releases")?;
            self.crew = Crew::start(&self.plan, self.clock, run_number(0), &self.stop)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count, for reading")]
        let count = made.max(1) as f64;
        server.allocating.push(Allocating {
            allocations: made,
            per_second: count / took.as_secs_f64().max(1e-9),
            cpu_us_each: used.map(|used| used.as_secs_f64() * 1e6 / count),
        });
        Ok(())
    }

    /// Gives the allocations back, as far as the server still listens.
    fn release(&self, settings: &Settings, watcher: Watcher<'_>) {
        if settings.what != What::Allocations && !self.stop.load(Ordering::Relaxed) {
            let label = format!("{}: giving back", self.plan.label);
            let _ = self.crew.release(&mut |_| watcher(&label, 1.0));
        }
    }
}

/// Looks at the server's memory, once in a slice.
struct Memory {
    process: Option<Process>,
    begin: Instant,
    slice: Duration,
    seen: Vec<MemoryAt>,
}

impl Memory {
    fn new(process: Option<Process>, slice: Duration) -> Self {
        Self {
            process,
            begin: Instant::now(),
            slice,
            seen: Vec::new(),
        }
    }

    fn look(&mut self) {
        let at = self.begin.elapsed().as_secs_f64();
        let last = self.seen.last().map_or(f64::NEG_INFINITY, |last| last.at);
        if at - last < self.slice.as_secs_f64() {
            return;
        }
        if let Some(bytes) = self.process.and_then(Process::memory) {
            self.seen.push(MemoryAt { at, bytes });
        }
    }
}

/// A failed request in words.
fn explain(trouble: Trouble) -> String {
    match trouble {
        Trouble::Silent => {
            "no answer: is it a TURN server, and does a firewall let it answer?".into()
        }
        Trouble::Malformed => "an answer that makes no sense".into(),
        Trouble::Refused(401) => "401, the relay does not know this credential: is the username, \
                                  the password or the secret wrong, or has it expired?"
            .into(),
        Trouble::Refused(403) => "403, the relay forbids it: does its configuration deny these \
                                  addresses as peers?"
            .into(),
        Trouble::Refused(486) => {
            "486, the credential has as many allocations as it may: raise the \
                                  relay's quota, or give fewer --pairs or --pairs-per-call"
                .into()
        }
        Trouble::Refused(508) => {
            "508, the relay has no more relayed addresses: widen its range of \
                                  ports, or give fewer --pairs"
                .into()
        }
        Trouble::Refused(code) => format!("the relay answers with error {code}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share, for showing")]
fn share(done: u64, all: u64) -> f64 {
    done as f64 / all.max(1) as f64
}

/// A number for the packets of this run, so that an earlier run's are told apart.
fn run_number(index: usize) -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = since.map_or(0, |since| {
        since.subsec_nanos() ^ u32::try_from(since.as_secs() & 0xFFFF).unwrap_or(0) << 14
    });
    now.wrapping_add(u32::try_from(index).unwrap_or(0))
}
