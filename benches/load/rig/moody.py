#!/usr/bin/env python3
"""A backend with a script: `moody.py PORT MOOD`.

race   after a few answers it closes each connection at the moment the next request arrives, unread
deaf   answers five requests a connection; from SIGUSR1 to SIGUSR2 it accepts none
talks  WebSocket handshakes become echoes; /slow takes three seconds to send 256 KiB, /take to read an upload
relay  PORT passes to the port in MOOD (`relay:PORT`), every byte a quarter of a second late each way
"""

import asyncio
import contextlib
import random
import signal
import socket
import sys

BODY = b"x" * 64
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s"
SLICES, SLICE = 64, 4096


def close_unread(writer):
    """What arrived is not read: the kernel answers with a reset."""
    writer.transport.abort()


async def head_of(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:] if b":" in line)
    return head, int(fields.get(b"content-length", b"0"))


async def race(reader, writer):
    draw = random.Random()
    for _ in range(draw.randint(1, 20)):
        _, length = await head_of(reader)
        await reader.readexactly(length)
        writer.write(OK % (len(BODY), b"", BODY))
    writer.transport.pause_reading()
    # Whoever sends the next request finds it closed, whether it looked before or not.
    await asyncio.sleep(draw.uniform(0, 0.05))
    close_unread(writer)


async def deaf(reader, writer):
    for left in reversed(range(5)):
        _, length = await head_of(reader)
        await reader.readexactly(length)
        writer.write(OK % (len(BODY), b"" if left else b"Connection: close\r\n", BODY))
    await writer.drain()
    writer.close()


async def talks(reader, writer):
    while True:
        head, length = await head_of(reader)
        target = head.split()[1]
        if b"websocket" in head.lower():
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                         b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
            while data := await reader.read(4096):
                writer.write(data)
            writer.close()
            return
        if target == b"/slow":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (SLICES * SLICE))
            for _ in range(SLICES):
                writer.write(b"x" * SLICE)
                await writer.drain()
                await asyncio.sleep(3 / SLICES)
            continue
        await reader.readexactly(length)
        writer.write(OK % (len(BODY), b"", BODY))


def relay_to(port):
    async def late(reader, writer):
        while data := await reader.read(65536):
            asyncio.get_running_loop().call_later(0.25, writer.write, data)
        asyncio.get_running_loop().call_later(0.3, writer.close)

    async def relay(reader, writer):
        other = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(late(reader, other[1]), late(other[0], writer))

    return relay


async def main():
    port, mood = int(sys.argv[1]), sys.argv[2]
    serve = relay_to(int(mood.split(":")[1])) if mood.startswith("relay:") else {"race": race, "deaf": deaf, "talks": talks}[mood]

    async def kept(reader, writer):
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    listening = asyncio.Event()
    listening.set()

    def accept(willing):
        # A queue of none is full with one connection that nobody takes.
        listener.listen(1024 if willing else 0)
        (listening.set if willing else listening.clear)()

    async def readable():
        there = loop.create_future()
        loop.add_reader(listener, lambda: there.done() or there.set_result(None))
        try:
            await there
        finally:
            loop.remove_reader(listener)

    loop.add_signal_handler(signal.SIGUSR1, accept, False)
    loop.add_signal_handler(signal.SIGUSR2, accept, True)
    tasks = set()
    while True:
        await listening.wait()
        try:
            # Not `sock_accept` under a timeout: one that was accepted as that rang would be reset.
            accepted, _ = listener.accept()
        except BlockingIOError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await readable()
            continue
        except OSError:
            continue
        accepted.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=accepted)
        task = asyncio.create_task(kept(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(main())
