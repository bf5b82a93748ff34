//! Clients of HTTP/2 that read slowly, or not at all: they get what is theirs, and hold up nobody.
use crate::support::h2::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use crate::support::{Backend, Proxy, access_lines, access_log, until, web};
use evenkeel::message::memory;

const MANY: usize = 1 << 20;

/// A client whose kernel takes little, and whose windows are open.
fn slow(proxy: &Proxy) -> Frames {
    let mut client = Frames::with_settings(proxy.addr(), &[(4, 0x7fff_ffff)]);
    socket2::SockRef::from(&*client.stream()).set_recv_buffer_size(16 << 10).unwrap();
    client.send(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes());
    client
}

/// Reads a frame, and says so as clients do.
fn read(client: &mut Frames) -> Option<Frame> {
    let frame = client.next()?;
    if frame.kind == DATA && !frame.payload.is_empty() {
        let n = (frame.payload.len() as u32).to_be_bytes();
        client.send(WINDOW_UPDATE, 0, 0, &n);
        client.send(WINDOW_UPDATE, 0, 1, &n);
    }
    if frame.kind == PING && frame.flags & ACK == 0 {
        client.send(PING, ACK, 0, &frame.payload);
    }
    Some(frame)
}

/// Reads a long answer, no more of it than must be until the proxy has sent it all.
#[track_caller]
fn read_slowly(log: &tempfile::TempDir, client: &mut Frames) {
    let written = || std::fs::read(log.path().join("access.log")).is_ok_and(|log| !log.is_empty());
    let (mut got, mut ended) = (0, false);
    let mut count = |frame: &Frame| {
        got += if frame.kind == DATA { frame.payload.len() } else { 0 };
        ended |= frame.kind == DATA && frame.flags & END_STREAM != 0;
    };
    let mut over = false;
    while !(over || written()) {
        match read(client) {
            Some(frame) => count(&frame),
            // Whoever writes the log may be later than all of it.
            None => over = true,
        }
    }
    if !over {
        // The kernel has the rest: a proxy that has closed would answer this with a reset.
        client.send(PING, ACK, 0, &[0; 8]);
        while let Some(frame) = read(client) {
            count(&frame);
        }
    }
    assert_eq!((got, ended), (MANY, true));
}

/// A backend that answers when it is told to.
fn told() -> (Backend, std::sync::mpsc::Sender<()>) {
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            let _ = gate.lock().unwrap().recv();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MANY}\r\n\r\n"));
            peer.send(vec![b'x'; MANY]);
        }
    });
    (backend, go)
}

#[test]
fn the_last_answer_before_a_drain_reaches_a_slow_reader() {
    let (backend, go) = told();
    let (log, words) = access_log();
    let proxy = Proxy::http(&[backend.addr], &words);
    let mut client = slow(&proxy);
    client.get(1, "/", &[]);
    until("it is asked", || backend.connections() == 1);
    let moved = web(&[backend.addr], &words).replace("listener.web", "listener.other");
    proxy.reload(&moved).unwrap();
    while read(&mut client).is_none_or(|frame| frame.kind != PING) {}
    client.until("its last word", |f| f.kind == GOAWAY && f.payload[..4] == [0, 0, 0, 1]);
    go.send(()).unwrap();
    read_slowly(&log, &mut client);
}

#[test]
fn the_last_answer_before_a_clients_goodbye_reaches_it_slowly() {
    let (backend, go) = told();
    let (log, words) = access_log();
    let proxy = Proxy::http(&[backend.addr], &words);
    let mut client = slow(&proxy);
    client.get(1, "/", &[]);
    client.send(GOAWAY, 0, 0, &[0; 8]);
    go.send(()).unwrap();
    read_slowly(&log, &mut client);
}

/// Who has its last answer is not waited for.
#[test]
fn who_never_closes_is_left() {
    let backend = Backend::named("fine");
    let more = "[defaults.timeout]\nidle = \"300s\"\nkeep_alive = \"300s\"";
    let proxy = Proxy::http(&[backend.addr], more);
    let mut client = Frames::connect(proxy.addr());
    client.get(1, "/", &[]);
    assert_eq!(client.answer(1), (200, "fine".into()));
    client.send(GOAWAY, 0, 0, &[0; 8]);
    assert_eq!(client.next().filter(|f| f.kind != SETTINGS && f.kind != GOAWAY), None, "its end");
    let plan = proxy.running().state().plan.load_full().unwrap();
    until("it is left", || plan.listeners["web"].cells.open.get() == 0);
}

/// `GET` of a path that an HPACK table keeps: 3,500 bytes of an answer for 20 of a request.
fn redirected(stream: u32) -> Vec<u8> {
    if stream > 1 {
        return frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x82, 0x86, 0xbe, 0xbf]);
    }
    let path = format!("/r?{}", "q".repeat(3500));
    let mut fields = vec![0x82, 0x86];
    for (name, value) in [(":authority", "a.test"), (":path", &*path)] {
        fields.push(0x40);
        fields.extend(&block(&[(name, value)])[1..]);
    }
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields)
}

/// Redirects, and one second for a client that takes nothing.
const REDIRECTS: &str = "[defaults.timeout]\nidle = \"1s\"\n\
                         [[route]]\npath = \"/r\"\nredirect = { host = \"b.test\" }\n";

fn counted(words: &[(&'static str, u64)], word: &str) -> u64 {
    words.iter().filter(|(found, _)| *found == word).map(|(_, n)| n).sum()
}

/// Whoever asks for no more at once than it may, and reads nothing, is closed for that.
#[test]
fn answers_that_nobody_reads_are_bounded_and_end_their_connection() {
    let backend = Backend::named("fine");
    let proxy = Proxy::http(&[backend.addr], REDIRECTS);
    let mut client = Frames::connect(proxy.addr());
    socket2::SockRef::from(&*client.stream()).set_recv_buffer_size(4096).unwrap();
    let plan = proxy.running().state().plan.load_full().unwrap();
    let cells = &plan.listeners["web"].cells;
    let answered = || cells.own.all().iter().map(|(_, n)| n).sum::<u64>();
    let idle = || counted(&cells.limit_hits.all(), "idle");
    let (mut most, mut asked) = (0, 0);
    // By and by, until nothing more is answered.
    while idle() == 0 {
        let first = 1 + 2 * asked as u32;
        client.write(&(0..60).flat_map(|n| redirected(first + 2 * n)).collect::<Vec<u8>>());
        asked += 60;
        assert!(asked < 1_000_000, "it goes on for ever");
        until("they are answered, or nobody waits for it any more", || {
            most = most.max(memory().used());
            answered() + 60 >= asked || idle() > 0
        });
    }
    assert!(most < 2 << 20, "{most} bytes for {asked} requests");
    assert_eq!(cells.floods.all(), [], "it did nothing else");
    until("it is gone", || cells.open.get() == 0);
}

/// Whoever asks for all it can is bounded too, whatever ends it: the requests beyond `http2.streams`,
/// or that it reads nothing.
#[test]
fn a_flood_of_requests_whose_answers_nobody_reads_costs_nobody_else() {
    let backend = Backend::named("fine");
    let proxy = Proxy::http(&[backend.addr], REDIRECTS);
    let mut neighbour = Frames::connect(proxy.addr());
    let mut client = Frames::connect(proxy.addr());
    socket2::SockRef::from(&*client.stream()).set_recv_buffer_size(4096).unwrap();
    let (mut most, mut stream) = (0, 1);
    // Written without reading, until the proxy has closed.
    while client.write(&(0..60).flat_map(|n| redirected(stream + 2 * n)).collect::<Vec<u8>>()) {
        stream += 120;
        most = most.max(memory().used());
        assert!(stream < 60_000_000, "it goes on for ever");
    }
    assert!(most < 2 << 20, "{most} bytes for {} requests", stream / 2);
    neighbour.get(1, "/", &[]);
    assert_eq!(neighbour.answer(1), (200, "fine".into()));
    let plan = proxy.running().state().plan.load_full().unwrap();
    let cells = &plan.listeners["web"].cells;
    let ends =
        || counted(&cells.limit_hits.all(), "idle") + counted(&cells.floods.all(), "local_resets");
    until("it is counted", || ends() > 0);
}

#[test]
fn an_own_answer_without_a_window_ends_its_stream() {
    let (folder, words) = access_log();
    let more = format!(
        "[defaults.timeout]\nidle = \"1s\"\n{words}\n\
         [[route]]\npath = \"/own\"\nrespond = {{ status = 200, body = \"0123456789\" }}\n"
    );
    let backend = Backend::named("fine");
    let proxy = Proxy::http(&[backend.addr], &more);
    let mut client = Frames::with_settings(proxy.addr(), &[(4, 4)]);
    client.get(1, "/own", &[]);
    client.get(3, "/own", &[]);
    let first = client.until("what fits", |f| f.kind == DATA && f.stream == 1);
    assert_eq!(first.payload, b"0123");
    client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100]);
    let rest = client.until("the rest", |f| f.kind == DATA && f.stream == 1);
    assert_eq!((&rest.payload[..], rest.flags), (&b"456789"[..], END_STREAM));
    let reset = client.until("a reset", |f| f.kind == RST_STREAM);
    assert_eq!((reset.stream, reset.code()), (3, 8), "CANCEL");
    let lines = access_lines(&folder, 2);
    assert!(lines[1].contains("client_timeout_idle") && lines[1].contains("\"bytes_out\":4"));
}
