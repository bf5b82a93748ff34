"""gRPC by grpcio, on either side of a proxy; and a client that speaks it by the `h2` of PyPI alone.

peer.py serve PORT NAME [tls=FOLDER] [age=MS] [threads=N]: until SIGTERM, which ends it in order.
peer.py check TARGET SCENARIO [tls=FOLDER]: one scenario of those below; its asserts are the test.
peer.py talk TARGET [tls=FOLDER]: a command a line, an answer a line, until there are no more.
peer.py raw PORT PATH [NAME=VALUE]... [body=N]... [split]: one call with these fields that is never
    given up; shows what came. It has an empty message, and ends with it, or in a frame of its own; or
    it has these messages, and no end.

The folder holds a.pem, a.key (for localhost) and ca.pem. Messages are bytes as they are.
"""

import collections
import queue
import signal
import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "test.T"
OPTIONS = dict(o.partition("=")[::2] for o in sys.argv[3:])
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
BYTES = bytes(range(256))


def read(name):
    with open(f"{OPTIONS['tls']}/{name}", "rb") as file:
        return file.read()


# The server.

LOCK = threading.Lock()
STATE = collections.Counter()
RELEASED = threading.Event()


def note(word, n=1):
    with LOCK:
        STATE[word] += n


def own(context):
    return [(k, v) for k, v in context.invocation_metadata() if k in OURS]


def echo(request, context):
    if ("x-small", "1") in context.invocation_metadata():
        context.set_compression(grpc.Compression.Gzip)
    context.send_initial_metadata(own(context))
    context.set_trailing_metadata([*own(context), ("x-end-bin", BYTES)])
    return request


def name(request, context):
    note("names")
    return sys.argv[3].encode()


def state(request, context):
    with LOCK:
        return " ".join(f"{k}={v}" for k, v in STATE.items()).encode()


def head(request, context):
    return "\n".join(f"{k}: {v}" for k, v in context.invocation_metadata()).encode()


def release(request, context):
    RELEASED.set()
    return b"released"


def abort(request, context):
    context.set_trailing_metadata([("x-why", "because"), ("x-why-bin", BYTES)])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "näh: 100 %")


def abort_all(requests, context):
    """Before a message was read."""
    abort(None, context)
    yield b""


def hold(request, context):
    """Until its client gives it up."""
    ended = threading.Event()
    note("held")
    if not context.add_callback(ended.set):
        ended.set()
    ended.wait()
    note("ended")
    return b""


def late(request, context):
    yield b"first"
    yield hold(request, context)


def die(request, context):
    yield b"first"
    signal.raise_signal(signal.SIGKILL)


def count(request, context):
    n, size = map(int, request.split())
    for i in range(n):
        note("sent", size)
        yield str(i).encode().ljust(size)


def total(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def sink(requests, context):
    """Reads nothing until it is released; then everything, in order."""
    note("sinking")
    RELEASED.wait()
    n = 0
    for request in requests:
        assert int(request) == n, (request, n)
        n += 1
    return str(n).encode()


def both(requests, context):
    """Says all it has to say, and reads meanwhile."""
    note("both")

    def take():
        for _ in requests:
            note("taken")

    reader = threading.Thread(target=take)
    reader.start()
    for i in range(8_000):
        yield str(i).encode().ljust(1000)
    reader.join()


def chat(requests, context):
    context.send_initial_metadata(own(context))
    note("chats")
    for request in requests:
        yield sys.argv[3].encode() + b" " + request
    context.set_trailing_metadata(own(context))


def serve():
    kinds = {
        grpc.unary_unary_rpc_method_handler: [echo, name, state, head, release, abort, hold],
        grpc.unary_stream_rpc_method_handler: [late, count, die],
        grpc.stream_unary_rpc_method_handler: [total, sink],
        grpc.stream_stream_rpc_method_handler: [chat, abort_all, both],
    }
    handlers = {f.__name__: kind(f) for kind, all in kinds.items() for f in all}
    options = [*UNLIMITED, ("grpc.so_reuseport", 0)]
    if "age" in OPTIONS:
        options += [("grpc.max_connection_age_ms", int(OPTIONS["age"]))]
    pool = futures.ThreadPoolExecutor(int(OPTIONS.get("threads", 64)))
    server = grpc.server(pool, options=options)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    where = f"127.0.0.1:{sys.argv[2]}"
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.set("app.Good", health_pb2.HealthCheckResponse.SERVING)
    servicer.set("app.Bad", health_pb2.HealthCheckResponse.NOT_SERVING)
    if "tls" in OPTIONS:
        pair = (read("a.key"), read("a.pem"))
        server.add_secure_port(where, grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(where)
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    server.start()
    while not told.wait(0.05):
        pass
    server.stop(30).wait()


# The client.


def connect(target, options=()):
    options = [*UNLIMITED, *options, ("grpc.default_authority", "localhost")]
    if "tls" not in OPTIONS:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(read("ca.pem")), options)


class Channel:
    """Calls by their names, and none without a limit on its time."""

    def __init__(self, target, options=()):
        self.channel = connect(target, options)

    def __getattr__(self, kind):
        made = getattr(self.channel, kind)
        return lambda method: made(f"/{SERVICE}/{method}")

    def ask(self, method, message=b""):
        return self.unary_unary(method)(message, timeout=60)

    def state(self, word):
        pairs = dict(pair.split("=") for pair in self.ask("state").decode().split())
        return int(pairs.get(word, 0))

    def until(self, word, holds):
        for _ in range(2000):
            if holds(self.state(word)):
                return
            time.sleep(0.01)
        raise AssertionError(f"never came true: {word}, {self.state(word)}")


def failed(begin):
    """The status and the rest of a call that must not end well."""
    try:
        call = begin()
        list(call)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"it ended well: {call}")


OURS = ("x-a", "x-b-bin", "x-end-bin")
METADATA = [("x-a", "1"), ("x-a", "2"), ("x-b-bin", BYTES)]


def carries(metadata, *more):
    there = [(k, v) for k, v in metadata if k in OURS]
    assert there == [*METADATA, *more], metadata


def unary(channel):
    echo = channel.unary_unary("echo")
    answer, call = echo.with_call(b"hello", metadata=METADATA, timeout=60)
    assert (answer, call.code()) == (b"hello", grpc.StatusCode.OK)
    carries(call.initial_metadata())
    carries(call.trailing_metadata(), ("x-end-bin", BYTES))
    assert echo(b"", timeout=60) == b""
    head = channel.ask("head").decode()
    assert "user-agent: grpc-python" in head, head


def client_streaming(channel):
    total = channel.stream_unary("total")
    assert total(iter([]), timeout=60) == b"0"
    assert total((b"x" * n for n in range(1000)), timeout=60) == b"499500"


def server_streaming(channel):
    answers = channel.unary_stream("count")(b"5000 20", timeout=60)
    assert [int(answer) for answer in answers] == list(range(5000))
    assert list(channel.unary_stream("count")(b"0 0", timeout=60)) == []


def two_way(channel):
    """Each message is made of the answer to the one before."""
    sends = queue.SimpleQueue()
    call = channel.stream_stream("chat")(iter(sends.get, None), metadata=METADATA, timeout=60)
    carries(call.initial_metadata())
    message = b"0"
    for _ in range(200):
        sends.put(message)
        answer = next(call)
        name, _, said = answer.rpartition(b" ")
        assert said == message, answer
        message = str(int(said) + 1).encode()
    sends.put(None)
    assert list(call) == []
    carries(call.trailing_metadata())
    assert message == b"200"


def trailers_only(channel):
    error = failed(lambda: channel.ask("abort"))
    streams = channel.stream_stream("abort_all")
    forever = iter(threading.Event().wait, 1)
    for error in [
        error,
        failed(lambda: streams(iter([b""]), timeout=60)),
        # The client's half is still open.
        failed(lambda: streams(forever, timeout=60)),
    ]:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "näh: 100 %", error
        trailing = list(error.trailing_metadata())
        assert ("x-why", "because") in trailing and ("x-why-bin", BYTES) in trailing, trailing
    error = failed(lambda: channel.ask("nothing"))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def large(channel):
    message = bytes(i * 7 % 251 for i in range(1 << 16)) * 96
    assert channel.ask("echo", message) == message
    answers = list(channel.unary_stream("count")(b"3 3000000", timeout=60))
    assert [len(answer) for answer in answers] == [3_000_000] * 3


def compressed(channel):
    message = b"again and again " * 300_000
    echo = channel.unary_unary("echo")
    small = [("x-small", "1")]
    answer = echo(message, compression=grpc.Compression.Gzip, metadata=small, timeout=60)
    assert answer == message


def many(channel):
    echo = channel.unary_unary("echo")
    calls = [(str(n).encode() * 500, n) for n in range(400)]
    calls = [(message, echo.future(message, timeout=60)) for message, _ in calls]
    for message, call in calls:
        assert call.result() == message


def deadline(channel):
    before = channel.state("ended")
    error = failed(lambda: [channel.unary_unary("hold")(b"", timeout=0.3)])
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    error = failed(lambda: channel.unary_stream("late")(b"", timeout=0.3))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    channel.until("ended", lambda ended: ended == before + 2)


def cancelled(channel):
    before = channel.state("ended")
    call = channel.unary_stream("late")(b"", timeout=60)
    assert next(call) == b"first"
    channel.until("held", lambda held: held > before)
    call.cancel()
    channel.until("ended", lambda ended: ended > before)
    call = channel.unary_unary("hold").future(b"", timeout=60)
    channel.until("held", lambda held: held > before + 1)
    call.cancel()
    channel.until("ended", lambda ended: ended > before + 1)


def everything(channel):
    for scenario in [
        unary,
        client_streaming,
        server_streaming,
        two_way,
        trailers_only,
        large,
        compressed,
        many,
        deadline,
        cancelled,
    ]:
        try:
            scenario(channel)
        except BaseException:
            print("in", scenario.__name__, file=sys.stderr)
            raise


def check():
    globals()[sys.argv[3]](Channel(sys.argv[2]))


# The client that is told what to do.


class Load:
    """Calls without a pause, from some threads, each on a connection of its own."""

    def __init__(self, target):
        self.ended, self.counted = threading.Event(), collections.Counter()
        run = lambda n: self.run(Channel(target, [("n", n), ("grpc.use_local_subchannel_pool", 1)]))
        self.threads = [threading.Thread(target=run, args=[n]) for n in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self, channel):
        while not self.ended.is_set():
            word = said(lambda: channel.ask("name").decode())
            with LOCK:
                self.counted[word] += 1

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        return shown(self.counted)


def said(ask):
    try:
        return ask()
    except StopIteration:
        return "OK"
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}".replace("\n", " ")


def shown(counter):
    return ", ".join(f"{n} {word}" for word, n in sorted(counter.items()))


def talk():
    channel, chats, load = Channel(sys.argv[2]), {}, None
    for line in sys.stdin:
        command, *words = line.split()
        if command == "open":
            sends = queue.SimpleQueue()
            call = channel.stream_stream("chat")(iter(sends.get, None), timeout=120)
            chats[words[0]] = (sends, call)
            sends.put(b"hello")
            answer = said(lambda: next(call).decode())
        elif command == "say":
            sends, call = chats[words[0]]
            sends.put(words[1].encode())
            answer = said(lambda: next(call).decode())
        elif command == "hear":
            answer = said(lambda: next(chats[words[0]][1]).decode())
        elif command == "end":
            sends, call = chats[words[0]]
            sends.put(None)
            answer = said(lambda: next(call).decode())
        elif command == "begin":
            # A stream whose answers are read one by one.
            chats[words[0]] = (None, channel.unary_stream(words[1])(" ".join(words[2:]).encode(), timeout=120))
            answer = said(lambda: next(chats[words[0]][1]).decode().strip())
        elif command == "pour":
            # A stream of so many numbers, each of so many bytes, as fast as it goes.
            def numbers(n=int(words[1]), size=int(words[2])):
                for i in range(n):
                    note("poured")
                    yield str(i).encode().ljust(size)

            ask = channel.stream_unary(words[3])
            chats[words[0]] = (None, ask.future(numbers(), timeout=120))
            answer = "pours"
        elif command == "both":
            # As many, to one that answers as many and more; nothing is read but the first.
            numbers = (str(i).encode().ljust(1000) for i in range(int(words[1])))
            chats[words[0]] = (None, channel.stream_stream("both")(numbers, timeout=120))
            answer = said(lambda: next(chats[words[0]][1]).decode().strip())
        elif command == "poured":
            answer = str(STATE["poured"])
        elif command == "result":
            answer = said(lambda: chats[words[0]][1].result().decode())
        elif command == "rest":
            # All that is left, numbered from 1.
            n = 0
            for n, message in enumerate(chats[words[0]][1], 1):
                assert int(message) == n, (message, n)
            answer = str(n)
        elif command == "wait":
            time.sleep(float(words[0]))
            answer = "waited"
        elif command == "call":
            answer = said(lambda: channel.ask(*words[:1], b"").decode())
        elif command == "calls":
            name = channel.unary_unary("name")
            calls = [name.future(b"", timeout=60) for _ in range(int(words[0]))]
            answer = shown(collections.Counter(said(lambda: c.result().decode()) for c in calls))
        elif command == "load":
            load, answer = Load(sys.argv[2]), "loads"
        elif command == "loaded":
            with LOCK:
                answer = str(sum(load.counted.values()))
        elif command == "unload":
            answer = load.end()
        print(answer, flush=True)


def raw():
    """One call; what it hears, a line each. It waits for as long as it is let."""
    import socket

    import h2.config
    import h2.connection
    import h2.events

    sock = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    conn = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    conn.initiate_connection()
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", sys.argv[3]),
        (":authority", "a.test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *(f.split("=", 1) for f in sys.argv[4:] if "=" in f and not f.startswith("body=")),
    ]
    bodies = [field[5:] for field in sys.argv[4:] if field.startswith("body=")]
    conn.send_headers(1, fields)
    for body in bodies:
        data = b"x" * int(body)
        conn.send_data(1, b"\0" + len(data).to_bytes(4, "big") + data)
    if not bodies:
        conn.send_data(1, bytes(5), end_stream="split" not in sys.argv)
    if "split" in sys.argv:
        conn.end_stream(1)
    sock.sendall(conn.data_to_send())
    while data := sock.recv(65536):
        for event in conn.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                for name, value in event.headers:
                    print(f"{name}: {value}", flush=True)
            elif isinstance(event, h2.events.TrailersReceived):
                for name, value in event.headers:
                    print(f"trailer {name}: {value}", flush=True)
            elif isinstance(event, h2.events.DataReceived):
                print("data", event.data.hex(), flush=True)
                conn.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamReset):
                print("reset", int(event.error_code), flush=True)
                return
            elif isinstance(event, h2.events.StreamEnded):
                print("end", flush=True)
                return
        sock.sendall(conn.data_to_send())
    print("closed", flush=True)


{"serve": serve, "check": check, "talk": talk, "raw": raw}[sys.argv[1]]()
