//! A byte stream gives the same messages in one piece as byte by byte.

use vizard_proto::framing::{Frame, next_frame};

const MAX: usize = 2048;

pub fn run(stream: &[u8]) {
    assert_eq!(in_one_piece(stream), byte_by_byte(stream));
}

/// The lengths of the messages at the start of the stream, passed over or not, and whether it loses its rhythm then.
fn in_one_piece(mut stream: &[u8]) -> (Vec<usize>, bool) {
    let mut lengths = Vec::new();
    loop {
        match next_frame(stream, MAX) {
            Frame::Complete { message, total } => {
                assert!(message <= total && total <= stream.len() && total <= MAX);
                lengths.push(message);
                stream = &stream[total..];
            }
            Frame::Incomplete { at_least } => {
                assert!(at_least > stream.len());
                return (lengths, false);
            }
            Frame::TooLong { total } => {
                assert!(total > MAX);
                lengths.push(total);
                stream = stream.get(total..).unwrap_or_default();
            }
            Frame::Invalid => return (lengths, true),
        }
    }
}

fn byte_by_byte(stream: &[u8]) -> (Vec<usize>, bool) {
    let mut lengths = Vec::new();
    let mut start = 0;
    for end in 0..=stream.len() {
        if end < start {
            continue; // Inside a message that is passed over.
        }
        match next_frame(&stream[start..end], MAX) {
            Frame::Complete { message, total } => {
                assert_eq!(total, end - start, "as soon as it is whole");
                lengths.push(message);
                start = end;
            }
            Frame::Incomplete { at_least } => assert!(at_least > end - start),
            Frame::TooLong { total } => {
                lengths.push(total);
                start += total;
            }
            Frame::Invalid => return (lengths, true),
        }
    }
    (lengths, false)
}
