"""The generators: wrk and datagrams, closed loops; paced, a fixed rate; h2load and handshakes, either.
All give the same figures."""

import json
import os
import re
import subprocess
from pathlib import Path

from .process import need
from .tls import CIPHER

HERE = Path(__file__).resolve().parents[1]
REPO = HERE.parents[1]


# One message of gRPC: not compressed, sixteen bytes long.
MESSAGE = b"\0\0\0\0\x10" + b"x" * 16


def wrk(port, path, connections, seconds, core, words=(), timeout="5s", tls=False):
    """Drives `port` with wrk: requests, seconds, bytes, errors, p50, p99 and max in µs; with the
    word `statuses` the answers by status, too."""
    command = ["taskset", "-c", str(core)] if core is not None else []
    command += [
        need("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s",
        "--timeout", timeout, "--latency", "-s", str(HERE / "wrk.lua"),
        f"{'https' if tls else 'http'}://127.0.0.1:{port}{path}", "--", *words,
    ]
    return _last_json(command)


def build(folder, name):
    """Compiles one of the programs beside into the run's folder."""
    program = folder / name
    subprocess.run([need("rustc", "rustc"), "--edition", "2024", "-O", "-o", str(program), str(HERE / f"{name}.rs")], check=True)
    return program


def build_example(_, name):
    """Builds one of the programs beside that need more than the standard library."""
    subprocess.run(["cargo", "build", "--release", "--quiet", "--example", name], cwd=REPO, check=True)
    return REPO.joinpath(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "examples", name)


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


def handshakes(program, port, clients, rate, seconds, core, kind):
    """Drives `port` with TLS handshakes, `full` or `resumed`: rate 0 is a closed loop."""
    command = ["taskset", "-c", str(core)] if core is not None else []
    return _last_json([*command, str(program), f"127.0.0.1:{port}", str(clients), f"{rate:.1f}", str(seconds), kind])


def h2load(folder, port, case, seconds, core, rate=None):
    """Drives `port` with h2load: HTTP/2 where a connection has many requests at once, else HTTP/1.1.

    Latency counts from the sending. It says nothing of what came in an answer but how many bytes:
    one that is short of them, as a status of gRPC without a message is, counts as failed.
    """
    # In a folder of its own: whoever watches the one of a proxy's file would be woken by each line.
    log = folder / "h2load" / "log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    command = ["taskset", "-c", str(core)] if core is not None else []
    command += [
        need("h2load", "nghttp2-client"), f"-c{case.connections}", f"-m{case.streams}", f"-D{seconds}",
        f"--tls13-ciphers={CIPHER}", "--groups=X25519", f"--log-file={log}",
    ]
    if rate:
        command.append(f"--rps={max(round(rate / case.connections), 1)}")
    if case.streams == 1:
        command.append("--h1")
    if case.port == "grpc":
        message = folder / "message"
        message.write_bytes(MESSAGE)
        command += ["-d", str(message), "-H", "content-type: application/grpc", "-H", "te: trailers"]
    command.append(f"{'https' if case.port == 'tls' else 'http'}://127.0.0.1:{port}{case.path}")
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    says = lambda pattern: re.search(pattern, done.stdout)
    total = says(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
    spoken = says(r"Application protocol: (\S+)")
    wanted = "http/1.1" if case.streams == 1 else "h2" if case.port == "tls" else "h2c"
    if done.returncode or not total or not spoken or spoken[1] != wanted:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}, {wanted} was wanted:\n{done.stdout}{done.stderr}")
    well, failed, broken, late = map(int, total.groups())
    short = well - int(says(r"\((\d+)\) data")[1]) // case.size
    micros = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    at = lambda share: micros[int(len(micros) * share)] if micros else 0
    result = {
        "requests": well, "seconds": float(seconds), "status": failed - broken + max(short, 0), "socket": broken, "timeout": late,
        "p50": at(0.5), "p99": at(0.99), "max": micros[-1] if micros else 0,
    }
    result["errors"] = result["status"] + result["socket"] + result["timeout"]
    return result


def _last_json(command):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    result = json.loads(lines[-1])
    result["errors"] = result["status"] + result["socket"] + result["timeout"]
    return result
