"""The kinds of traffic, and which generator makes each: once as fast as it goes, once at a fixed rate."""

import dataclasses

from . import generate


@dataclasses.dataclass(frozen=True)
class Case:
    """One kind of traffic."""

    what: str
    path: str = "/"
    connections: int = 64
    # What wrk.lua, datagrams.rs and handshakes.rs take.
    words: tuple = ()
    # Which of a proxy's ports (see servers.Ports), and with it what is spoken.
    port: str = "web"
    # Who makes it in the closed loop, and at a fixed rate: words of Drivers; "" for nobody.
    loop: str = "wrk"
    paced: str = "paced"
    # Requests at once on each connection, and bytes of each answer: for h2load.
    streams: int = 1
    size: int = 64
    # Whether the floor can carry it: messages that fit a socket's buffer, on kept connections.
    floor: bool = False

    def suits(self, proxy):
        """Whether a proxy serves it."""
        if proxy.name == "floor":
            return self.floor
        return {"datagrams": proxy.has_udp, "raw": proxy.has_tcp}.get(self.port, True)


MULTIPLEXED = {"connections": 4, "streams": 100, "loop": "h2load", "paced": "h2load"}
HANDSHAKES = {"connections": 16, "port": "tls", "loop": "handshakes", "paced": "handshakes"}

CASES = {
    "64b": Case("HTTP, 64 B", floor=True),
    "10k": Case("HTTP, 10 KiB", "/10k", floor=True),
    "1m": Case("HTTP, 1 MiB", "/1m"),
    "browser": Case("HTTP, browser heads", "/browser", words=("browser",), floor=True),
    "512": Case("HTTP, 64 B, 512 connections", connections=512, floor=True),
    "new": Case("HTTP, 64 B, a connection each", words=("close",), paced=""),
    "https": Case("HTTPS, 64 B", port="tls", paced="h2load"),
    "https-1m": Case("HTTPS, 1 MiB", "/1m", port="tls", paced="h2load", size=1 << 20),
    "full": Case("TLS, full handshakes", words=("full",), **HANDSHAKES),
    "resumed": Case("TLS, resumed handshakes", words=("resumed",), **HANDSHAKES),
    "h2": Case("HTTP/2 to HTTP/1.1, 64 B, 4 × 100 streams", port="h2", **MULTIPLEXED),
    "h2-tls": Case("the same over TLS", port="tls", **MULTIPLEXED),
    "grpc": Case("gRPC, unary, 4 × 100 streams", "/load.Echo/Unary", port="grpc", size=len(generate.MESSAGE), **MULTIPLEXED),
    "tcp": Case("TCP, 64 B exchanges", port="raw"),
    "bulk": Case("TCP, bulk (1 MiB)", "/1m", port="raw"),
    "udp": Case("UDP, 64 B question and answer, 64 clients", port="datagrams", words=("kept",), loop="datagrams", paced=""),
    "udp-new": Case("UDP, 64 B, a client each", port="datagrams", words=("new",), loop="datagrams", paced=""),
}


class Drivers:
    """The generators of a run, all on one core; those that are programs of ours are built when they are
    first wanted. Each takes a case, a proxy's port, seconds and a rate: `None` is a closed loop. An
    answer that takes longer than `patience` is an error to wrk."""

    def __init__(self, folder, core, patience="5s"):
        self.folder, self.core, self.patience, self.programs = folder, core, patience, {}

    def drive(self, case, ports, seconds, rate=None):
        """Drives one proxy with one case."""
        driver = getattr(self, case.loop if rate is None else case.paced)
        return driver(case, getattr(ports, case.port), seconds, rate)

    def program(self, name, build):
        if name not in self.programs:
            self.programs[name] = build(self.folder, name)
        return self.programs[name]

    def wrk(self, case, port, seconds, _):
        return generate.wrk(port, case.path, case.connections, seconds, self.core, case.words, self.patience, case.port == "tls")

    def paced(self, case, port, seconds, rate):
        fields = generate.fields_file(self.folder, case.words)
        program = self.program("paced", generate.build)
        return generate.paced(program, port, case.path, case.connections, rate, seconds, self.core, fields)

    def h2load(self, case, port, seconds, rate):
        return generate.h2load(self.folder, port, case, seconds, self.core, rate)

    def handshakes(self, case, port, seconds, rate):
        program = self.program("handshakes", generate.build_example)
        return generate.handshakes(program, port, case.connections, rate or 0, seconds, self.core, *case.words)

    def datagrams(self, case, port, seconds, _):
        program = self.program("datagrams", generate.build)
        return generate.datagrams(program, port, case.connections, seconds, self.core, *case.words)
