"""What each proxy agreed on with a client, and what its backend then saw: asked once, by clients that
no one here wrote, before anything is measured."""

import re
import subprocess

from .generate import MESSAGE
from .process import need
from .tls import CIPHER

ASKED = b"GET /seen HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SEEN = "x-forwarded-for: 127.0.0.1, HTTP/1.1, connection: "


def https(folder, port):
    """Twice by openssl s_client, the second time with the first one's ticket."""
    ticket, said = folder / "ticket", []
    ticket.unlink(missing_ok=True)
    for begin in (["-sess_out", str(ticket)], ["-sess_in", str(ticket)]):
        command = [need("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-alpn", "http/1.1", "-ign_eof", *begin]
        text = subprocess.run(command, input=ASKED, capture_output=True, timeout=20).stdout.decode(errors="replace")
        kind, version, cipher = re.search(r"^(New|Reused), (\S+), Cipher is (\S+)$", text, re.M).groups()
        key, alpn = re.search(r"^Server Temp Key: (\w+)", text, re.M), re.search(r"^ALPN protocol: (\S+)", text, re.M)
        tickets = text.count("Post-Handshake New Session Ticket arrived")
        said.append(f"{kind.lower()}, {version}, {cipher}, {key and key[1]}, {alpn and alpn[1]}, {tickets} tickets")
        if SEEN not in text or [version, cipher, key and key[1], alpn and alpn[1]] != ["TLSv1.3", CIPHER, "X25519", "http/1.1"]:
            raise SystemExit(f"port {port}: not what was to be agreed on, or to be seen by the backend:\n{text}")
    if not said[1].startswith("reused"):
        raise SystemExit(f"port {port}: a ticket resumed nothing: {said}")
    return "; ".join(said)


def http2(folder, port, scheme="http"):
    """Once by nghttp."""
    text = _nghttp([f"{scheme}://127.0.0.1:{port}/seen"])
    if SEEN not in text or not re.search(r":status: 200", text):
        raise SystemExit(f"port {port}: the backend did not see what it should have:\n{text}")
    alpn = re.search(r"The negotiated protocol: (\S+)", text)
    return f"{alpn[1] if alpn else 'prior knowledge'}; to HTTP/1.1"


def http2_tls(folder, port):
    return http2(folder, port, "https")


def grpc(folder, port):
    """One call by nghttp: the message comes back, and its status in the trailers."""
    message = folder / "message"
    message.write_bytes(MESSAGE)
    text = _nghttp(["-d", str(message), "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}/seen"])
    said = [f"{name}: {value}" for name, value in re.findall(r"recv \(stream_id=\d+\) ((?:seen-|grpc-status|content-type)[\w-]*): (.*)", text)]
    wanted = ["content-type: application/grpc", "seen-content-type: application/grpc", "seen-te: trailers", "seen-x-forwarded-for: 127.0.0.1", "grpc-status: 0"]
    if said[-1:] != wanted[-1:] or sorted(said) != sorted(wanted) or f"DATA frame <length={len(MESSAGE)}" not in text:
        raise SystemExit(f"port {port}: not what a call should get:\n{text}")
    return "prior knowledge; " + "; ".join(said)


def _nghttp(words):
    done = subprocess.run([need("nghttp", "nghttp2-client"), "-v", *words], capture_output=True, timeout=20)
    return done.stdout.decode(errors="replace")


# By the port of a case; and what is asked there.
CHECKS = [("HTTPS", "tls", https), ("HTTP/2 over TLS", "tls", http2_tls), ("HTTP/2", "h2", http2), ("gRPC", "grpc", grpc)]


def agreed(proxies, ports, folder):
    """A line for each kind of connection of each proxy, for the ports that are wanted."""
    for what, port, check in CHECKS:
        for name, proxy in proxies.items():
            if port in ports and name != "floor":
                yield [what, name, check(folder, getattr(proxy.ports, port))]
