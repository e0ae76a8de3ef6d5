//! A WebSocket as a stream of bytes: whatever messages bring is read, and each answer is one message (reference page,
//! appendix A, 3.2).
//!
//! Frames are passed through piece by piece, so what a client announces costs no memory.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The longest head of a frame, and the most that a control frame carries.
const LONGEST_HEAD: usize = 14;
const LONGEST_CONTROL: usize = 125;

/// Bytes of an answer that are framed at a time.
const PIECE: usize = 16 * 1024;

/// A WebSocket, the server's end of it.
pub struct Socket<T> {
    stream: T,
    incoming: Incoming,
    /// What is framed and not sent yet.
    outgoing: Vec<u8>,
    /// A message was begun and not ended.
    within_message: bool,
    /// The next flush ends it.
    ends: bool,
    closed: bool,
}

/// What of a frame is being read.
enum Incoming {
    Head([u8; LONGEST_HEAD], usize),
    Data { left: u64, mask: Mask },
    Control { kind: Control, left: usize, mask: Mask, payload: Vec<u8> },
}

/// What the bytes of a client are hidden by, and how many of them were met.
#[derive(Clone, Copy)]
struct Mask([u8; 4], usize);

impl Mask {
    fn apply(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= self.0[self.1 % 4];
            self.1 += 1;
        }
    }
}

fn garbled(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this is no WebSocket: {why}"))
}

impl Incoming {
    const NONE: Self = Self::Head([0; LONGEST_HEAD], 0);

    /// What a whole head says comes next; `None` while it is not whole.
    fn after_head(head: &[u8]) -> io::Result<Option<Self>> {
        let parsed =
            FrameHeader::parse(&mut Cursor::new(head)).map_err(|error| garbled(&error.to_string()))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let mask = Mask(header.mask.ok_or_else(|| garbled("the client does not mask its frames"))?, 0);
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(garbled("no extension was agreed upon"));
        }
        match header.opcode {
            OpCode::Data(_) => Ok(Some(Self::Data { left: length, mask })),
            OpCode::Control(kind) => {
                let left = usize::try_from(length).unwrap_or(usize::MAX);
                if left > LONGEST_CONTROL || !header.is_final {
                    return Err(garbled("a control frame is too long"));
                }
                Ok(Some(Self::Control { kind, left, mask, payload: Vec::new() }))
            }
        }
    }
}

/// How many bytes of a head are missing for sure, so that nothing behind it is read.
fn missing(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else { return 2 - head.len() };
    let length = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask - head.len()
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// The socket of a stream whose client was told that it may speak.
    pub fn new(stream: T) -> Self {
        Self {
            stream,
            incoming: Incoming::NONE,
            outgoing: Vec::new(),
            within_message: false,
            ends: false,
            closed: false,
        }
    }

    fn frame(&mut self, opcode: OpCode, is_final: bool, payload: &[u8]) {
        let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
        // Writing to a Vec does not fail.
        let _ = header.format(payload.len() as u64, &mut self.outgoing);
        self.outgoing.extend_from_slice(payload);
    }

    /// Sends what is framed.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.outgoing))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.drain(..sent);
        }
        self.outgoing = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Reads into `bytes`, as far as they go; 0 at the end.
    fn poll_bytes(&mut self, context: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Answers a control frame.
    fn control(&mut self, kind: Control, payload: &[u8]) {
        match kind {
            // One that is not answered yet is enough: a client cannot make answers pile up.
            Control::Ping if self.outgoing.is_empty() => {
                self.frame(OpCode::Control(Control::Pong), true, payload);
            }
            Control::Close if !self.closed => {
                self.closed = true;
                self.frame(OpCode::Control(Control::Close), true, payload);
            }
            _ => {}
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // Pongs go out while nothing else does; whoever does not read them is not waited for.
            if let Poll::Ready(Err(error)) = this.poll_send(context) {
                return Poll::Ready(Err(error));
            }
            if this.closed {
                return Poll::Ready(Ok(()));
            }
            match std::mem::replace(&mut this.incoming, Incoming::NONE) {
                Incoming::Head(mut head, known) => {
                    let wanted = known + missing(&head[..known]);
                    let read = this.poll_bytes(context, &mut head[known..wanted]);
                    let known = match &read {
                        Poll::Ready(Ok(read)) => known + read,
                        _ => known,
                    };
                    this.incoming = Incoming::Head(head, known);
                    if ready!(read)? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    if let Some(next) = Incoming::after_head(&head[..known])? {
                        this.incoming = next;
                    }
                }
                Incoming::Data { left: 0, .. } => {}
                Incoming::Data { left, mut mask } => {
                    let room = buffer.remaining().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let bytes = buffer.initialize_unfilled_to(room);
                    let read = this.poll_bytes(context, bytes);
                    let count = match &read {
                        Poll::Ready(Ok(count)) => *count,
                        _ => 0,
                    };
                    mask.apply(&mut bytes[..count]);
                    this.incoming = Incoming::Data { left: left - count as u64, mask };
                    ready!(read)?;
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Incoming::Control { kind, left: 0, payload, .. } => this.control(kind, &payload),
                Incoming::Control { kind, left, mut mask, mut payload } => {
                    let mut bytes = [0; LONGEST_CONTROL];
                    let read = this.poll_bytes(context, &mut bytes[..left]);
                    let count = match &read {
                        Poll::Ready(Ok(count)) => *count,
                        _ => 0,
                    };
                    mask.apply(&mut bytes[..count]);
                    payload.extend_from_slice(&bytes[..count]);
                    this.incoming = Incoming::Control { kind, left: left - count, mask, payload };
                    if ready!(read)? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        if bytes.is_empty() {
            this.ends = true;
            return Poll::Ready(Ok(0));
        }
        let piece = &bytes[..bytes.len().min(PIECE)];
        let begun = std::mem::replace(&mut this.within_message, true);
        // An answer is a text; what a stream carries may be anything.
        let is_text = std::str::from_utf8(piece).map_or_else(|error| error.error_len().is_none(), |_| true);
        let kind = match (begun, is_text) {
            (true, _) => Data::Continue,
            (false, true) => Data::Text,
            (false, false) => Data::Binary,
        };
        this.frame(OpCode::Data(kind), false, piece);
        Poll::Ready(Ok(piece.len()))
    }

    /// Ends the message, if nothing was written last: parts of a long one are flushed too.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.ends) && std::mem::take(&mut this.within_message) {
            this.frame(OpCode::Data(Data::Continue), true, &[]);
        }
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.closed, true) {
            this.frame(OpCode::Control(Control::Close), true, &[]);
        }
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_test::io::Builder;

    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    /// A frame as a client sends it.
    fn sent(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask: Some(MASK), ..FrameHeader::default() };
        let mut frame = Vec::new();
        header.format(payload.len() as u64, &mut frame).expect("a frame");
        let mut payload = payload.to_vec();
        Mask(MASK, 0).apply(&mut payload);
        frame.extend(payload);
        frame
    }

    fn text(payload: &[u8]) -> Vec<u8> {
        sent(OpCode::Data(Data::Text), true, payload)
    }

    async fn read(pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
        let mut stream = Builder::new();
        for piece in pieces {
            stream.read(piece);
        }
        let mut bytes = Vec::new();
        Socket::new(stream.build()).read_to_end(&mut bytes).await.map(|_| bytes)
    }

    #[tokio::test]
    async fn what_messages_bring_is_read_however_they_arrive() {
        let long = vec![b'x'; 70_000];
        let all = [
            text(b"from:@alice\n"),
            sent(OpCode::Data(Data::Binary), false, b"sc"),
            sent(OpCode::Data(Data::Continue), true, b"an\n"),
            text(b""),
            text(&[&long[..300], b"\n"].concat()),
            text(&long),
        ]
        .concat();
        let expected = [b"from:@alice\nscan\n", &long[..300], b"\n", &long].concat();
        for size in [1, 2, 3, 7, 1000, all.len()] {
            let pieces: Vec<_> = all.chunks(size).collect();
            assert!(read(&pieces).await.expect("read") == expected, "pieces of {size}");
        }
    }

    #[tokio::test]
    async fn pings_are_answered_and_a_close_ends_it() {
        let mut pong = vec![0x8A, 2];
        pong.extend(b"hi");
        let stream = Builder::new()
            .read(&sent(OpCode::Control(Control::Ping), true, b"hi"))
            .write(&pong)
            .read(&text(b"x"))
            .read(&sent(OpCode::Control(Control::Close), true, &[3, 232]))
            .write(&[0x88, 2, 3, 232])
            .build();
        let mut bytes = Vec::new();
        Socket::new(stream).read_to_end(&mut bytes).await.expect("read");
        assert_eq!(bytes, b"x");
    }

    #[tokio::test]
    async fn what_is_no_frame_of_a_client_is_refused() {
        let mut unmasked = Vec::new();
        let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
        header.format(1, &mut unmasked).expect("a frame");
        let mut extended = text(b"x");
        extended[0] |= 0x40;
        for bytes in [
            unmasked,
            extended,
            sent(OpCode::Control(Control::Ping), true, &[0; 126]),
            sent(OpCode::Control(Control::Ping), false, b""),
            sent(OpCode::Control(Control::Reserved(11)), true, b""),
        ] {
            let mut stream = Builder::new().read(&bytes).build();
            let refused = Socket::new(&mut stream).read_u8().await.expect_err("refused");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
            // What was not read of it is of no interest.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }

    #[tokio::test]
    async fn each_answer_is_one_message() {
        let stream = Builder::new()
            .write(&[0x01, 4])
            .write(b"data")
            .write(&[0x00, 2])
            .write(b":1")
            .write(&[0x80, 0])
            .write(&[0x02, 1, 0xFF, 0x80, 0])
            .write(&[0x88, 0])
            .build();
        let mut socket = Socket::new(stream);
        for pieces in [&[&b"data"[..], b":1"][..], &[b"\xFF"]] {
            for piece in pieces {
                socket.write_all(piece).await.expect("written");
                socket.flush().await.expect("flushed");
            }
            assert_eq!(socket.write(b"").await.expect("the end"), 0);
            socket.flush().await.expect("flushed");
        }
        socket.shutdown().await.expect("closed");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 1..300), size in 1_usize..20) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let (near, mut far) = tokio::io::duplex(1024);
                for piece in bytes.chunks(size) {
                    far.write_all(piece).await.expect("written");
                }
                far.shutdown().await.expect("closed");
                let mut read = Vec::new();
                let _ = Socket::new(near).read_to_end(&mut read).await;
                assert!(read.len() < bytes.len());
            });
        }
    }
}
