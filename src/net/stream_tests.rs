//! A stream reads, writes, ends and resets alike, whatever carries it.
use super::stream::Stream;
use super::testing::{tcp, unix};
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::task::{Context, Poll, Waker};

async fn read(stream: &mut Stream, most: usize) -> Vec<u8> {
    let mut buf = vec![0; most];
    let n = poll_fn(|cx| stream.poll_read(cx, &mut buf)).await.unwrap();
    buf.truncate(n);
    buf
}

async fn talk(mut ours: Stream, mut peer: impl Read + Write) {
    assert!(ours.is_quiet() && !ours.has_news());
    peer.write_all(b"hello").unwrap();
    poll_fn(|cx| ours.poll_read_ready(cx)).await.unwrap();
    assert!(!ours.is_quiet() && ours.has_news());
    assert_eq!(read(&mut ours, 3).await, b"hel");
    assert_eq!(read(&mut ours, 9).await, b"lo");
    assert!(ours.is_quiet() && !ours.has_news());
    let both = [IoSlice::new(b"to "), IoSlice::new(b"you")];
    let n = poll_fn(|cx| ours.poll_write_vectored(cx, &both)).await.unwrap();
    assert_eq!(n, 6);
    ours.shutdown_write().unwrap();
    let mut came = String::new();
    peer.read_to_string(&mut came).unwrap();
    assert_eq!(came, "to you");
    peer.write_all(b"!").unwrap();
    drop(peer);
    assert_eq!(read(&mut ours, 9).await, b"!");
    assert_eq!(read(&mut ours, 9).await, b"");
    assert!(!ours.is_quiet(), "an end is news");
    // The peer is gone: ending our side once more is no error.
    ours.shutdown_write().unwrap();
}

#[tokio::test]
async fn tcp_talks() {
    let (ours, peer) = tcp();
    assert!(ours.tcp().is_some());
    talk(ours, peer).await;
}

#[tokio::test]
async fn unix_talks() {
    let (ours, peer) = unix();
    assert!(ours.tcp().is_none());
    talk(ours, peer).await;
}

#[tokio::test]
async fn a_reset_cannot_be_taken_for_a_clean_end() {
    let (mut ours, mut peer) = tcp();
    poll_fn(|cx| ours.poll_write(cx, b"part of an answer")).await.unwrap();
    ours.reset_on_close();
    drop(ours);
    let mut came = Vec::new();
    assert_eq!(peer.read_to_end(&mut came).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_write_to_a_peer_that_does_not_read_waits() {
    let (mut ours, peer) = tcp();
    let block = [0; 64 << 10];
    // Once in earnest, so that the runtime has heard that it can be written.
    let mut written = poll_fn(|cx| ours.poll_write(cx, &block)).await.unwrap() as u64;
    while let Some(n) = poll_fn(|cx| match ours.poll_write(cx, &block) {
        Poll::Ready(n) => Poll::Ready(Some(n.unwrap())),
        Poll::Pending => Poll::Ready(None),
    })
    .await
    {
        written += n as u64;
    }
    ours.shutdown_write().unwrap();
    let mut came = 0;
    std::io::copy(&mut { peer }, &mut std::io::sink()).map(|n| came = n).unwrap();
    assert_eq!(came, written);
}

/// What is behind unread bytes is heard of, and none of them is lost.
async fn part(mut ours: Stream, mut peer: impl Read + Write + Send + 'static) {
    peer.write_all(b"hello").unwrap();
    poll_fn(|cx| ours.poll_read_ready(cx)).await.unwrap();
    for _ in 0..2 {
        assert!(!poll_fn(|cx| Poll::Ready(ours.poll_closed(cx).is_ready())).await);
    }
    assert!(ours.has_news() && ours.is_readable());
    assert_eq!(read(&mut ours, 3).await, b"hel");
    peer.write_all(b" and").unwrap();
    assert!(!poll_fn(|cx| Poll::Ready(ours.poll_closed(cx).is_ready())).await);
    let woken = std::thread::spawn(move || {
        peer.write_all(b" bye").unwrap();
        drop(peer);
    });
    poll_fn(|cx| ours.poll_closed(cx)).await;
    woken.join().unwrap();
    assert_eq!(read(&mut ours, 99).await, b"lo and bye");
    assert_eq!(read(&mut ours, 99).await, b"");
}

#[tokio::test]
async fn an_end_is_heard_of_before_what_comes_first_is_read() {
    let (ours, peer) = tcp();
    part(ours, peer).await;
    let (ours, peer) = unix();
    part(ours, peer).await;
}

/// A connection that waited in one task is heard of in the next one that waits for it.
#[tokio::test]
async fn a_stream_wakes_the_task_that_has_it() {
    let (mut ours, mut peer) = tcp();
    let mut nobody = Context::from_waker(Waker::noop());
    assert!(ours.poll_read_ready(&mut nobody).is_pending());
    ours.change_task();
    let heard = tokio::spawn(async move {
        poll_fn(|cx| ours.poll_read_ready(cx)).await.unwrap();
        read(&mut ours, 9).await
    });
    tokio::task::yield_now().await;
    peer.write_all(b"hello").unwrap();
    assert_eq!(heard.await.unwrap(), b"hello");
}

/// The runtime keeps no waker for a task whose turn is over: the next look must give it anew.
#[tokio::test]
async fn a_task_that_has_spent_its_turn_is_woken_all_the_same() {
    let (mut ours, mut peer) = tcp();
    let (tell, told) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        told.recv().unwrap();
        peer.write_all(b"hello").unwrap();
        peer
    });
    let mut looks = 0;
    let heard = tokio::spawn(async move {
        poll_fn(|cx| {
            looks += 1;
            while let (1, Poll::Ready(turn)) = (looks, tokio::task::coop::poll_proceed(cx)) {
                turn.made_progress();
            }
            let ready = ours.poll_read_ready(cx).map(Result::unwrap);
            if looks == 2 {
                assert!(ready.is_pending());
                tell.send(()).unwrap();
            }
            ready
        })
        .await;
    });
    let heard = tokio::time::timeout(std::time::Duration::from_secs(60), heard).await;
    heard.expect("it was never woken").unwrap();
    drop(writer.join().unwrap());
}

#[tokio::test]
async fn what_a_peer_has_not_read_is_not_taken() {
    let (mut ours, mut peer) = tcp();
    let wanted = vec![b'x'; 64 << 10];
    let mut written = 0;
    // Until the kernel holds all that it can.
    while let Poll::Ready(n) = ours.poll_write(&mut Context::from_waker(Waker::noop()), &wanted) {
        written += n.unwrap();
    }
    assert!(ours.poll_taken(&mut Context::from_waker(Waker::noop())).is_pending());
    let reader = std::thread::spawn(move || {
        let mut came = vec![0; written];
        peer.read_exact(&mut came).unwrap();
        peer
    });
    poll_fn(|cx| ours.poll_taken(cx)).await;
    ours.shutdown_write().unwrap();
    assert_eq!(reader.join().unwrap().read(&mut [0; 9]).unwrap(), 0);
    let (mut ours, peer) = tcp();
    poll_fn(|cx| ours.poll_write(cx, b"little")).await.unwrap();
    poll_fn(|cx| ours.poll_taken(cx)).await;
    drop(peer);
    let (mut ours, _peer) = unix();
    assert!(ours.poll_taken(&mut Context::from_waker(Waker::noop())).is_ready());
}
