//! A pipe moves every byte once and in order, whoever is slow.
use super::splice::Pipe;
use super::stream::Stream;
use super::testing::{noise, read_all, tcp, unix, write_all};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::task::Poll;

async fn fill(pipe: &mut Pipe, from: &mut Stream, most: u64) -> io::Result<usize> {
    poll_fn(|cx| pipe.poll_fill(cx, from, most)).await
}

async fn empty(pipe: &mut Pipe, to: &mut Stream) -> io::Result<()> {
    while pipe.held() > 0 {
        let (held, n) = (pipe.held(), poll_fn(|cx| pipe.poll_drain(cx, to)).await?);
        assert!(n > 0 && n + pipe.held() == held, "{n} of {held}");
    }
    Ok(())
}

/// Moves everything to the end of the source; the bytes that went.
async fn carry(pipe: &mut Pipe, from: &mut Stream, to: &mut Stream) -> usize {
    let mut all = 0;
    loop {
        let n = fill(pipe, from, u64::MAX).await.unwrap();
        if n == 0 {
            return all;
        }
        assert_eq!(pipe.held(), n);
        empty(pipe, to).await.unwrap();
        all += n;
    }
}

#[tokio::test]
async fn every_byte_goes_through_once_and_in_order() {
    let ((mut from, source), (mut to, sink)) = (tcp(), tcp());
    let sent = noise(3 << 20, 1);
    let (writer, reader) = (write_all(source, sent.clone()), read_all(sink));
    let mut pipe = Pipe::lend().expect("a pipe");
    assert_eq!(carry(&mut pipe, &mut from, &mut to).await, sent.len());
    // An end is said again, and holds nothing back.
    assert_eq!(fill(&mut pipe, &mut from, u64::MAX).await.unwrap(), 0);
    assert_eq!(pipe.held(), 0);
    to.shutdown_write().unwrap();
    drop((from, to));
    writer.join().unwrap();
    assert!(reader.join().unwrap() == sent, "other bytes came out");
}

#[tokio::test]
async fn a_reader_that_stands_still_loses_nothing() {
    let ((mut from, source), (mut to, sink)) = (tcp(), tcp());
    socket2::SockRef::from(&to).set_send_buffer_size(64 << 10).unwrap();
    // More than the socket buffers between the pipe and a peer that does not read.
    let sent = noise(8 << 20, 2);
    let writer = write_all(source, sent.clone());
    let mut pipe = Pipe::lend().expect("a pipe");
    // Once round, so that the runtime has heard that the sink can be written.
    let mut moved = fill(&mut pipe, &mut from, 1).await.unwrap();
    empty(&mut pipe, &mut to).await.unwrap();
    let stuck = loop {
        moved += fill(&mut pipe, &mut from, u64::MAX).await.unwrap();
        let full = poll_fn(|cx| {
            Poll::Ready(loop {
                match pipe.poll_drain(cx, &mut to) {
                    Poll::Ready(n) => assert!(n.unwrap() > 0),
                    Poll::Pending => break true,
                }
                if pipe.held() == 0 {
                    break false;
                }
            })
        });
        if full.await {
            break pipe.held();
        }
    };
    assert!(stuck > 0 && moved < sent.len(), "the peer took all {moved} bytes");
    let reader = read_all(sink);
    empty(&mut pipe, &mut to).await.unwrap();
    moved += carry(&mut pipe, &mut from, &mut to).await;
    assert_eq!(moved, sent.len());
    drop((from, to));
    writer.join().unwrap();
    assert!(reader.join().unwrap() == sent, "other bytes came out");
}

#[tokio::test]
async fn a_source_that_sends_a_byte_now_and_then_is_heard_each_time() {
    let ((mut from, mut source), (mut to, mut sink)) = (tcp(), tcp());
    let mut pipe = Pipe::lend().expect("a pipe");
    for byte in 0..100u8 {
        let waits = poll_fn(|cx| Poll::Ready(pipe.poll_fill(cx, &mut from, 10).is_pending()));
        assert!(waits.await, "bytes from nowhere");
        source.write_all(&[byte]).unwrap();
        assert_eq!(fill(&mut pipe, &mut from, 10).await.unwrap(), 1);
        empty(&mut pipe, &mut to).await.unwrap();
        let mut came = [0];
        sink.read_exact(&mut came).unwrap();
        assert_eq!(came, [byte]);
    }
}

#[tokio::test]
async fn no_more_is_moved_than_was_asked_for() {
    let ((mut from, mut source), (mut to, mut sink)) = (tcp(), tcp());
    source.write_all(b"bodyNEXT").unwrap();
    let mut pipe = Pipe::lend().expect("a pipe");
    let mut left = 4;
    while left > 0 {
        left -= fill(&mut pipe, &mut from, left).await.unwrap() as u64;
        empty(&mut pipe, &mut to).await.unwrap();
    }
    let mut body = [0; 4];
    sink.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"body");
    // What follows is still there for whoever reads the stream itself.
    let mut next: Vec<u8> = Vec::new();
    while next.len() < 4 {
        let mut some = [0; 8];
        let n = poll_fn(|cx| from.poll_read(cx, &mut some)).await.unwrap();
        next.extend(&some[..n]);
    }
    assert_eq!(next, b"NEXT");
}

#[tokio::test]
#[should_panic(expected = "emptied before it is filled")]
async fn a_pipe_that_holds_bytes_is_not_filled() {
    let (mut from, mut source) = tcp();
    source.write_all(b"twice").unwrap();
    let mut pipe = Pipe::lend().expect("a pipe");
    fill(&mut pipe, &mut from, 1).await.unwrap();
    let _ = fill(&mut pipe, &mut from, 1).await;
}

#[tokio::test]
async fn what_cannot_be_spliced_says_so_and_a_broken_side_its_error() {
    let ((mut plain, _keep), (mut from, mut source), (mut to, sink)) = (unix(), tcp(), tcp());
    let mut pipe = Pipe::lend().expect("a pipe");
    let unsupported = fill(&mut pipe, &mut plain, 1).await.unwrap_err();
    assert_eq!(unsupported.kind(), ErrorKind::Unsupported);
    socket2::SockRef::from(&sink).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(sink);
    let broken = loop {
        source.write_all(b"x").unwrap();
        fill(&mut pipe, &mut from, 1).await.unwrap();
        if let Err(error) = empty(&mut pipe, &mut to).await {
            break error;
        }
    };
    assert!(matches!(broken.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
    assert_eq!(pipe.held(), 1);
}
