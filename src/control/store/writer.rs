//! The thread that writes: what has been handed in while it waited for the disk is written
//! together, in the order in which it came, and each of those who wait is told how it went.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::StoreError;
use super::tables::Record;

/// A disk that is faster than this is not waited for: what comes next makes the next batch.
const FAST: Duration = Duration::from_millis(2);
/// How long, as a part of the last write, those who were told last may take to come back.
const PATIENCE: u32 = 8;
/// The most of that.
const MOST_PATIENCE: Duration = Duration::from_millis(25);

/// Something to write.
pub(super) enum Work {
    /// These records, all or none.
    Put(Vec<Record>),
    /// What is over at that time (Unix seconds) goes.
    Forget(u64),
}

/// Work, and where to say what became of it.
pub(super) struct Job {
    pub(super) work: Work,
    tell: SyncSender<Result<usize, StoreError>>,
}

impl Job {
    /// Tells whoever handed it in.
    pub(super) fn tell(self, result: Result<usize, StoreError>) {
        // There is room for one answer, and whoever is gone needs none.
        let _ = self.tell.try_send(result);
    }
}

/// The thread's front: stops it when dropped, after what has been handed in is written.
pub(super) struct Writer {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Desk {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    /// As many as the writer waits for.
    wanted: usize,
    closed: bool,
}

impl Writer {
    /// Starts a thread that has `write` carry out batches of jobs.
    pub(super) fn start(write: impl Fn(Vec<Job>) + Send + 'static) -> Result<Self, StoreError> {
        let desk = Arc::new(Desk::default());
        let own = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || own.run(write))
            .map_err(StoreError::new)?;
        Ok(Self {
            desk,
            thread: Some(thread),
        })
    }

    /// Has `work` done, and waits for the outcome.
    pub(super) fn have(&self, work: Work) -> Result<usize, StoreError> {
        let outcome = self.hand_in(work);
        outcome
            .recv()
            .unwrap_or_else(|_| Err(StoreError::new("the writer is gone")))
    }

    fn hand_in(&self, work: Work) -> Receiver<Result<usize, StoreError>> {
        let (tell, outcome) = sync_channel(1);
        let mut queue = self.desk.queue();
        queue.jobs.push(Job { work, tell });
        if queue.jobs.len() == queue.wanted {
            self.desk.ready.notify_one();
        }
        outcome
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.desk.queue().closed = true;
        self.desk.ready.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in there was caught and told where it happened.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, write: impl Fn(Vec<Job>)) {
        let (mut took, mut count) = (Duration::ZERO, 0);
        while let Some(jobs) = self.gather(took, count) {
            count = jobs.len();
            let start = Instant::now();
            write(jobs);
            took = start.elapsed();
        }
    }

    /// What is to be written next; `None` when there will be nothing more.
    ///
    /// Those who were told of the last write come back a moment later with what they do next.
    /// Where the disk is slow, that moment is waited for, or only the first of them would get
    /// into this write, and all others would wait for two.
    fn gather(&self, took: Duration, count: usize) -> Option<Vec<Job>> {
        let mut queue = self.wait(self.queue(), 1, None);
        if took > FAST && !queue.closed {
            let patience = (took / PATIENCE).min(MOST_PATIENCE);
            queue = self.wait(queue, count, Some(patience));
        }
        queue.wanted = 0;
        let jobs = std::mem::take(&mut queue.jobs);
        (!jobs.is_empty()).then_some(jobs)
    }

    fn wait<'a>(
        &self,
        mut queue: MutexGuard<'a, Queue>,
        wanted: usize,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, Queue> {
        queue.wanted = wanted;
        let short = |queue: &mut Queue| queue.jobs.len() < wanted && !queue.closed;
        match patience {
            None => self
                .ready
                .wait_while(queue, short)
                .unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                self.ready
                    .wait_timeout_while(queue, patience, short)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        }
    }
}
