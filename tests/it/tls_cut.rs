//! TLS that ends without a word of its own (RFC 8446 6.1): what came before goes on first, and the end
//! is shown as a cut.
use crate::support::{Backend, Certs, Client, Proxy, until};
use crate::tls::secure;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// How many bytes came, and how that ended.
type Came = (usize, Option<ErrorKind>);

/// Little at once, through a small buffer.
fn came(stream: &mut impl Read) -> Came {
    let (mut all, mut buf) = (0, [0; 9000]);
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return (all, None),
            Ok(n) => all += n,
            Err(error) => return (all, Some(error.kind())),
        }
    }
}

/// How clients end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Announced,
    Half,
    /// With a reset where something came that was not read.
    Closed,
}

#[test]
fn what_a_client_sent_before_goes_on_first() {
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    for end in [End::Announced, End::Half, End::Closed] {
        for size in [300, 60_000, 600_000] {
            let (note, go) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(())));
            let (seen, gate) = (note.clone(), go.clone());
            let backend = Backend::run(move |peer| {
                if size < 100_000 {
                    let _ = socket2::SockRef::from(&*peer.stream()).set_recv_buffer_size(16 << 10);
                }
                drop(gate.lock());
                let all = came(peer.stream());
                if all.0 > 0 {
                    *seen.lock().unwrap() = Some(all);
                }
            });
            let tls = certs.table(&["a"], "");
            let proxy = Proxy::start(&secure(backend.addr, &tls, "protocol = \"tcp\""));
            // What fits on the way is not read before the client is gone.
            let held = (size < 100_000).then(|| go.lock().unwrap());
            let mut client = Client::secure(&proxy, &certs, "a.test");
            client.send("x".repeat(size));
            match end {
                End::Announced => client.say_end(),
                End::Half => client.end(),
                End::Closed => drop(client),
            }
            drop(held);
            until("its backend has it", || note.lock().unwrap().is_some());
            let (all, ended) = note.lock().unwrap().unwrap();
            // A reset overtakes what waits at the client's own side.
            let whole = all == size || (end == End::Closed && size > 100_000);
            assert!(whole, "{end:?}: {all} of {size}");
            let cut = (end != End::Announced).then_some(ErrorKind::ConnectionReset);
            assert_eq!(ended, cut, "{end:?}, {size}");
        }
    }
}

#[test]
fn what_a_backend_sent_before_goes_on_first() {
    let certs = Certs::new();
    certs.make("app", &["app.test"]);
    let config = certs.server("app");
    let (listener, config) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(config));
    let addr = listener.local_addr().unwrap();
    // As many bytes as it is asked for, and whether it says its end.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let server = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(server, stream.unwrap());
            let mut asked = [0; 9];
            if stream.read_exact(&mut asked).is_err() {
                continue;
            }
            let size: usize = str::from_utf8(&asked[..8]).unwrap().parse().unwrap();
            let _ = stream.write_all(&vec![b'x'; size]);
            if asked[8] == b'!' {
                stream.conn.send_close_notify();
            }
            let _ = stream.flush();
        }
    });
    let ca = certs.path("ca.pem").display().to_string();
    let tls = format!("tls = {{ ca_file = \"{ca}\", sni = \"app.test\" }}");
    let proxy = Proxy::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"app\"\n\
         [pool.app]\nbackends = [\"{addr}\"]\n{tls}\n"
    ));
    for (size, announced) in
        [(300, true), (300, false), (60_000, false), (600_000, true), (600_000, false)]
    {
        let mut client = proxy.client();
        if size < 100_000 {
            socket2::SockRef::from(&*client.stream()).set_recv_buffer_size(16 << 10).unwrap();
        }
        client.send(format!("{size:08}{}", if announced { '!' } else { '.' }));
        let cut = (!announced).then_some(ErrorKind::ConnectionReset);
        assert_eq!(came(client.stream()), (size, cut), "{announced}");
    }
}
