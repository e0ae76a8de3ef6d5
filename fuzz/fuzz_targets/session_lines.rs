//! The bytes of a client, cut into commands: none is longer than it may be, and none is lost or made up.
#![no_main]

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use atsign_secondary::memory::{Budget, Taker};
use atsign_secondary::session::lines::{Line, Lines, Room};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::{Builder, Runtime};

const LONGEST: usize = 3000;

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_time().build().expect("a runtime"));
}

/// Bytes that come a few at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    step: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let count = self.step.min(buffer.remaining()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(count);
        buffer.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let mut stream = Pieces { rest: bytes, step: usize::from(step).max(1) };
    RUNTIME.with_borrow_mut(|runtime| {
        runtime.block_on(async {
            let budget = Budget::unlimited();
            let mut lines = Lines::default();
            let (mut come, mut behind) = (0, bytes);
            loop {
                let room = Room { longest: LONGEST, taker: Taker::Command, budget: &budget };
                match lines.next(&mut stream, room).await.expect("reading does not fail") {
                    Line::Command(line) => {
                        assert!(line.len() <= LONGEST && !line.trim_ascii().contains(&b'\n'));
                        come += line.trim_ascii().len();
                        let line = line.trim_ascii();
                        let at = behind.windows(line.len().max(1)).position(|window| window == line);
                        behind =
                            if line.is_empty() { behind } else { &behind[at.expect("sent") + line.len()..] };
                    }
                    Line::Refused(_) => panic!("there is memory for everything"),
                    Line::TooLong => {
                        assert!(bytes.len() > LONGEST);
                        break;
                    }
                    Line::End => break,
                }
            }
            assert!(come <= bytes.len());
        });
    });
});
