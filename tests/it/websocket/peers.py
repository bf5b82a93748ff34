"""WebSocket peers that nobody here wrote: a server and a client by the library `websockets`, a client
of RFC 8441 by `h2` and `wsproto`.

    peers.py server PORT [CERT KEY]       says how each connection ended, a line of JSON each
    peers.py talk 1|2 URL [CA]            text, bytes, fragments, pings, large messages, a close
    peers.py hold 1|2 URL COUNT [CA]      COUNT connections that talk until they are closed, or until
                                          standard input ends; then says how
"""

import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.parse

telling = threading.Lock()


def server(port, cert=None, key=None):
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import serve

    def echo(ws):
        path = ws.request.path
        try:
            if path.startswith("/push"):
                threading.Thread(target=push, args=(ws,), daemon=True).start()
            for message in ws:
                if path.startswith("/fragments") and isinstance(message, bytes) and message:
                    ws.send(message[at : at + 1000] for at in range(0, len(message), 1000))
                else:
                    ws.send(message)
        except ConnectionClosed:
            pass
        # What it was told, not what it said itself.
        told = ws.protocol.close_rcvd
        line = json.dumps({"path": path, "closed": told.code if told else 1006})
        # One at a time: a line and its end are two writes, and each connection has a thread.
        with telling:
            print(line, flush=True)

    def push(ws):
        # Frames of all lengths, one behind the other.
        try:
            n = 0
            while True:
                ws.send(bytes([n % 251]) * (n * n % 150_000))
                n += 1
        except ConnectionClosed:
            pass

    context = None
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
    with serve(echo, "127.0.0.1", port, ssl=context, max_size=None, ping_interval=None) as all:
        all.serve_forever()


class Closed(Exception):
    def __init__(self, code):
        self.code = code


def trust(ca, protocols):
    if not ca:
        return None
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(protocols)
    return context


class One:
    """By HTTP/1.1."""

    def __init__(self, url, ca):
        from websockets.sync.client import connect

        self.ws = connect(
            url,
            ssl=trust(ca, ["http/1.1"]),
            max_size=None,
            ping_interval=None,
            open_timeout=20,
            legacy=True,
        )
        self.extensions = [e.name for e in self.ws.protocol.extensions]

    def closed(self, do, *args, **more):
        from websockets.exceptions import ConnectionClosed

        try:
            return do(*args, **more)
        except ConnectionClosed as end:
            raise Closed(end.rcvd.code if end.rcvd else 1006)

    def send(self, message):
        self.closed(self.ws.send, message)

    def recv(self):
        return self.closed(self.ws.recv, timeout=20)

    def ping(self):
        assert self.closed(self.ws.ping).wait(20), "no pong"

    def close(self):
        self.ws.close()
        return self.ws.close_code

    def abandon(self):
        self.ws.socket.close()


class Two:
    """By HTTP/2."""

    def __init__(self, url, ca):
        import h2.config
        import h2.connection
        import h2.settings
        import hyperframe.frame
        import wsproto.connection
        import wsproto.extensions

        parts = urllib.parse.urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port), 20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = trust(ca, ["h2"])
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname=parts.hostname)
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        # The library takes a GOAWAY for the end of streams that are to go on.
        self.h2._frame_dispatch_table[hyperframe.frame.GoAwayFrame] = lambda _: ([], [])
        self.h2.initiate_connection()
        self.answer = None
        self.over = False
        self.code = 1006
        self.messages = []
        self.partial = []
        self.pongs = 0
        self.ws = None
        self.early = b""
        self.flush()
        enable = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
        while not self.h2.remote_settings.get(enable):
            self.step()
        deflate = wsproto.extensions.PerMessageDeflate()
        self.h2.send_headers(
            1,
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "https" if context else "http"),
                (":path", parts.path),
                (":authority", parts.netloc),
                ("sec-websocket-version", "13"),
                ("sec-websocket-extensions", "permessage-deflate; " + deflate.offer()),
            ],
        )
        self.flush()
        while self.answer is None:
            self.step()
        assert self.answer[":status"] == "200", self.answer
        for name in ["upgrade", "connection", "sec-websocket-accept"]:
            assert name not in self.answer, self.answer
        extension = self.answer.get("sec-websocket-extensions", "")
        self.extensions = [extension.split(";")[0]]
        deflate.finalize(extension)
        self.ws = wsproto.connection.Connection(
            wsproto.connection.ConnectionType.CLIENT, extensions=[deflate]
        )
        self.frames(self.early)

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def step(self):
        """Reads once."""
        import h2.events

        data = self.sock.recv(65536)
        if not data:
            raise Closed(self.code)
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.answer = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, 1)
                self.frames(event.data)
            elif isinstance(event, h2.events.StreamEnded):
                self.over = True
            elif isinstance(event, h2.events.StreamReset):
                self.over, self.code = True, 1006
        self.flush()

    def frames(self, data):
        from wsproto import events

        if self.ws is None:
            self.early += data
            return
        if not data:
            return
        assert self.ws.state.name != "CLOSED", f"{data[:20]} behind a Close"
        self.ws.receive_data(data)
        for event in self.ws.events():
            if isinstance(event, (events.TextMessage, events.BytesMessage)):
                self.partial.append(event.data)
                if event.message_finished:
                    self.messages.append(type(event.data)().join(self.partial))
                    self.partial = []
            elif isinstance(event, events.Ping):
                self.put(self.ws.send(event.response()))
            elif isinstance(event, events.Pong):
                self.pongs += 1
            elif isinstance(event, events.CloseConnection):
                self.code = event.code
                if self.ws.state.name == "REMOTE_CLOSING":
                    self.put(self.ws.send(event.response()))

    def put(self, data, end=False):
        while data:
            room = min(self.h2.local_flow_control_window(1), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.step()
                continue
            self.h2.send_data(1, data[:room])
            data = data[room:]
            self.flush()

    def send(self, message):
        from wsproto import events

        try:
            if isinstance(message, (str, bytes)):
                kind = events.TextMessage if isinstance(message, str) else events.BytesMessage
                return self.put(self.ws.send(kind(data=message)))
            parts = list(message)
            for at, part in enumerate(parts):
                last = at + 1 == len(parts)
                self.put(self.ws.send(events.BytesMessage(data=part, message_finished=last)))
        except Exception:
            if self.over or self.ws.state.name != "OPEN":
                raise Closed(self.code)
            raise

    def recv(self):
        while not self.messages:
            if self.over:
                raise Closed(self.code)
            self.step()
        return self.messages.pop(0)

    def ping(self):
        from wsproto import events

        before = self.pongs
        self.put(self.ws.send(events.Ping(payload=b"there?")))
        while self.pongs == before:
            self.step()

    def close(self):
        from wsproto import events

        self.put(self.ws.send(events.CloseConnection(code=1000)))
        while not self.over:
            self.step()
        return self.code

    def abandon(self):
        self.sock.close()


def talk(version, url, ca=None):
    ws = version(url, ca)
    assert ws.extensions == ["permessage-deflate"], ws.extensions
    for message in ["", "text", "\u00e4" * 1000, b"", b"bytes" * 50, os.urandom(70_000)]:
        ws.send(message)
        assert ws.recv() == message
    ws.ping()
    # In fragments both ways, with a ping between two messages.
    large = os.urandom(3 << 20)
    ws.send(large[at : at + 100_000] for at in range(0, len(large), 100_000))
    assert ws.recv() == large
    ws.ping()
    ws.send("x" * (5 << 20))
    assert ws.recv() == "x" * (5 << 20)
    assert ws.close() == 1000
    print("talked", flush=True)


def hold(version, url, count, ca=None):
    pushed = "/push" in url
    ends, echoes, begun = [], [], []
    done = threading.Event()

    def one():
        ws = version(url, ca)
        begun.append(time.monotonic())
        n = 0
        try:
            while not done.is_set():
                if pushed:
                    message = ws.recv()
                    assert message == bytes([n % 251]) * (n * n % 150_000), n
                else:
                    ws.send(f"message {n}")
                    assert ws.recv() == f"message {n}"
                    time.sleep(0.002)
                n += 1
            ends.append((ws.close(), time.monotonic()))
        except Closed as end:
            ends.append((end.code, time.monotonic()))
        except Exception as error:
            ends.append((repr(error), time.monotonic()))
        echoes.append(n)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    while len(begun) < count and all(t.is_alive() for t in threads):
        time.sleep(0.01)
    print("open", flush=True)

    def wait():
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    for thread in threads:
        thread.join()
    first = min(at for _, at in ends)
    print(
        json.dumps(
            {
                "codes": [code for code, _ in ends],
                "spread": max(at for _, at in ends) - first,
                "echoes": min(echoes),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    versions = {"1": One, "2": Two}
    if what == "server":
        server(int(rest[0]), *rest[1:])
    elif what == "talk":
        talk(versions[rest[0]], *rest[1:])
    else:
        hold(versions[rest[0]], rest[1], int(rest[2]), *rest[3:])
