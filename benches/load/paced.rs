//! Sends HTTP/1.1 requests at a fixed rate over kept connections and prints what came of them.
//!
//! wrk is a closed loop: a slower proxy is asked less. Here the rate is given, each request has the
//! moment it is due, and its latency counts from that moment, so that waiting behind a slow answer
//! is not left out. Standard library only; the harness builds it with `rustc -O`.
//!
//! Usage: paced ADDR PATH CONNECTIONS RATE SECONDS [FILE-WITH-FIELD-LINES] [POST-PERCENT]
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A request without an answer for this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Tally {
    sent: u64,
    late: u64,
    status: u64,
    socket: u64,
    posts_failed: u64,
    micros: Vec<u32>,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, addr, path, connections, rate, seconds, rest @ ..] = &args[..] else {
        eprintln!("usage: paced ADDR PATH CONNECTIONS RATE SECONDS [FIELDS-FILE] [POST-PERCENT]");
        std::process::exit(2);
    };
    let connections: u32 = connections.parse().expect("a number of connections");
    let rate: f64 = rate.parse().expect("requests per second");
    let seconds: f64 = seconds.parse().expect("seconds");
    let fields = rest.first().filter(|f| !f.is_empty()).map_or(String::new(), |f| std::fs::read_to_string(f).expect("the file of fields"));
    let posts: u64 = rest.get(1).map_or(0, |p| p.parse().expect("a percentage"));
    // Wake within a microsecond of the due time; threads inherit it. Without it: 50 µs more.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let get = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n{fields}\r\n").into_bytes();
    let post = format!("POST {path} HTTP/1.1\r\nHost: {addr}\r\n{fields}Content-Length: 5\r\n\r\nhello").into_bytes();
    let step = Duration::from_secs_f64(f64::from(connections) / rate);
    let start = Instant::now() + Duration::from_millis(20);
    let end = start + Duration::from_secs_f64(seconds);
    let threads: Vec<_> = (0..connections)
        .map(|index| {
            let (addr, get, post) = (addr.clone(), get.clone(), post.clone());
            let first = start + step.mul_f64(f64::from(index) / f64::from(connections));
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || drive(&addr, &get, &post, posts, u64::from(index), first, step, end))
                .expect("a thread per connection")
        })
        .collect();
    let mut all = Tally::default();
    for thread in threads {
        let one = thread.join().expect("no connection panics");
        all.sent += one.sent;
        all.late += one.late;
        all.status += one.status;
        all.socket += one.socket;
        all.posts_failed += one.posts_failed;
        all.micros.extend(one.micros);
    }
    all.micros.sort_unstable();
    let at = |share: f64| all.micros.get((all.micros.len() as f64 * share) as usize).copied().unwrap_or(0);
    println!(
        "{{\"requests\":{},\"seconds\":{:.6},\"late\":{},\"status\":{},\"socket\":{},\"timeout\":0,\"posts_failed\":{},\"p50\":{},\"p99\":{},\"max\":{}}}",
        all.sent, start.elapsed().as_secs_f64(), all.late, all.status, all.socket, all.posts_failed,
        at(0.5), at(0.99), all.micros.last().copied().unwrap_or(0)
    );
}

#[allow(clippy::too_many_arguments)]
fn drive(addr: &str, get: &[u8], post: &[u8], posts: u64, index: u64, first: Instant, step: Duration, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut stream = None;
    let mut buffer = vec![0; 64 << 10];
    let mut due = first;
    while due < end {
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        } else {
            tally.late += 1;
        }
        // A cheap spread of the POSTs over connections and time.
        let is_post = (tally.sent * 7 + index * 13) % 100 < posts;
        tally.sent += 1;
        let failed = match exchange(&mut stream, addr, if is_post { post } else { get }, &mut buffer) {
            Ok(200..=399) => false,
            // A static file answers a POST with 405: the backend was reached.
            Ok(405) if is_post => false,
            Ok(_) => {
                tally.status += 1;
                true
            }
            Err(_) => {
                stream = None;
                tally.socket += 1;
                true
            }
        };
        if failed && is_post {
            tally.posts_failed += 1;
        }
        tally.micros.push(due.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
        due += step;
    }
    tally
}

/// One request and its whole answer; gives the status.
fn exchange(kept: &mut Option<TcpStream>, addr: &str, request: &[u8], buffer: &mut [u8]) -> std::io::Result<u16> {
    let broken = |what: &str| std::io::Error::other(what.to_owned());
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream
        }
    };
    stream.write_all(request)?;
    let mut have = 0;
    let head = loop {
        let n = stream.read(&mut buffer[have..])?;
        if n == 0 {
            return Err(broken("closed before the head"));
        }
        have += n;
        if let Some(at) = buffer[..have].windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if have == buffer.len() {
            return Err(broken("a head larger than the buffer"));
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let status = text.get(9..12).and_then(|s| s.parse().ok()).ok_or_else(|| broken("no status"))?;
    let length: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|v| v.trim().parse().ok())
        .ok_or_else(|| broken("no length"))?;
    let mut left = length.checked_sub(have - head).ok_or_else(|| broken("bytes after the body"))?;
    while left > 0 {
        let room = left.min(buffer.len());
        match stream.read(&mut buffer[..room])? {
            0 => return Err(broken("closed in the body")),
            n => left -= n,
        }
    }
    if !text.contains("\r\nconnection: close") {
        *kept = Some(stream);
    }
    Ok(status)
}
