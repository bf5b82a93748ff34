//! A balancing policy of one's own, in a program of one's own. The proxy is a library here:
//!
//! ```text
//! cargo run --example embed_policy
//! for n in 1 2 3 4 5 6; do curl -s http://127.0.0.1:8080/ & done; wait
//! ```
//!
//! The policy fills backends up one after another instead of spreading work evenly, so that those at
//! the end stay idle and can be switched off.
use evenkeel::config;
use evenkeel::pool::{Ask, Balancer, Candidate, Policies};
use evenkeel::server::{self, Options, Signals};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// A pool names the policy by its word, as it would a built-in one.
const CONFIG: &str = r#"
[admin]
bind = "off"

[listener.web]
bind = "127.0.0.1:8080"
pool = "app"

[pool.app]
balance = "fill_up"
backends = [
  { name = "b1", addr = "127.0.0.1:9001", weight = 2 },
  { name = "b2", addr = "127.0.0.1:9002", weight = 2 },
  { name = "b3", addr = "127.0.0.1:9003", weight = 2 },
]
"#;

/// Takes the first backend, by name, that has less in work than its weight; when all are full, the
/// one with the least.
struct FillUp;

impl Balancer for FillUp {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        // Who is at `max_active`, has just refused, or was tried for this request is not open.
        let open = || (0..candidates.len()).filter(|i| candidates[*i].is_open(ask));
        let active = |i: &usize| candidates[*i].backend.active();
        open().find(|i| active(i) < candidates[*i].weight).or_else(|| open().min_by_key(active))
    }
    // It reads the live counts when it picks and keeps no order of its own.
    fn wants_load(&self) -> bool {
        false
    }
}

/// The built-in policies and ours. The builder is called whenever the set of usable backends
/// changes; it gets them in the order of their names.
pub(crate) fn policies() -> Policies {
    Policies::default().with("fill_up", |_candidates, _seed| Box::new(FillUp))
}

// One thread for config, probes and signals; the proxy's workers have threads of their own.
#[tokio::main(worker_threads = 1)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::catch()?;
    let path = Path::new("embed_policy.toml");
    let config = config::parse(CONFIG, path).map_err(|problems| format!("{problems:?}"))?;
    for port in 9001..=9003 {
        backend(port)?;
    }
    let options = Options { policies: policies(), ..Options::default() };
    let running = server::start(config, options).await?;
    println!("listening on {:?}", running.addresses("web"));
    // Serves signals, and the file as soon as there is one, until SIGTERM or SIGINT.
    server::until_stopped(&mut signals, &running.reloader.clone(), path).await;
    running.stop().await;
    Ok(())
}

/// A server that answers each connection after half a second with its port.
fn backend(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                std::thread::sleep(Duration::from_millis(500));
                (&stream).write_all(
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{port}\n"
                    )
                    .as_bytes(),
                )
            });
        }
    });
    Ok(())
}
