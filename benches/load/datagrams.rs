//! Datagrams for the load harness: a backend that echoes, and a closed loop of clients that each have
//! one question out. Standard library only; the harness builds it with `rustc -O`.
//!
//! Usage: datagrams echo ADDR | datagrams drive ADDR CLIENTS SECONDS kept|new
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// A question without an answer for this long has failed.
const PATIENCE: Duration = Duration::from_secs(1);
const QUESTION: [u8; 64] = [b'x'; 64];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["echo", addr] => echo(addr),
        ["drive", addr, clients, seconds, kind] => {
            let clients = clients.parse().expect("a number of clients");
            let seconds = seconds.parse().expect("seconds");
            drive(addr, clients, Duration::from_secs_f64(seconds), *kind == "new");
        }
        _ => {
            eprintln!("usage: datagrams echo ADDR | datagrams drive ADDR CLIENTS SECONDS kept|new");
            std::process::exit(2);
        }
    }
}

fn echo(addr: &str) {
    let socket = UdpSocket::bind(addr).expect("a free address");
    let mut buffer = [0; 2048];
    loop {
        if let Ok((n, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..n], peer);
        }
    }
}

fn client(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(addr).expect("an address");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// All ask, then all hear, and so on: what waits at the proxy at one time is what the clients sent.
fn drive(addr: &str, clients: usize, time: Duration, fresh: bool) {
    let mut sockets: Vec<UdpSocket> = (0..clients).map(|_| client(addr)).collect();
    let (mut asked, mut requests, mut lost, mut micros) = (vec![Instant::now(); clients], 0, 0, Vec::new());
    let start = Instant::now();
    while start.elapsed() < time {
        if fresh {
            sockets = (0..clients).map(|_| client(addr)).collect();
        }
        for (socket, at) in sockets.iter().zip(&mut asked) {
            *at = Instant::now();
            let _ = socket.send(&QUESTION);
        }
        for (socket, at) in sockets.iter().zip(&asked) {
            requests += 1;
            match socket.recv(&mut [0; 2048]) {
                Ok(64) => micros.push(at.elapsed().as_micros() as u32),
                _ => lost += 1,
            }
        }
    }
    micros.sort_unstable();
    let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied().unwrap_or(0);
    println!(
        "{{\"requests\":{requests},\"seconds\":{:.6},\"status\":0,\"socket\":0,\"timeout\":{lost},\"p50\":{},\"p99\":{},\"max\":{}}}",
        start.elapsed().as_secs_f64(), at(0.5), at(0.99), micros.last().copied().unwrap_or(0)
    );
}
