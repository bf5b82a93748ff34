"""A backend that speaks HTTP/2 by the `h2` of PyPI and misbehaves as its path says.

backend.py PORT [host=ADDRESS] [streams=N] [window=N] [mute] [refuse]: cleartext, prior knowledge.
"""

import socket
import sys
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

OPTIONS = dict(o.partition("=")[::2] for o in sys.argv[2:])
LOCK = threading.Lock()
STATE = {"conns": 0, "refused": 0, "streams": 0, "most": 0, "resets": 0, "pings": 0}
RELEASED = threading.Event()
CODES = h2.errors.ErrorCodes


class Conn:
    def __init__(self, sock):
        self.sock = sock
        self.lock = threading.RLock()
        with LOCK:
            self.number = STATE["conns"]
            STATE["conns"] += 1
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config=config)
        settings = {}
        if "streams" in OPTIONS:
            settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = int(OPTIONS["streams"])
        if "window" in OPTIONS:
            settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = int(OPTIONS["window"])
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=settings)
        self.requests = {}
        self.owed = {}
        self.gone = []

    def flush(self):
        with self.lock:
            data = self.h2.data_to_send()
            if data:
                self.sock.sendall(data)

    def raw(self, kind, flags, stream, payload):
        """A frame past the library."""
        self.flush()
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
        self.sock.sendall(head + payload)

    def serve(self):
        self.h2.initiate_connection()
        self.flush()
        try:
            while data := self.sock.recv(65536):
                with self.lock:
                    for event in self.h2.receive_data(data):
                        self.hear(event)
                    self.flush()
        except (OSError, h2.exceptions.ProtocolError) as error:
            print("connection", self.number, error, file=sys.stderr)
        self.sock.close()

    def hear(self, event):
        if isinstance(event, h2.events.RequestReceived):
            head = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
            self.requests[event.stream_id] = [head, b"", []]
            with LOCK:
                STATE["streams"] += 1
                STATE["most"] = max(STATE["most"], self.h2.open_inbound_streams)
            self.head(event.stream_id, dict(head))
        elif isinstance(event, h2.events.DataReceived):
            request = self.requests[event.stream_id]
            request[1] += event.data
            with LOCK:
                STATE["bytes"] = STATE.get("bytes", 0) + len(event.data)
            if dict(request[0])[":path"].endswith("/stall") and not RELEASED.is_set():
                n = self.owed.get(event.stream_id, 0)
                self.owed[event.stream_id] = n + event.flow_controlled_length
                with LOCK:
                    STATE["stalled"] = STATE.get("stalled", 0) + len(event.data)
            else:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.requests[event.stream_id][2] = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            self.answer(event.stream_id, *self.requests[event.stream_id])
        elif isinstance(event, h2.events.StreamReset):
            self.gone.append(event.stream_id)
            with LOCK:
                STATE["resets"] += 1
        elif isinstance(event, h2.events.PingReceived):
            with LOCK:
                STATE["pings"] += 1

    def head(self, stream, head):
        """What is done as soon as the head is there."""
        path = head[":path"]
        if path == "/refuse-once":
            self.refuse_once(stream)
        elif path == "/refuse" and "refuse" in OPTIONS:
            with LOCK:
                STATE["refused"] += 1
            self.h2.reset_stream(stream, CODES.REFUSED_STREAM)
        elif path == "/reset":
            self.h2.reset_stream(stream, CODES.INTERNAL_ERROR)
        elif path == "/reset-once":
            if self.is_first():
                self.h2.reset_stream(stream, CODES.INTERNAL_ERROR)
        elif path == "/away-once":
            self.away_once(stream)
        elif path == "/drop-once":
            if self.is_first():
                self.sock.shutdown(socket.SHUT_RDWR)
        elif path == "/early":
            self.respond(stream, 403, b"no", {})
            self.flush()
            self.h2.reset_stream(stream, CODES.NO_ERROR)
        self.flush()

    def is_first(self):
        with LOCK:
            STATE["refused"] += 1
            return STATE["refused"] == 1

    def push_back(self, head):
        wanted = dict(head).get("x-push-back")
        return {"grpc-retry-pushback-ms": wanted} if wanted else {}

    def refuse_once(self, stream):
        if self.is_first():
            self.h2.reset_stream(stream, CODES.REFUSED_STREAM)
            return True

    def away_once(self, stream):
        if self.is_first():
            self.raw(7, 0, 0, (stream - 2 if stream > 1 else 0).to_bytes(4, "big") + bytes(4))
            self.sock.shutdown(socket.SHUT_WR)
            return True

    def respond(self, stream, status, body, fields, end=True):
        head = [(":status", str(status)), ("x-conn", str(self.number)), *fields.items()]
        self.h2.send_headers(stream, head)
        if body:
            self.h2.send_data(stream, body)
        if end:
            self.h2.end_stream(stream)

    def answer(self, stream, head, body, trailers):
        if stream not in self.h2.streams or self.h2.streams[stream].closed:
            return
        path = dict(head)[":path"]
        # Once all of it was read.
        if path == "/refuse-late" and self.refuse_once(stream):
            return
        if path == "/away-late" and self.away_once(stream):
            return
        if path == "/busy" and "busy" in OPTIONS:
            self.respond(stream, 503, b"busy", {})
        elif path == "/call" and "busy" in OPTIONS:
            fields = {"content-type": "application/grpc", "grpc-status": "14", **self.push_back(head)}
            self.respond(stream, 200, b"", fields)
        elif path == "/silent" or (path == "/slow" and "slow" in OPTIONS):
            with LOCK:
                STATE["silent"] = STATE.get("silent", 0) + 1
        elif path == "/state":
            with LOCK:
                text = " ".join(f"{k}={v}" for k, v in STATE.items())
            self.respond(stream, 200, text.encode(), {})
        elif path == "/late":
            # What was taken back is answered all the same, as by one that had not heard of it yet.
            for gone in self.gone:
                self.raw(1, 4, gone, b"\x88")
                self.raw(8, 0, gone, (1000).to_bytes(4, "big"))
                self.raw(0, 0, gone, b"late" * 100)
                self.raw(1, 5, gone, b"\x00\x0bgrpc-status\x010")
            self.respond(stream, 200, str(len(self.gone)).encode(), {})
        elif path == "/hold":
            threading.Thread(target=self.hold, args=(stream,), daemon=True).start()
        elif path == "/release":
            RELEASED.set()
            for owing, n in self.owed.items():
                self.h2.acknowledge_received_data(n, owing)
            self.owed = {}
            self.respond(stream, 200, b"released", {})
        elif path == "/trailers":
            self.respond(stream, 200, b"body", {}, end=False)
            self.h2.send_headers(
                stream, [("grpc-status", "0"), ("x-sum", "7"), ("content-length", "9")], end_stream=True
            )
        elif path == "/hints":
            self.h2.send_headers(stream, [(":status", "103"), ("link", "</a.css>")])
            self.respond(stream, 200, b"body", {})
        elif path == "/hints-once":
            self.h2.send_headers(stream, [(":status", "103"), ("link", "</a.css>")])
            if self.is_first():
                self.flush()
                self.h2.reset_stream(stream, CODES.INTERNAL_ERROR)
            else:
                self.respond(stream, 200, b"body", {})
        elif path == "/fail" and "busy" in OPTIONS:
            self.respond(stream, 200, b"begun", {"content-type": "application/grpc"}, end=False)
            self.h2.send_headers(stream, [("grpc-status", "14")], end_stream=True)
        elif path == "/many-hints":
            for _ in range(40):
                self.h2.send_headers(stream, [(":status", "103"), ("link", "</a.css>")])
            self.respond(stream, 200, b"body", {})
        elif path == "/begin":
            self.respond(stream, 200, b"begun", {"content-type": "application/grpc"}, end=False)
        elif path == "/cut":
            self.respond(stream, 200, b"x" * 1000, {"content-length": "5000"}, end=False)
            self.flush()
            self.h2.reset_stream(stream, CODES.INTERNAL_ERROR)
        elif path == "/cut-no-error":
            self.respond(stream, 200, b"x" * 1000, {}, end=False)
            self.flush()
            self.h2.reset_stream(stream, CODES.NO_ERROR)
        elif path == "/cut-connection":
            self.respond(stream, 200, b"x" * 1000, {}, end=False)
            self.flush()
            self.sock.shutdown(socket.SHUT_RDWR)
        elif path == "/short":
            self.respond(stream, 200, b"x" * 10, {"content-length": "20"})
        elif path == "/long":
            self.respond(stream, 200, b"x" * 30, {"content-length": "20"})
        elif path == "/connection":
            self.respond(stream, 200, b"x", {"connection": "close"})
        elif path == "/encoding":
            self.respond(stream, 200, b"x", {"transfer-encoding": "chunked"})
        elif path == "/upper":
            self.respond(stream, 200, b"x", {"X-Upper": "1"})
        elif path == "/value":
            self.respond(stream, 200, b"x", {"x-split": "1\r\nx-more: 2"})
        elif path == "/space":
            self.respond(stream, 200, b"x", {"x-space": " 1 "})
        elif path == "/status":
            self.respond(stream, 99, b"x", {})
        elif path == "/no-status":
            self.h2.send_headers(stream, [("x-a", "1")], end_stream=True)
        elif path == "/switch":
            self.h2.send_headers(stream, [(":status", "101")])
        elif path == "/fields":
            self.respond(stream, 200, b"x", {f"x-{n}": "1" for n in range(150)})
        elif path == "/enormous":
            self.respond(stream, 200, b"x", {f"x-huge-{n}": "x" * 10000 for n in range(12)})
        elif path == "/huge":
            self.respond(stream, 200, b"x", {"x-huge": "x" * 40000})
        elif path == "/head-with-body":
            self.respond(stream, 204, b"xxx", {})
        elif path == "/garbage":
            self.flush()
            self.sock.sendall(b"\xff" * 100)
        elif path.endswith("/stall"):
            said = str(len(body)).encode()
            said = b"\0" + len(said).to_bytes(4, "big") + said
            self.respond(stream, 200, said, {"content-type": "application/grpc"}, end=False)
            self.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
        elif path.startswith("/drip/"):
            thread = threading.Thread(target=self.drip, args=(stream, int(path[6:])), daemon=True)
            thread.start()
        elif path.startswith("/bulk/"):
            thread = threading.Thread(target=self.bulk, args=(stream, int(path[6:])), daemon=True)
            thread.start()
        elif path == "/settings":
            threading.Thread(target=self.flood, args=(4, bytes(0)), daemon=True).start()
        elif path == "/pings":
            threading.Thread(target=self.flood, args=(6, bytes(8)), daemon=True).start()
        elif path == "/empty-data":
            self.respond(stream, 200, b"", {}, end=False)
            threading.Thread(target=self.flood, args=(0, b"", stream), daemon=True).start()
        elif path == "/continuations":
            self.flush()
            self.raw(1, 0, stream, b"\x88")
            thread = threading.Thread(
                target=self.flood, args=(9, b"\x00\x01a\x01b" * 1000, stream), daemon=True
            )
            thread.start()
        else:
            text = "\n".join(f"{n}: {v}" for n, v in head)
            text += f"\nbody: {len(body)}"
            text += "".join(f"\ntrailer {n.decode()}: {v.decode()}" for n, v in trailers)
            self.respond(stream, 200, text.encode(), {"x-length": str(len(body))})

    def hold(self, stream):
        RELEASED.wait(60)
        with self.lock:
            self.respond(stream, 200, b"held", {})
            self.flush()

    def bulk(self, stream, size):
        with self.lock:
            self.h2.send_headers(stream, [(":status", "200"), ("content-length", str(size))])
            self.flush()
        while size:
            with self.lock:
                try:
                    room = self.h2.local_flow_control_window(stream)
                except h2.exceptions.ProtocolError:
                    return
                n = min(room, self.h2.max_outbound_frame_size, size)
                if n > 0:
                    self.h2.send_data(stream, b"x" * n)
                    self.flush()
                    size -= n
                    with LOCK:
                        STATE["sent"] = STATE.get("sent", 0) + n
            if n <= 0:
                time.sleep(0.001)
        with self.lock:
            self.h2.end_stream(stream)
            self.flush()

    def drip(self, stream, frames):
        """So many frames of six bytes each."""
        with self.lock:
            self.h2.send_headers(stream, [(":status", "200")])
            self.flush()
        while frames:
            with self.lock:
                try:
                    room = self.h2.local_flow_control_window(stream)
                except h2.exceptions.ProtocolError:
                    return
                n = min(room // 6, frames, 500)
                for _ in range(n):
                    self.h2.send_data(stream, b"drip%02d" % (frames % 100))
                    frames -= 1
                self.flush()
                with LOCK:
                    STATE["dripped"] = STATE.get("dripped", 0) + n
            if n <= 0:
                time.sleep(0.001)
        with self.lock:
            self.h2.end_stream(stream)
            self.flush()

    def flood(self, kind, payload, stream=0):
        try:
            while True:
                self.raw(kind, 0, stream, payload)
        except OSError as error:
            with LOCK:
                STATE["flooded"] = 1
            print("flood ended:", error, file=sys.stderr)


def main():
    listener = socket.create_server((OPTIONS.get("host", "127.0.0.1"), int(sys.argv[1])))
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if "mute" in OPTIONS:
            threading.Thread(target=lambda s=sock: s.recv(1) and time.sleep(600), daemon=True).start()
            continue
        threading.Thread(target=Conn(sock).serve, daemon=True).start()


main()
