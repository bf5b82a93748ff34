"""What an idle connection costs: opens thousands, lets each do one request, and reads the memory.

Run as a program it is the opener, or the backend that answers only when all have asked.
"""

import os
import resource
import selectors
import socket
import ssl
import subprocess
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: idle\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# Connections one opener holds; the descriptor limit of a process must carry them.
SHARE = 5000


class Openers:
    """Processes that hold idle connections, told by lines on their stdin what to do."""

    def __init__(self, port, count, core, kind="plain"):
        self.parts = []
        while count > 0:
            n = min(count, SHARE)
            count -= n
            self.parts.append(subprocess.Popen(
                ["taskset", "-c", str(core), sys.executable, __file__, kind, str(port), str(n)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        self._answers()

    def tell(self, word):
        """`ask`: a request on every connection at once; `each`: one after the other; `gather`: the
        backend is to answer the next requests only when all are there."""
        for part in self.parts:
            part.stdin.write(word + "\n")
            part.stdin.flush()
        self._answers()

    def _answers(self):
        for part in self.parts:
            line = part.stdout.readline().strip()
            if line != "done":
                raise SystemExit(f"opener: {line or 'ended'}")

    def close(self):
        for part in self.parts:
            part.stdin.close()
            part.wait()


def settled_rss(child, deadline=20.0):
    """Resident bytes once they have stood still for three seconds: who gives memory back does so by
    and by."""
    end, last, since = time.monotonic() + deadline, -1, time.monotonic()
    while time.monotonic() < end:
        now = child.rss()
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 3.0:
            break
        time.sleep(0.1)
    return last


def _raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _exchange(stream):
    stream.sendall(REQUEST)
    _read(stream)


def _read(stream):
    have = b""
    while b"\r\n\r\n" not in have:
        piece = stream.recv(4096)
        if not piece:
            raise OSError("closed instead of an answer")
        have += piece
    head, body = have.split(b"\r\n\r\n", 1)
    if not head.startswith(b"HTTP/1.1 200"):
        raise OSError(head.split(b"\r\n")[0].decode(errors="replace"))
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += stream.recv(4096)


def _tls():
    """What a client offers is said by tls.py; the certificate is nobody's."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _open(port, count, context=None):
    _raise_limit()
    streams = []
    try:
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", port), 30)
            stream.settimeout(60)
            streams.append(context.wrap_socket(stream) if context else stream)
            if context:
                # Handshakes take their time: who has not asked for too long is sent away.
                _exchange(streams[-1])
        print("done", flush=True)
        for line in sys.stdin:
            word = line.strip()
            if word == "gather":
                streams[0].sendall(REQUEST.replace(b"GET /", b"GET /gather"))
                _read(streams[0])
            elif word == "ask":
                for stream in streams:
                    stream.sendall(REQUEST)
                for stream in streams:
                    _read(stream)
            else:
                for stream in streams:
                    _exchange(stream)
            print("done", flush=True)
    except OSError as error:
        print(f"after {len(streams)} connections: {error}", flush=True)


def _barrier(port, count):
    """Answers at once until a connection numbered above one is seen waiting; then all together."""
    _raise_limit()
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    chosen = selectors.DefaultSelector()
    chosen.register(listener, selectors.EVENT_READ)
    waiting, gather = [], False
    while os.getppid() != 1:
        for key, _ in chosen.select(1):
            if key.fileobj is listener:
                stream, _ = listener.accept()
                stream.setblocking(False)
                chosen.register(stream, selectors.EVENT_READ)
                continue
            stream = key.fileobj
            try:
                data = stream.recv(65536)
            except OSError:
                data = b""
            if not data:
                chosen.unregister(stream)
                stream.close()
                continue
            if data.startswith(b"GET /gather"):
                gather = True
                stream.sendall(ANSWER)
            elif gather:
                waiting.append(stream)
                if len(waiting) == count:
                    for each in waiting:
                        each.sendall(ANSWER)
                    waiting, gather = [], False
            else:
                stream.sendall(ANSWER)


if __name__ == "__main__":
    kinds = {"plain": _open, "tls": lambda port, count: _open(port, count, _tls()), "barrier": _barrier}
    kinds[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
