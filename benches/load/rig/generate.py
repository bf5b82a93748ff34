"""The two generators: wrk, a closed loop, and paced, a fixed rate. Both give the same figures."""

import json
import os
import re
import subprocess
from pathlib import Path

from .process import need

HERE = Path(__file__).resolve().parents[1]


def wrk(port, path, connections, seconds, core, words=(), timeout="5s"):
    """Drives `port` with wrk: requests, seconds, bytes, errors, p50, p99 and max in µs; with the
    word `statuses` the answers by status, too."""
    command = ["taskset", "-c", str(core)] if core is not None else []
    command += [
        need("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s",
        "--timeout", timeout, "--latency", "-s", str(HERE / "wrk.lua"),
        f"http://127.0.0.1:{port}{path}", "--", *words,
    ]
    return _last_json(command)


def build(folder, name):
    """Compiles one of the programs beside into the run's folder."""
    program = folder / name
    subprocess.run([need("rustc", "rustc"), "--edition", "2024", "-O", "-o", str(program), str(HERE / f"{name}.rs")], check=True)
    return program


def build_paced(folder):
    """Compiles paced.rs into the run's folder."""
    return build(folder, "paced")


def datagrams(program, port, clients, seconds, core, kind):
    """Drives the UDP `port` with clients that have one question out each."""
    command = ["taskset", "-c", str(core)] if core is not None else []
    return _last_json([*command, str(program), "drive", f"127.0.0.1:{port}", str(clients), str(seconds), kind])


def fields_file(folder, words):
    """The browser's fields as lines, read from wrk.lua so that both generators send the same."""
    if "browser" not in words:
        return ""
    lua = (HERE / "wrk.lua").read_text()
    fields = re.findall(r'^  \["([^"]+)"\] = "(.*)",$', lua, re.M)
    assert len(fields) == 14, "with Host fifteen fields"
    file = folder / "browser.fields"
    file.write_text("".join(f"{name}: {value}\r\n" for name, value in fields), newline="")
    return str(file)


def paced(program, port, path, connections, rate, seconds, core, fields="", posts=0):
    """Drives `port` at `rate` requests a second."""
    command = ["taskset", "-c", str(core)] if core is not None else []
    command += [str(program), f"127.0.0.1:{port}", path, str(connections), f"{rate:.1f}", str(seconds), fields, str(posts)]
    return _last_json(command)


def _last_json(command):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    result = json.loads(lines[-1])
    result["errors"] = result["status"] + result["socket"] + result["timeout"]
    return result
