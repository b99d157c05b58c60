//! What a worker is sent by others: changes of what it knows, and messages for connections that it
//! owns. Both come through queues of fixed size, neither sender ever waits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_queue::ArrayQueue;
use mio::Waker;
use vizard_proto::address::FiveTuple;
use vizard_proto::forward::Change;

use super::batch::HANDOVER;
use super::counters::Path;

/// How many messages for a worker's connections may wait for it.
const HANDOVERS: usize = 256;

/// A message on its way to a connection of another worker.
pub(super) struct Handover {
    pub(super) to: FiveTuple,
    pub(super) path: Path,
    /// How much of it the client gets to see as payload, for the statistics.
    pub(super) payload: usize,
    len: usize,
    bytes: [u8; HANDOVER],
}

impl Handover {
    fn empty() -> Box<Self> {
        let nobody = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        Box::new(Self {
            to: FiveTuple {
                transport: vizard_proto::address::Transport::Tcp,
                local: nobody,
                remote: nobody,
            },
            path: Path::Table,
            payload: 0,
            len: 0,
            bytes: [0; HANDOVER],
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Copies `parts` in, one after the other; whether they fit.
    fn fill(&mut self, parts: &[&[u8]]) -> bool {
        self.len = 0;
        for part in parts {
            let Some(room) = self.bytes.get_mut(self.len..self.len + part.len()) else {
                return false;
            };
            room.copy_from_slice(part);
            self.len += part.len();
        }
        true
    }
}

/// One worker's mailbox.
///
/// # Why no removal can be lost, and none comes too late
///
/// Changes are posted while the relay's lock is held, in the order in which the relay gave them
/// out, so every queue holds them in that order and an older install never follows a younger
/// removal. When a queue is full the change is not queued; the worker's `rebuild` flag is raised
/// in its place, still under the lock. The worker then takes the lock, so that nothing is posted
/// meanwhile, lowers the flag, throws the queue away and copies the relay's entries, which contain
/// every change ever posted. A command has posted its removals or raised the flag before it
/// returns, and a worker applies its mailbox **after** it has received a batch and **before** it
/// looks the first packet up. So a packet received after a revocation returned is never forwarded
/// by a revoked entry, and an idle worker need not be woken for it.
pub(super) struct Mailbox {
    changes: ArrayQueue<Change>,
    rebuild: AtomicBool,
    handovers: ArrayQueue<Box<Handover>>,
    spare: ArrayQueue<Box<Handover>>,
    woken: AtomicBool,
    waker: Waker,
    /// Connections to be closed because their calls have ended: at most as many as there are.
    cut_off: Mutex<Vec<FiveTuple>>,
    anyone_cut_off: AtomicBool,
}

impl Mailbox {
    /// A mailbox for so many changes. With `handover`, also for messages.
    pub(super) fn new(waker: Waker, changes: usize, handover: bool) -> Self {
        let spare = ArrayQueue::new(HANDOVERS);
        if handover {
            while spare.push(Handover::empty()).is_ok() {}
        }
        Self {
            changes: ArrayQueue::new(changes.max(1)),
            rebuild: AtomicBool::new(false),
            handovers: ArrayQueue::new(HANDOVERS),
            spare,
            woken: AtomicBool::new(false),
            waker,
            cut_off: Mutex::new(Vec::new()),
            anyone_cut_off: AtomicBool::new(false),
        }
    }

    /// Has a connection closed, and what waits in it thrown away.
    pub(super) fn cut_off(&self, tuple: FiveTuple) {
        self.cut_off
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tuple);
        self.anyone_cut_off.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// The connections to be closed. Takes a lock only if there are any.
    pub(super) fn take_cut_off(&self) -> Vec<FiveTuple> {
        if !self.anyone_cut_off.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        std::mem::take(&mut *self.cut_off.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Posts a change. The relay's lock must be held.
    pub(super) fn post(&self, change: Change) {
        if self.changes.push(change).is_err() {
            self.rebuild.store(true, Ordering::SeqCst);
        }
        // A worker without traffic empties its queue before that is full.
        if self.changes.len() * 2 > self.changes.capacity() {
            self.wake();
        }
    }

    /// Whether the worker has to start over with what the relay knows.
    pub(super) fn wants_rebuild(&self) -> bool {
        self.rebuild.load(Ordering::SeqCst)
    }

    /// Has the worker start over with what the relay knows.
    pub(super) fn demand_rebuild(&self) {
        self.rebuild.store(true, Ordering::SeqCst);
    }

    /// The rebuild begins. The relay's lock must be held.
    pub(super) fn begin_rebuild(&self) {
        self.rebuild.store(false, Ordering::SeqCst);
        while self.changes.pop().is_some() {}
    }

    /// The next change.
    pub(super) fn next_change(&self) -> Option<Change> {
        self.changes.pop()
    }

    /// Hands a message for one of the worker's connections over; false if there is no room.
    pub(super) fn hand_over(
        &self,
        to: FiveTuple,
        path: Path,
        payload: usize,
        parts: &[&[u8]],
    ) -> bool {
        let Some(mut handover) = self.spare.pop() else {
            return false;
        };
        (handover.to, handover.path, handover.payload) = (to, path, payload);
        if !handover.fill(parts) {
            self.give_back(handover);
            return false;
        }
        let queued = self.handovers.push(handover).is_ok();
        self.wake();
        queued
    }

    /// The next message for a connection of this worker. It goes back with [`Self::give_back`].
    pub(super) fn next_handover(&self) -> Option<Box<Handover>> {
        self.handovers.pop()
    }

    pub(super) fn give_back(&self, handover: Box<Handover>) {
        // There are never more handovers than places for them.
        let _ = self.spare.push(handover);
    }

    /// Wakes the worker, once until it calls [`Self::awake`].
    pub(super) fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.force_awake();
        }
    }

    /// Wakes the worker even if somebody else has.
    pub(super) fn force_awake(&self) {
        if let Err(error) = self.waker.wake()
            && error.kind() != io::ErrorKind::WouldBlock
        {
            // Not woken: whoever comes next tries again, and the worker looks once a second anyway.
            self.woken.store(false, Ordering::SeqCst);
        }
    }

    /// The worker is awake and about to look into its mailbox.
    pub(super) fn awake(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};
    use vizard_proto::address::{Client, Transport};
    use vizard_proto::channel_data::ChannelNumber;
    use vizard_proto::forward::{Form, Forward, ForwardKey, Way};

    use super::*;

    fn mailbox(changes: usize) -> (Poll, Mailbox) {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
        (poll, Mailbox::new(waker, changes, true))
    }

    fn tuple() -> FiveTuple {
        let (local, remote) = ("203.0.113.1:3478", "198.51.100.7:4000");
        FiveTuple {
            transport: Transport::Tcp,
            local: local.parse().expect("an address"),
            remote: remote.parse().expect("an address"),
        }
    }

    fn channel(number: u16) -> ChannelNumber {
        ChannelNumber::new(0x4000 + number).expect("a channel")
    }

    fn key(number: u16) -> ForwardKey {
        ForwardKey {
            tuple: tuple(),
            way: Way::Channel(channel(number)),
        }
    }

    fn install(number: u16) -> Change {
        let forward = Forward {
            to: Client {
                tuple: tuple(),
                worker: 0,
            },
            form: Form::ChannelData(channel(number)),
        };
        Change::Install(key(number), forward)
    }

    #[test]
    fn changes_come_in_the_order_they_were_posted() {
        let (_poll, mailbox) = mailbox(8);
        mailbox.post(install(1));
        mailbox.post(Change::Remove(key(1)));
        mailbox.post(install(2));
        assert!(!mailbox.wants_rebuild());
        assert!(matches!(mailbox.next_change(), Some(Change::Install(it, _)) if it == key(1)));
        assert!(matches!(mailbox.next_change(), Some(Change::Remove(it)) if it == key(1)));
        assert!(matches!(mailbox.next_change(), Some(Change::Install(it, _)) if it == key(2)));
        assert!(mailbox.next_change().is_none());
    }

    #[test]
    fn what_does_not_fit_is_a_rebuild() {
        let (_poll, mailbox) = mailbox(2);
        for number in 0..3 {
            mailbox.post(install(number));
        }
        assert!(mailbox.wants_rebuild());
        mailbox.begin_rebuild();
        assert!(!mailbox.wants_rebuild());
        assert!(
            mailbox.next_change().is_none(),
            "the relay's entries say it all"
        );
        mailbox.post(Change::Remove(key(0)));
        assert!(mailbox.next_change().is_some());
    }

    #[test]
    fn handovers_are_bounded_and_come_back() {
        let (_poll, mailbox) = mailbox(1);
        let parts: [&[u8]; 3] = [b"head", b"body", &[0; 3]];
        for _ in 0..HANDOVERS {
            assert!(mailbox.hand_over(tuple(), Path::Relay, 4, &parts));
        }
        assert!(!mailbox.hand_over(tuple(), Path::Relay, 4, &parts));
        let handover = mailbox.next_handover().expect("there are some");
        assert_eq!(handover.as_bytes(), b"headbody\0\0\0");
        assert_eq!((handover.to, handover.payload), (tuple(), 4));
        mailbox.give_back(handover);
        assert!(!mailbox.hand_over(tuple(), Path::Table, 0, &[&[0; HANDOVER], b"x"]));
        assert!(mailbox.hand_over(tuple(), Path::Table, 0, &[&[0; HANDOVER]]));
    }
}
