"""A steady load: so many requests a second over so many kept connections, each request at its moment.

A request's latency counts from its moment, so one that had to wait for the one before it on its
connection is not flattered. A connection that was closed is made anew.
"""

import asyncio
import time

# Nobody waits longer for an answer.
PATIENCE = 10.0


class Asked:
    """One request and what became of it."""

    __slots__ = ("at", "kind", "took", "status")

    def __init__(self, at, kind):
        self.at, self.kind, self.took, self.status = at, kind, PATIENCE, 0

    @property
    def lost(self):
        return not 200 <= self.status < 300


async def answer(reader):
    """Reads one answer; its status, and whether the connection stays."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(":", 1) for line in lines[1:] if ":" in line)
    if "chunked" in fields.get("transfer-encoding", ""):
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(fields.get("content-length", "0")))
    return int(lines[0].split()[1]), "close" not in fields.get("connection", "")


def request(kind):
    if kind == "GET":
        return b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
    return b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody"


async def connection(port, moments, done):
    """One client: asks at each of its moments."""
    link = None
    for at, kind in moments:
        await asyncio.sleep(max(0, at - time.monotonic()))
        asked = Asked(at, kind)
        done.append(asked)
        try:
            async with asyncio.timeout(PATIENCE):
                if link is not None and link[0].at_eof():
                    # The proxy closed it in order while it was idle.
                    link[1].close()
                    link = None
                if link is None:
                    link = await asyncio.open_connection("127.0.0.1", port)
                link[1].write(request(kind))
                asked.status, stays = await answer(link[0])
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError, IndexError):
            stays = False
        asked.took = time.monotonic() - at
        if not stays and link is not None:
            link[1].close()
            link = None
    if link is not None:
        link[1].close()


async def drive(port, seconds, rate=600, connections=40, posts=20):
    """Every `posts`-th request is a POST. Returns every request."""
    begin = time.monotonic() + 0.2
    total = int(rate * seconds)
    share = [[] for _ in range(connections)]
    for n in range(total):
        # The kinds go round the connections.
        kind = "POST" if (n // connections + n) % posts == 0 else "GET"
        share[n % connections].append((begin + n / rate, kind))
    done = []
    await asyncio.gather(*(connection(port, moments, done) for moments in share))
    return begin, done


def percentile(requests, share):
    took = sorted(asked.took for asked in requests)
    return took[min(len(took) - 1, int(len(took) * share))] if took else 0.0
