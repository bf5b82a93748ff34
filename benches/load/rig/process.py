"""Child processes: started on one core, measured by the kernel's own accounting, always ended.

Only processes started here are ever signalled, each by its pid.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

# The clock of another process' CPU time: the layout of clockid_t on Linux (CPUCLOCK_SCHED = 2).
# It counts the run time of all threads of a process, ended ones too, in nanoseconds, where
# /proc/PID/stat has ticks of 10 ms.
CPUCLOCK_SCHED = 2


def need(program, package):
    """The path of a program, or an exit that names its Debian package."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise SystemExit(f"{program} is missing: apt-get install {package}")
    return path


class Child:
    """One process and the children it has."""

    def __init__(self, name, command, core=None, log=None, env=None):
        self.name = name
        pinned = ["taskset", "-c", str(core), *command] if core is not None else list(command)
        self.log = Path(log) if log else None
        out = open(self.log, "wb") if self.log else subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(
                pinned, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        finally:
            if self.log:
                out.close()
        self.pid = self.process.pid

    def pids(self):
        """This process and what it forked (nginx: master and worker)."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    queue += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        return found

    def cpu(self):
        """CPU seconds used so far, user and system, by this process and its children."""
        total = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += time.clock_gettime(((~pid) << 3) | CPUCLOCK_SCHED)
        return total

    def rss(self):
        """Resident bytes of this process and its children."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmRSS:"):
                        total += int(line.split()[1]) << 10
        return total

    def signal(self, number):
        """Sends a signal to this process and its children."""
        for pid in reversed(self.pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def running(self):
        return self.process.poll() is None

    def stop(self, grace=3.0):
        """SIGTERM, and SIGKILL after `grace` seconds."""
        if not self.running():
            return
        pids = self.pids()
        self.process.terminate()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()

    def kill(self):
        """SIGKILL to it and its children, and waits."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def last_words(self):
        """The end of its log, for the person who must find out."""
        text = self.log.read_text(errors="replace") if self.log and self.log.exists() else ""
        return "\n".join(text.splitlines()[-15:])

    def wait_for(self, *ports, deadline=10.0):
        """Waits until it accepts on all of these ports."""
        end = time.monotonic() + deadline
        for port in ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if not self.running() or time.monotonic() > end:
                        raise SystemExit(f"{self.name} does not accept on port {port}:\n{self.last_words()}")
                    time.sleep(0.02)
        return self


class Family:
    """All children of a run: whatever happens, they end with it."""

    def __init__(self):
        self.children = []

    def start(self, *args, **kwargs):
        child = Child(*args, **kwargs)
        self.children.append(child)
        return child

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit("terminated")))
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            with contextlib.suppress(OSError):
                child.signal(signal.SIGCONT)
            child.stop()


def free_ports(base, count):
    """Refuses to start beside something that already listens on one of the ports."""
    for port in range(base, base + count):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise SystemExit(f"port {port} is in use; choose another --port-base")
