//! `evenkeel echo`: a test backend that answers with what it received, by HTTP/1.1 or HTTP/2, or
//! that sends back bytes or datagrams.
use super::args;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

pub(super) fn echo(args: &args::Echo) -> Result<ExitCode, String> {
    super::run::within(async {
        let mut all = JoinSet::new();
        for addr in args.bind.iter().copied() {
            let name = args.name.clone().unwrap_or_else(|| addr.to_string());
            if args.udp {
                let socket = UdpSocket::bind(addr).await.map_err(|error| {
                    format!("listen on {addr} (echo, UDP): {error}; choose another address")
                })?;
                say!("{name} listens on {addr}");
                all.spawn(datagrams(socket));
            } else {
                let listener = listen(addr).await?;
                say!("{name} listens on {addr}");
                all.spawn(serve(listener, name.into(), args.tcp));
            }
        }
        all.join_all().await;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) async fn listen(addr: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| format!("listen on {addr} (echo): {error}; choose another address"))
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, name: Arc<str>, tcp: bool) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if tcp => drop(tokio::spawn(bytes(stream))),
            Ok((stream, peer)) => drop(tokio::spawn(http(stream, peer, name.clone()))),
            Err(error) => {
                eprintln!("accept (echo {name}): {error}");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

/// Sends each datagram back to where it came from.
async fn datagrams(socket: UdpSocket) {
    let mut buf = vec![0; 64 << 10];
    loop {
        // What a client's side says against an answer is no fault of the socket.
        if let Ok((n, peer)) = socket.recv_from(&mut buf).await {
            let _ = socket.send_to(&buf[..n], peer).await;
        }
    }
}

async fn bytes(mut stream: TcpStream) -> io::Result<()> {
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await.map(drop)
}

async fn http(stream: TcpStream, peer: SocketAddr, name: Arc<str>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, peer, name.clone()));
    // A client that broke off is no fault of the backend.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    name: Arc<str>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    let mut text = format!("backend: {name}\n");
    if head.uri.path() == "/healthz" {
        text = "ok\n".into();
    } else {
        let _ = writeln!(text, "peer: {peer}\n{} {} {:?}", head.method, head.uri, head.version);
        for (field, value) in &head.headers {
            let _ = writeln!(text, "{field}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
        let _ = writeln!(text, "body: {length} bytes");
    }
    Ok(Response::new(Full::new(Bytes::from(text))))
}
