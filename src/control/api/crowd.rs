//! The API's connections together. When there are as many as there may be, the one that has been
//! silent longest makes room for a new one; and nobody may leave an answer unread for long.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::telemetry::metrics::Counters;

pub(super) struct Crowd {
    most: usize,
    members: Mutex<Members>,
    began: Instant,
    closed: Counters<1>,
}

#[derive(Default)]
struct Members {
    last: u64,
    there: BTreeMap<u64, Arc<Member>>,
}

/// One connection.
struct Member {
    /// When it last took or brought a byte, in milliseconds since the crowd began.
    progress: AtomicU64,
    /// Whether there is something for it that it does not take.
    unread: AtomicBool,
    leave: Notify,
}

/// A connection's place in the crowd, until it is dropped.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    member: Arc<Member>,
}

impl Crowd {
    /// At most `most` connections; `closed` counts, by reason, those that had to leave.
    pub(super) fn new(most: usize, closed: Counters<1>) -> Arc<Self> {
        Arc::new(Self {
            most,
            members: Mutex::default(),
            began: Instant::now(),
            closed,
        })
    }

    /// A place for a new connection.
    pub(super) fn join(self: &Arc<Self>) -> Place {
        let now = self.now();
        let mut members = self.lock();
        if members.there.len() >= self.most {
            let oldest = members
                .there
                .iter()
                .min_by_key(|(_, member)| member.progress.load(Ordering::Relaxed));
            if let Some(number) = oldest.map(|(number, _)| *number)
                && let Some(member) = members.there.remove(&number)
            {
                member.leave.notify_one();
                self.closed.of(["full"]).inc();
            }
        }
        members.last += 1;
        let number = members.last;
        let member = Arc::new(Member {
            progress: AtomicU64::new(now),
            unread: AtomicBool::new(false),
            leave: Notify::new(),
        });
        members.there.insert(number, Arc::clone(&member));
        Place {
            crowd: Arc::clone(self),
            number,
            member,
        }
    }

    /// Closes connections that have left something unread for `patience`.
    pub(super) fn sweep(&self, patience: Duration) {
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let Some(since) = self.now().checked_sub(patience) else {
            return;
        };
        self.lock().there.retain(|_, member| {
            let is_stuck = member.unread.load(Ordering::Relaxed)
                && member.progress.load(Ordering::Relaxed) <= since;
            if is_stuck {
                member.leave.notify_one();
                self.closed.of(["unread"]).inc();
            }
            !is_stuck
        });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the connection has to leave.
    pub(super) async fn left(&self) {
        self.member.leave.notified().await;
    }

    /// `stream`, of which every byte counts as progress.
    pub(super) fn watch<S>(&self, stream: S) -> Watched<S> {
        Watched {
            stream,
            crowd: Arc::clone(&self.crowd),
            member: Arc::clone(&self.member),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().there.remove(&self.number);
    }
}

/// A connection whose progress is noted.
pub(super) struct Watched<S> {
    stream: S,
    crowd: Arc<Crowd>,
    member: Arc<Member>,
}

impl<S> Watched<S> {
    fn note_progress(&self) {
        let now = self.crowd.now();
        self.member.progress.store(now, Ordering::Relaxed);
    }

    fn note_written<T>(&self, written: Poll<T>) -> Poll<T> {
        let is_unread = written.is_pending();
        self.member.unread.store(is_unread, Ordering::Relaxed);
        if !is_unread {
            self.note_progress();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before {
            self.note_progress();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::telemetry::Metrics;

    fn crowd(most: usize) -> (Arc<Crowd>, Counters<1>) {
        let closed = Metrics::new().api_closed;
        (Crowd::new(most, closed.clone()), closed)
    }

    fn has_left(place: &Place) -> bool {
        let crowd = place.crowd.lock();
        !crowd.there.contains_key(&place.number)
    }

    #[tokio::test]
    async fn the_longest_silent_makes_room() {
        let (crowd, closed) = crowd(2);
        let [first, second] = [(); 2].map(|()| crowd.join());
        let (mut client, server) = duplex(64);
        let mut server = first.watch(server);
        std::thread::sleep(Duration::from_millis(5));
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        let third = crowd.join();
        assert_eq!(
            [&first, &second, &third].map(has_left),
            [false, true, false]
        );
        second.left().await;
        drop(second);
        assert_eq!(closed.of(["full"]).get(), 1);
        drop((first, third));
        assert_eq!(crowd.lock().there.len(), 0);
    }

    #[tokio::test]
    async fn only_who_leaves_an_answer_unread_is_swept_out() {
        let (crowd, closed) = crowd(9);
        let [idle, stuck] = [(); 2].map(|()| crowd.join());
        let (_client, server) = duplex(4);
        let mut server = stuck.watch(server);
        let write = server.write_all(b"longer than there is room");
        assert!(
            tokio::time::timeout(Duration::from_millis(5), write)
                .await
                .is_err()
        );
        crowd.sweep(Duration::from_secs(600));
        assert!(!has_left(&stuck));
        std::thread::sleep(Duration::from_millis(5));
        crowd.sweep(Duration::from_millis(1));
        assert_eq!([&idle, &stuck].map(has_left), [false, true]);
        stuck.left().await;
        assert_eq!(closed.of(["unread"]).get(), 1);
    }
}
