"""Medians, quartiles and markdown tables."""

import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from .servers import REPO


def quartiles(values):
    """First quartile, median, third quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def spread(values, form="{:.2f}"):
    """`median (q1 – q3)`."""
    low, middle, high = quartiles(values)
    return f"{form.format(middle)} ({form.format(low)} – {form.format(high)})"


def table(head, rows):
    """A markdown table; the first column is text, the others are aligned right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def _output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=REPO).stdout.strip()
    except OSError:
        return ""


def heading(binary=None):
    """Machine, kernel, versions, commit and command: what a figure is worth nothing without."""
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    commit = _output("git", "rev-parse", "--short=12", "HEAD") or "unknown"
    if _output("git", "status", "--porcelain", "--untracked-files=no"):
        commit += " with changes"
    versions = [
        subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip().replace("nginx version: ", "") if _which("nginx") else "",
        " ".join(_output("haproxy", "-v").split("\n")[0].split()[:3]),
        _output(str(binary), "--version") if binary else "",
    ]
    return "\n".join([
        f"- machine: {os.cpu_count()} × {model}; Linux {platform.release()}; load before the run {os.getloadavg()[0]:.2f}",
        f"- versions: {', '.join(v for v in versions if v)}",
        f"- commit: {commit}",
        f"- command: `{' '.join([os.path.relpath(sys.argv[0], REPO), *sys.argv[1:]])}`",
    ])


def _which(program):
    from shutil import which

    return which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
