"""Watches a running proxy through its admin address, many times a second."""

import json
import re
import threading
import time
import urllib.request

EVERY = 0.02
PICKS = re.compile(r'^evenkeel_balancer_picks_total\{([^}]*)\} (\S+)$', re.M)
OWN = re.compile(r'^evenkeel_responses_own_total\{[^}]*reason="([^"]*)"\} (\S+)$', re.M)
BACKEND = re.compile(r'backend="([^"]*)"')


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def status(port):
    return json.loads(get(port, "/v1/status"))


def states(port, pool="app"):
    """Each backend's state, by name."""
    return {member["name"]: member["state"] for member in json.loads(get(port, f"/v1/pools/{pool}"))["members"]}


def picks(port):
    """How often each backend was picked so far, by name."""
    found = {}
    for labels, value in PICKS.findall(get(port, "/metrics")):
        name = BACKEND.search(labels)[1]
        found[name] = found.get(name, 0) + float(value)
    return found


def own_answers(port):
    """How often the proxy answered itself, by reason."""
    found = {}
    for reason, value in OWN.findall(get(port, "/metrics")):
        found[reason] = found.get(reason, 0) + int(float(value))
    return found


class Watch:
    """Samples of states and picks, taken in the background from `start` to `stop`."""

    def __init__(self, port):
        self.port, self.samples, self.ended = port, [], threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def _run(self):
        while not self.ended.is_set():
            self.samples.append((time.monotonic(), states(self.port), picks(self.port)))
            self.ended.wait(EVERY)

    def state_after(self, name, since, wanted):
        """Seconds from `since` until a backend was first seen in a state for which `wanted` holds."""
        return next((at - since for at, now, _ in self.samples if at >= since and wanted(now.get(name))), None)

    def work_ended(self, name, since, until):
        """Seconds from `since` until a backend was picked for the last time before `until`."""
        last, at_last = None, 0.0
        for at, _, counts in self.samples:
            if since - 1 <= at < until:
                if last is not None and counts.get(name, 0) > last and at >= since:
                    at_last = at - since
                last = counts.get(name, 0)
        return at_last

    def work_again(self, name, since):
        """Seconds from `since` until a backend was picked again."""
        first = None
        for at, _, counts in self.samples:
            if at < since:
                continue
            count = counts.get(name, 0)
            if first is None:
                first = count
            elif count > first:
                return at - since
        return None

    def share(self, name, begin, end):
        """A backend's share of all picks between two moments."""
        inside = [counts for at, _, counts in self.samples if begin <= at <= end]
        if len(inside) < 2:
            return 0.0
        gained = {key: inside[-1][key] - inside[0].get(key, 0) for key in inside[-1]}
        return gained.get(name, 0) / max(sum(gained.values()), 1)
