//! The backend of gRPC for the load harness: HTTP/2 in the clear, one thread. Every call is answered
//! with the message it sent and `grpc-status: 0`; one to `/seen` is told what the backend saw.
//!
//! nghttpd could not be it: what it sends back goes through a file, and has no content-type.
//!
//! Usage: unary ADDR
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// Fields of a request, and those of the answer that say what was in them.
const SEEN: [(&str, &str); 3] = [
    ("x-forwarded-for", "seen-x-forwarded-for"),
    ("te", "seen-te"),
    ("content-type", "seen-content-type"),
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Some(addr) = std::env::args().nth(1) else {
        eprintln!("usage: unary ADDR");
        std::process::exit(2);
    };
    let listener = TcpListener::bind(&addr).await.expect("a free address");
    loop {
        if let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    }
}

/// One connection and its calls.
async fn serve(socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let Ok(mut calls) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, answer))) = calls.accept().await {
        tokio::spawn(echo(request, answer));
    }
}

/// The message back, and the status; `None` for a call that broke.
async fn echo(request: Request<RecvStream>, mut answer: SendResponse<Bytes>) -> Option<()> {
    let (head, mut body) = request.into_parts();
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        let _ = body.flow_control().release_capacity(piece.len());
        message.extend_from_slice(&piece);
    }
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if head.uri.path() == "/seen" {
        for (field, told) in SEEN {
            let seen = head.headers.get(field).cloned();
            let seen = seen.unwrap_or(HeaderValue::from_static("none"));
            response.headers_mut().insert(told, seen);
        }
    }
    let mut stream = answer.send_response(response, false).ok()?;
    stream.send_data(message.freeze(), false).ok()?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers).ok()
}
