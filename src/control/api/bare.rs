//! Refusals that hyper sends by itself: of heads that it can't read, without a body. They get one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::control::problem::{Kind, Problem};

/// A connection whose bare refusals become problems.
pub(super) struct Explained<S> {
    stream: S,
    refusal: Option<Refusal>,
}

/// A refusal on its way out.
struct Refusal {
    /// What is sent.
    bytes: Vec<u8>,
    /// How much of it has been.
    sent: usize,
    /// How many of hyper's bytes it stands for.
    instead_of: usize,
}

impl<S> Explained<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            refusal: None,
        }
    }
}

impl Refusal {
    /// What to send instead of `bytes`, if they are a bare refusal.
    fn of(bytes: &[u8]) -> Option<Self> {
        let head = bytes.strip_prefix(b"HTTP/1.1 ")?;
        let (kind, detail) = match head.get(..4)? {
            b"400 " => (Kind::BadRequest, "Its first lines can't be read."),
            b"414 " => (Kind::UriTooLong, ""),
            b"431 " => (Kind::HeadTooLarge, "Send fewer or shorter headers."),
            _ => return None,
        };
        // Whatever the API itself answers has a body.
        let empty = b"\r\ncontent-length: 0\r\n";
        let bare = bytes.windows(empty.len()).any(|part| part == empty);
        (bare && bytes.ends_with(b"\r\n\r\n")).then(|| Self {
            bytes: written(&Problem::new(kind, detail)),
            sent: 0,
            instead_of: bytes.len(),
        })
    }
}

fn written(problem: &Problem) -> Vec<u8> {
    let body = serde_json::to_string(problem).unwrap_or_default();
    let (status, length) = (problem.status, body.len());
    let reason = axum::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/problem+json\r\n\
         content-length: {length}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

impl<S: AsyncWrite + Unpin> Explained<S> {
    /// Sends the refusal that `bytes` are, to its end; `None` if they are none.
    fn poll_refusal(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Option<io::Result<usize>>> {
        if self.refusal.is_none() {
            self.refusal = Refusal::of(bytes);
        }
        while let Some(refusal) = &mut self.refusal {
            let rest = &refusal.bytes[refusal.sent..];
            if rest.is_empty() {
                let instead_of = refusal.instead_of;
                self.refusal = None;
                return Poll::Ready(Some(Ok(instead_of)));
            }
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest)) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(sent) => refusal.sent += sent,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(None)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_refusal(context, bytes)) {
            Some(done) => Poll::Ready(done),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = parts.first().map_or(&[][..], |part| part);
        match ready!(self.poll_refusal(context, first)) {
            Some(done) => Poll::Ready(done),
            None => Pin::new(&mut self.stream).poll_write_vectored(context, parts),
        }
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
