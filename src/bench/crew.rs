//! The threads of a run against one server, and what they are told to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use vizard_proto::address::Transport;

use super::Fault;
use super::engine::{Clock, Engine, Progress, Round};
use super::plan::{Plan, Step};
use super::stats::Tally;

/// How often whoever waits for the threads looks around.
const TICK: Duration = Duration::from_millis(100);
/// How often a thread without an order looks at what has arrived.
const REST: Duration = Duration::from_millis(20);
/// Descriptors that a process needs besides its sockets.
const OTHER_DESCRIPTORS: u64 = 64;

type Order = Box<dyn FnOnce(&mut Engine) + Send>;

/// See the module's description.
pub(super) struct Crew {
    hands: Vec<Hand>,
}

struct Hand {
    /// `None` once the thread is to end.
    orders: Option<SyncSender<Order>>,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

/// How far the threads are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) ready: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Crew {
    /// Opens all sockets. `stop` ends a step early.
    pub(super) fn start(
        plan: &Arc<Plan>,
        clock: Clock,
        run: u32,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Fault> {
        raise_descriptors(plan)?;
        let mut hands = Vec::new();
        let mut opened = Vec::new();
        for (index, pairs) in plan.shares().into_iter().enumerate() {
            let progress = Arc::new(Progress {
                stop: Arc::clone(stop),
                ..Progress::default()
            });
            let (orders, inbox) = sync_channel(1);
            let (tell, told) = sync_channel(1);
            let (plan, shared) = (Arc::clone(plan), Arc::clone(&progress));
            let thread = Builder::new()
                .name(format!("bench-{index}"))
                .spawn(move || {
                    let pinned = pin(&plan.pins, index);
                    match Engine::new(plan, clock, run, pairs, pinned, shared) {
                        Ok(mut engine) => {
                            let _ = tell.send(Ok(engine.receive_buffer()));
                            work(&mut engine, &inbox);
                        }
                        Err(fault) => drop(tell.send(Err(fault))),
                    }
                });
            let thread = thread.map_err(|error| {
                Fault::Failed(format!("can't start a thread of the generator: {error}"))
            })?;
            hands.push(Hand {
                orders: Some(orders),
                progress,
                thread: Some(thread),
            });
            opened.push(told);
        }
        let crew = Self { hands };
        for told in opened {
            told.recv().map_err(|_| gone())??;
        }
        Ok(crew)
    }

    /// Makes all allocations.
    pub(super) fn allocate(&self, tick: &mut dyn FnMut(Done)) -> Result<Round, Fault> {
        let rounds = self.all(tick, Engine::allocate)?;
        Ok(join(rounds))
    }

    /// Lets all pairs reach each other.
    pub(super) fn bind(&self, tick: &mut dyn FnMut(Done)) -> Result<Round, Fault> {
        let rounds: Result<Vec<Round>, Fault> = self.all(tick, Engine::bind)?.into_iter().collect();
        Ok(join(rounds?))
    }

    /// Ends all allocations.
    pub(super) fn release(&self, tick: &mut dyn FnMut(Done)) -> Result<Round, Fault> {
        let rounds = self.all(tick, Engine::release)?;
        Ok(join(rounds))
    }

    /// Sends and receives.
    pub(super) fn measure(&self, step: Step, tick: &mut dyn FnMut(Done)) -> Result<Tally, Fault> {
        let tallies = self.all(tick, move |engine| engine.measure(step))?;
        let mut whole = Tally::new();
        for tally in &tallies {
            whole.join(tally);
        }
        Ok(whole)
    }

    /// Has every thread do `task`; `tick` is called while they do.
    fn all<T: Send + 'static>(
        &self,
        tick: &mut dyn FnMut(Done),
        task: impl Fn(&mut Engine) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Fault> {
        let mut answers = Vec::with_capacity(self.hands.len());
        for hand in &self.hands {
            let (tell, told) = sync_channel(1);
            let task = task.clone();
            let order: Order = Box::new(move |engine| drop(tell.send(task(engine))));
            let orders = hand.orders.as_ref().ok_or_else(gone)?;
            orders.send(order).map_err(|_| gone())?;
            answers.push(told);
        }
        let wait = |told: Receiver<T>| loop {
            match told.recv_timeout(TICK) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Timeout) => tick(self.done()),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        };
        answers.into_iter().map(wait).collect()
    }

    fn done(&self) -> Done {
        let mut done = Done::default();
        for hand in &self.hands {
            done.ready += hand.progress.ready.load(Ordering::Relaxed);
            done.sent += hand.progress.sent.load(Ordering::Relaxed);
            done.received += hand.progress.received.load(Ordering::Relaxed);
        }
        done
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for hand in &mut self.hands {
            hand.orders = None;
        }
        for hand in &mut self.hands {
            if let Some(thread) = hand.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// Does what it is told until nobody is there to tell it anything.
fn work(engine: &mut Engine, orders: &Receiver<Order>) {
    loop {
        match orders.recv_timeout(REST) {
            Ok(order) => order(engine),
            Err(RecvTimeoutError::Timeout) => engine.rest(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn gone() -> Fault {
    Fault::Failed("a thread of the generator ended on its own".into())
}

fn join(rounds: Vec<Round>) -> Round {
    let mut whole = Round::default();
    for round in rounds {
        whole.succeeded += round.succeeded;
        whole.elapsed = whole.elapsed.max(round.elapsed);
        for (trouble, count) in round.troubles {
            *whole.troubles.entry(trouble).or_default() += count;
        }
    }
    whole
}

/// Keeps this thread on its core, if there is one for it.
fn pin(pins: &[usize], index: usize) -> bool {
    let Some(core) = pins.get(index % pins.len().max(1)) else {
        return false;
    };
    let mut set = CpuSet::new();
    set.set(*core).is_ok() && sched_setaffinity(Pid::from_raw(0), &set).is_ok()
}

/// Every socket is a descriptor: as many as are needed, or what to do about it.
fn raise_descriptors(plan: &Plan) -> Result<(), Fault> {
    let sockets = match plan.sources {
        Some(_) if plan.transport == Transport::Udp => 2 * plan.threads,
        _ => plan.ends(),
    };
    let needed = u64::try_from(sockets).unwrap_or(u64::MAX) + OTHER_DESCRIPTORS;
    let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(());
    };
    if now >= needed
        || setrlimit(Resource::RLIMIT_NOFILE, needed.min(most), most).is_ok() && most >= needed
    {
        return Ok(());
    }
    Err(Fault::Failed(format!(
        "{sockets} sockets need more descriptors than the {most} that this process may have\n  \
         help: `ulimit -n {needed}` in this shell, as root; or --sources with a network that is \
         yours, which needs two sockets a thread"
    )))
}
