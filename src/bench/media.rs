//! Both directions of every pair of a thread: what is sent, and what is made of what arrives.

use super::client::Nanos;
use super::frames::{Envelope, Sender};
use super::ledger::{Arrival, Lane};
use super::payload::Body;
use super::stats::Tally;

/// A direction of a pair. It begins at the end with its own index and ends at the pair's other
/// end; a pair's ends have the indices `2 * pair` and `2 * pair + 1`.
struct Track {
    lane: Lane,
    envelope: Envelope,
    /// Who its packets come from, as the receiving end is told.
    sender: Sender,
}

/// See the module's description.
pub(super) struct Media {
    run: u32,
    body: Body,
    tracks: Vec<Track>,
    /// The tracks that carry packets, in the order of sending.
    order: Vec<usize>,
    next: usize,
    /// Sent, not arrived, and not overtaken.
    pub(super) under_way: u64,
    pub(super) tally: Tally,
    start: Nanos,
    slice: Nanos,
}

impl Media {
    pub(super) fn new(run: u32, size: usize) -> Self {
        Self {
            run,
            body: Body::new(size),
            tracks: Vec::new(),
            order: Vec::new(),
            next: 0,
            under_way: 0,
            tally: Tally::new(),
            start: 0,
            slice: 1,
        }
    }

    /// Adds the next direction: of pair number `pair` of the whole run.
    pub(super) fn add(&mut self, pair: usize, envelope: Envelope, sender: Sender, carries: bool) {
        let index = self.tracks.len();
        let direction = u8::try_from(index % 2).unwrap_or(0);
        self.tracks.push(Track {
            lane: Lane::new(u32::try_from(pair).unwrap_or(u32::MAX), direction),
            envelope,
            sender,
        });
        if carries {
            self.order.push(index);
        }
    }

    /// Whether there is a direction that ends at `end`.
    pub(super) fn has(&self, end: usize) -> bool {
        end < self.tracks.len()
    }

    pub(super) fn begin_step(&mut self, now: Nanos, slice: Nanos) {
        self.tally = Tally::new();
        (self.start, self.slice) = (now, slice.max(1));
        self.under_way = 0;
        for track in &mut self.tracks {
            track.lane.begin_step();
        }
    }

    /// The track whose turn it is, and the length of its messages.
    pub(super) fn next_track(&mut self) -> (usize, usize) {
        let track = self.order[self.next];
        self.next = (self.next + 1) % self.order.len();
        (track, self.tracks[track].envelope.len())
    }

    /// Writes the next message of a track.
    pub(super) fn write(&mut self, track: usize, now: Nanos, room: &mut [u8]) {
        let (run, body) = (self.run, &self.body);
        let track = &mut self.tracks[track];
        let stamp = track.lane.stamp(run, now);
        track
            .envelope
            .write(room, |payload| body.write(stamp, payload));
    }

    /// So many messages were written and handed on.
    pub(super) fn sent(&mut self, count: u64, now: Nanos) {
        self.under_way += count;
        self.tally.counts.sent += count;
        let slice = self.slice_at(now);
        self.tally.slice(slice).sent += count;
    }

    /// Judges a payload that arrived at `end`; `known`: whether its datagram came from where that
    /// end sends to.
    pub(super) fn arrive(
        &mut self,
        end: usize,
        sender: Sender,
        known: bool,
        payload: &[u8],
        now: Nanos,
    ) {
        let track = &mut self.tracks[end ^ 1];
        let genuine = known && sender == track.sender;
        let counts = &mut self.tally.counts;
        let arrival = track
            .lane
            .arrive(self.run, &self.body, payload, genuine, counts);
        if let Arrival::Received { sent, settled } = arrival {
            self.under_way = self.under_way.saturating_sub(settled);
            let slice = self.slice_at(sent);
            self.tally.arrived(slice, now.saturating_sub(sent));
        }
    }

    /// What is no media of ours and no answer either.
    pub(super) fn garbage(&mut self) {
        self.tally.counts.damaged += 1;
    }

    /// Gives up on all that is under way.
    pub(super) fn write_off(&mut self) {
        for track in &mut self.tracks {
            track.lane.write_off();
        }
        self.under_way = 0;
    }

    /// A packet belongs to the slice in which it was sent.
    fn slice_at(&self, sent: Nanos) -> usize {
        usize::try_from(sent.saturating_sub(self.start) / self.slice).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vizard_proto::channel_data::ChannelNumber;

    const SIZE: usize = 40;

    fn channel(number: u16) -> ChannelNumber {
        ChannelNumber::new(number).expect("in range")
    }

    /// Two pairs on channels; each end hears the other on a channel of its own.
    fn media() -> Media {
        let mut media = Media::new(7, SIZE);
        for track in 0..4_u16 {
            let envelope = Envelope::channel(channel(0x4000 + track), SIZE);
            let heard = Sender::Channel(channel(0x4100 + track));
            media.add(usize::from(track / 2), envelope, heard, true);
        }
        media.begin_step(0, 1_000);
        media
    }

    fn send(media: &mut Media) -> (usize, Vec<u8>) {
        let (track, len) = media.next_track();
        let mut message = vec![0; len];
        media.write(track, 10, &mut message);
        media.sent(1, 10);
        (track, message.split_off(4))
    }

    #[test]
    fn what_arrives_at_the_right_end_on_the_right_channel_counts() {
        let mut media = media();
        for expected in 0..4_u16 {
            let (track, payload) = send(&mut media);
            assert_eq!(track, usize::from(expected));
            let heard = Sender::Channel(channel(0x4100 + expected));
            media.arrive(track ^ 1, heard, true, &payload, 510);
        }
        let counts = media.tally.counts;
        assert_eq!((counts.received, counts.lost(), counts.wrong()), (4, 0, 0));
        assert_eq!((media.under_way, media.tally.latency.max()), (0, 500));
    }

    #[test]
    fn another_end_another_channel_and_another_address_are_told_apart() {
        let mut media = media();
        let (track, payload) = send(&mut media);
        assert_eq!(track, 0);
        let right = Sender::Channel(channel(0x4100));
        media.arrive(3, Sender::Channel(channel(0x4102)), true, &payload, 20);
        media.arrive(0, Sender::Channel(channel(0x4101)), true, &payload, 20);
        assert_eq!(media.tally.counts.misdelivered, 2);
        media.arrive(1, Sender::Channel(channel(0x4101)), true, &payload, 20);
        media.arrive(1, right, false, &payload, 20);
        assert_eq!(media.tally.counts.wrong_source, 2);
        assert_eq!(media.tally.counts.received, 0);
        media.arrive(1, right, true, &payload, 20);
        media.arrive(1, right, true, &payload, 20);
        let counts = media.tally.counts;
        assert_eq!((counts.received, counts.duplicates), (1, 1));
    }

    #[test]
    fn what_never_comes_is_written_off_and_lost() {
        let mut media = media();
        for _ in 0..4 {
            send(&mut media);
        }
        assert_eq!(media.under_way, 4);
        media.write_off();
        assert_eq!((media.under_way, media.tally.counts.lost()), (0, 4));
    }
}
