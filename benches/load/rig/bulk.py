"""Bodies of gigabytes: a backend that sends and takes them, and a client that asks and sends.

Bytes are moved by the kernel where it can (sendfile from a file without content, MSG_TRUNC to throw
away what arrives), so that the proxy between the two is what is measured. Run as a program it is
the backend or one transfer.
"""

import os
import socket
import sys
import threading

PIECE = 1 << 20
# A chunk of a chunked body as a sender of files makes it.
CHUNK = 256 << 10


def need_all(count, wanted, what):
    if count != wanted:
        raise SystemExit(f"{what}: {count:,} of {wanted:,} bytes")


class Reader:
    """Reads heads and chunk lines exactly, and throws bodies away."""

    def __init__(self, stream):
        self.stream, self.have, self.scrap = stream, bytearray(), bytearray(PIECE)

    def until(self, mark):
        """The bytes before `mark`, which is taken too; empty at the end."""
        while (at := self.have.find(mark)) < 0:
            piece = self.stream.recv(65536)
            if not piece:
                return b""
            self.have += piece
        found = bytes(self.have[:at])
        del self.have[: at + len(mark)]
        return found

    def drop(self, count):
        """Throws so many bytes away: how many came."""
        dropped = min(count, len(self.have))
        del self.have[:dropped]
        while dropped < count:
            n = self.stream.recv_into(self.scrap, min(count - dropped, PIECE), socket.MSG_TRUNC)
            if n == 0:
                break
            dropped += n
        return dropped

    def drop_chunks(self):
        """Throws a chunked body away: how many bytes of data it had."""
        total = 0
        while line := self.until(b"\r\n"):
            size = int(line.split(b";")[0], 16)
            if size == 0:
                self.until(b"\r\n")
                break
            total += self.drop(size)
            self.until(b"\r\n")
        return total

    def body(self, head):
        """Throws the body of this head away."""
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if fields.get(b"transfer-encoding") == b"chunked":
            return self.drop_chunks()
        return self.drop(int(fields.get(b"content-length", 0)))


def send(stream, file, head, size, chunked):
    """Sends a head and a body of so many bytes."""
    stream.sendall(head + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % size))
    left, piece = size, CHUNK if chunked else 16 * PIECE
    while left > 0:
        n = min(left, piece)
        if chunked:
            stream.sendall(b"%x\r\n" % n)
        offset = 0
        while offset < n:
            offset += os.sendfile(stream.fileno(), file, offset, n - offset)
        if chunked:
            stream.sendall(b"\r\n")
        left -= n
    if chunked:
        stream.sendall(b"0\r\n\r\n")


def hollow():
    """A file of `16 * PIECE` bytes that occupies nothing."""
    file = os.memfd_create("hollow")
    os.ftruncate(file, 16 * PIECE)
    return file


def serve(port):
    """Answers `GET /SIZE` and `GET /SIZE/chunked` with so many bytes, everything else with how
    many bytes of body came."""
    listener, file = socket.create_server(("127.0.0.1", port)), hollow()

    def one(stream):
        reader = Reader(stream)
        while head := reader.until(b"\r\n\r\n"):
            method, target, _ = head.split(b"\r\n")[0].split(b" ")
            if method == b"GET":
                words = target.decode().split("/")
                send(stream, file, b"HTTP/1.1 200 OK\r\n", int(words[1]), "chunked" in words)
            else:
                said = b"%d" % reader.body(head)
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))

    while True:
        stream, _ = listener.accept()
        threading.Thread(target=one, args=(stream,), daemon=True).start()


def transfer(port, kind, size):
    """One body through `port`: `download`, `upload`, each also with `-chunked`."""
    stream, chunked = socket.create_connection(("127.0.0.1", port)), kind.endswith("chunked")
    reader = Reader(stream)
    if kind.startswith("download"):
        target = f"/{size}/chunked" if chunked else f"/{size}"
        stream.sendall(f"GET {target} HTTP/1.1\r\nHost: bulk\r\n\r\n".encode())
        need_all(reader.body(reader.until(b"\r\n\r\n")), size, kind)
    else:
        send(stream, hollow(), b"POST / HTTP/1.1\r\nHost: bulk\r\n", size, chunked)
        head = reader.until(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(reader.have) < length:
            reader.have += stream.recv(4096)
        need_all(int(reader.have), size, kind)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        transfer(int(sys.argv[2]), sys.argv[1], int(sys.argv[3]))
