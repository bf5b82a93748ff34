//! A two-way copy passes every byte and each end on, counts, and ends by its limits.
use super::copy::{Copied, Ended, TwoWay, two_way};
use super::stream::Stream;
use super::testing::{noise, read_all, tcp, unix, write_all};
use super::timer::Timer;
use crate::message::Chunk;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const FOREVER: TwoWay = TwoWay { idle: None, max: None };

async fn copy(left: Stream, right: Stream, how: TwoWay) -> Copied {
    copy_with(left, right, [b"", b""], how).await
}

/// Copies with bytes that were already read from each side; holds the live counts against the end.
async fn copy_with(mut left: Stream, mut right: Stream, read: [&[u8]; 2], how: TwoWay) -> Copied {
    let [from_left, from_right] = read.map(|bytes| {
        let mut chunk = Chunk::none();
        chunk.extend(bytes);
        chunk
    });
    let live = [AtomicU64::new(0), AtomicU64::new(0)];
    let moved = |there, back| {
        live[0].fetch_add(there, Relaxed);
        live[1].fetch_add(back, Relaxed);
    };
    let mut timer = Timer::new();
    let copied =
        two_way(&mut left, &mut right, from_left, from_right, how, &mut timer, &moved).await;
    let counted = live.map(AtomicU64::into_inner);
    assert_eq!(counted, [copied.left_to_right, copied.right_to_left]);
    copied
}

fn counts(copied: &Copied) -> (u64, u64, Ended) {
    (copied.left_to_right, copied.right_to_left, copied.ended)
}

/// The left side asks and ends its direction first; only then the right side answers.
fn ask_and_answer(
    mut asks: impl Read + Write + Send + 'static,
    end: impl FnOnce() + Send + 'static,
    mut answers: impl Read + Write + Send + 'static,
) -> std::thread::JoinHandle<(Vec<u8>, Vec<u8>)> {
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        answers.read_to_end(&mut asked).unwrap();
        answers.write_all(b"the answer").unwrap();
        asked
    });
    std::thread::spawn(move || {
        asks.write_all(b"asked").unwrap();
        end();
        let mut answer = Vec::new();
        asks.read_to_end(&mut answer).unwrap();
        (server.join().unwrap(), answer)
    })
}

#[tokio::test]
async fn an_end_is_passed_on_while_the_other_direction_goes_on() {
    let ((left, asks), (right, answers)) = (tcp(), tcp());
    let half = asks.try_clone().unwrap();
    let peers = ask_and_answer(asks, move || half.shutdown(Shutdown::Write).unwrap(), answers);
    let copied = copy(left, right, FOREVER).await;
    assert_eq!(counts(&copied), (5, 10, Ended::Done));
    assert_eq!(peers.join().unwrap(), (b"asked".to_vec(), b"the answer".to_vec()));
}

#[tokio::test]
async fn an_end_is_passed_on_the_other_way_and_over_unix_sockets_too() {
    let ((left, answers), (right, asks)) = (tcp(), unix());
    let half = asks.try_clone().unwrap();
    let peers = ask_and_answer(asks, move || half.shutdown(Shutdown::Write).unwrap(), answers);
    let copied = copy(left, right, FOREVER).await;
    assert_eq!(counts(&copied), (10, 5, Ended::Done));
    assert_eq!(peers.join().unwrap(), (b"asked".to_vec(), b"the answer".to_vec()));
}

#[tokio::test]
async fn bulk_goes_both_ways_at_once_without_a_byte_lost() {
    let ((left, client), (right, server)) = (tcp(), tcp());
    let (up, down) = (noise(2 << 20, 3), noise(3 << 20, 4));
    let reads = [read_all(client.try_clone().unwrap()), read_all(server.try_clone().unwrap())];
    let writes = [write_all(client, up.clone()), write_all(server, down.clone())];
    let copied = copy(left, right, FOREVER).await;
    assert_eq!(counts(&copied), (up.len() as u64, down.len() as u64, Ended::Done));
    writes.into_iter().for_each(|thread| thread.join().unwrap());
    let [at_client, at_server] = reads.map(|thread| thread.join().unwrap());
    assert!(at_client == down && at_server == up, "other bytes came out");
}

#[tokio::test]
async fn bytes_that_were_read_before_go_first_and_count() {
    let ((left, mut client), (right, mut server)) = (tcp(), tcp());
    client.write_all(b" second").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let copied = copy_with(left, right, [b"first", b"welcome"], FOREVER).await;
    assert_eq!(counts(&copied), (12, 7, Ended::Done));
    let (mut at_server, mut at_client) = (String::new(), String::new());
    server.read_to_string(&mut at_server).unwrap();
    client.read_to_string(&mut at_client).unwrap();
    assert_eq!((&*at_server, &*at_client), ("first second", "welcome"));
}

#[tokio::test]
async fn nothing_for_a_while_ends_it_and_bytes_before_count() {
    let ((left, mut client), (right, _server)) = (tcp(), tcp());
    client.write_all(b"hi").unwrap();
    let how = TwoWay { idle: Some(Duration::from_millis(50)), max: None };
    let copied = copy_with(left, right, [b"first", b""], how).await;
    assert_eq!(copied.ended, Ended::Idle);
    assert!(copied.left_to_right >= 5 && copied.right_to_left == 0, "{copied:?}");
}

#[tokio::test]
async fn a_life_ends_however_busy_it_is() {
    let ((left, _client), (right, _server)) = (tcp(), tcp());
    let how =
        TwoWay { idle: Some(Duration::from_secs(3600)), max: Some(Duration::from_millis(20)) };
    assert_eq!(copy(left, right, how).await.ended, Ended::Max);
}

#[tokio::test]
async fn a_side_that_resets_is_named() {
    for broken in [0, 1] {
        let ((left, client), (right, server)) = (tcp(), tcp());
        let mut peers = vec![client, server];
        let breaks = peers.remove(broken);
        socket2::SockRef::from(&breaks).set_linger(Some(Duration::ZERO)).unwrap();
        drop(breaks);
        let ended = copy(left, right, FOREVER).await.ended;
        let reset = ErrorKind::ConnectionReset;
        assert_eq!(ended, if broken == 0 { Ended::Left(reset) } else { Ended::Right(reset) });
    }
}

#[tokio::test]
async fn who_stands_still_in_sending_hears_all_that_a_broken_side_had_said() {
    const SAID: usize = 120_000;
    let ((mut left, mut client), (mut right, mut server)) = (tcp(), tcp());
    // Little of it fits on the way.
    socket2::SockRef::from(&server).set_recv_buffer_size(16 << 10).unwrap();
    let said = noise(SAID, 7);
    let sent = said.clone();
    client.write_all(&sent[..1]).unwrap();
    let client = std::thread::spawn(move || {
        client.write_all(&sent[1..]).unwrap();
        client
    });
    let server = std::thread::spawn(move || {
        // It looks up only when it has sent all of its own.
        server.write_all(&vec![b'x'; 32 << 20])?;
        let mut heard: Vec<u8> = Vec::new();
        let mut part = [0; 4096];
        while let Ok(n @ 1..) = server.read(&mut part) {
            heard.extend_from_slice(&part[..n]);
        }
        std::io::Result::Ok(heard)
    });
    let (read, all_read) = tokio::sync::oneshot::channel();
    let read = parking_lot::Mutex::new((0, Some(read)));
    let moved = |there, _| {
        let mut read = read.lock();
        read.0 += there;
        if read.0 == SAID as u64
            && let Some(all) = read.1.take()
        {
            let _ = all.send(());
        }
    };
    let mut timer = Timer::new();
    let none = Chunk::none;
    let copying = two_way(&mut left, &mut right, none(), none(), FOREVER, &mut timer, &moved);
    let breaks = async {
        all_read.await.unwrap();
        let client = client.join().unwrap();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let (copied, ()) = tokio::join!(copying, breaks);
    assert_eq!(copied.ended, Ended::Left(ErrorKind::ConnectionReset));
    drop((left, right));
    assert!(server.join().unwrap().expect("it could send all of it") == said);
}
