"""The backend, Evenkeel and its peers, configured for the same work.

One thread each; keep-alive on both sides; X-Forwarded-For added; no access log; TLS 1.3 alone, with
tickets and without a session cache. All ports but that of gRPC are in front of the same backend.
"""

import os
import subprocess
import sys
from pathlib import Path

from .process import need
from .tls import certificate

REPO = Path(__file__).resolve().parents[3]

# What a browser's page typically comes back with: with Server, Date, Content-Type, Content-Length
# and Connection these make twelve fields.
BROWSER_RESPONSE = {
    "Cache-Control": "private, max-age=0, must-revalidate",
    "ETag": '"5f3c-5e8d2a1b7c9f0"',
    "Vary": "Accept-Encoding, Cookie",
    "Set-Cookie": "sid=3f2b9c0d7e6a4815b2c1d0e9f8a7b6c5; Path=/; HttpOnly; SameSite=Lax",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
}


class Ports:
    """The ports of one proxy, from `base` on, by what is spoken there; `tls` has HTTP/1.1 and HTTP/2."""

    COUNT = 7

    def __init__(self, base):
        self.web, self.raw, self.admin, self.tls, self.h2, self.grpc, self.collector = range(base, base + self.COUNT)
        self.datagrams = self.raw


NGINX_HEAD = """
pid {dir}/{name}.pid;
error_log {dir}/{name}.error.log warn;
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
"""

NGINX_PATHS = """
  client_body_temp_path {dir}/{name}.body;
  proxy_temp_path {dir}/{name}.proxy;
  fastcgi_temp_path {dir}/{name}.fastcgi;
  uwsgi_temp_path {dir}/{name}.uwsgi;
  scgi_temp_path {dir}/{name}.scgi;
"""


# The backend of gRPC listens so many ports above the other one.
CALLS = 1


def descriptors():
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def backend(family, folder, port, core, name="backend", single=False):
    """nginx with one worker: / 64 bytes, /browser with twelve fields, /10k, /1m; /seen says what it saw."""
    nginx = need("nginx", "nginx-light")
    www = folder / "www"
    www.mkdir(exist_ok=True)
    for file, size in (("10k", 10 << 10), ("1m", 1 << 20)):
        # Another backend may be serving it at this moment: never cut it short under its hands.
        if not (www / file).exists():
            (www / file).write_bytes(b"x" * size)
    fields = "".join(f"      add_header {k} '{v}';\n" for k, v in BROWSER_RESPONSE.items())
    files = descriptors()
    config = folder / f"{name}.conf"
    config.write_text(
        NGINX_HEAD.format(dir=folder, name=name, files=files, connections=min(files - 100, 16000))
        + ("master_process off;\n" if single else "")
        + f"""
http {{
  {NGINX_PATHS.format(dir=folder, name=name)}
  access_log off; sendfile on; tcp_nopush off; default_type text/plain;
  keepalive_requests 1000000000; keepalive_timeout 1h;
  open_file_cache max=10 inactive=1h; open_file_cache_valid 1h;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {www};
    location = / {{ return 200 '{"x" * 64}'; }}
    location = /browser {{
{fields}      return 200 '{"x" * 64}';
    }}
    location = /seen {{ return 200 'x-forwarded-for: $http_x_forwarded_for, $server_protocol, connection: $http_connection'; }}
    location = /name {{ return 200 '{name}'; }}
    location / {{ }}
  }}
}}
""")
    child = family.start(name, [nginx, "-c", str(config), "-p", str(folder)], core, folder / f"{name}.log")
    return child.wait_for(port)


def nginx(family, folder, ports, upstream, core, wrapper=(), single=False):
    """nginx from Debian, its stream module too."""
    program = need("nginx", "nginx-light")
    modules = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    files = descriptors()
    stream = f"""
stream {{
  server {{ listen 127.0.0.1:{ports.raw} backlog=4096; proxy_pass 127.0.0.1:{upstream}; proxy_timeout 1h; }}
  server {{ listen 127.0.0.1:{ports.datagrams} udp; proxy_pass 127.0.0.1:{upstream}; proxy_timeout 500ms; }}
}}
""" if modules.exists() else ""
    config = folder / "nginx.conf"
    config.write_text(
        (f"load_module {modules};\n" if stream else "")
        + NGINX_HEAD.format(dir=folder, name="nginx", files=files, connections=files - 100)
        + ("master_process off;\n" if single else "")
        + stream
        + f"""
http {{
  {NGINX_PATHS.format(dir=folder, name="nginx")}
  access_log off;
  keepalive_requests 1000000000; keepalive_timeout 1h;
  upstream app {{
    server 127.0.0.1:{upstream};
    keepalive 4096; keepalive_requests 1000000000; keepalive_timeout 1h;
  }}
  upstream calls {{
    server 127.0.0.1:{upstream + CALLS};
    keepalive 4096; keepalive_requests 1000000000; keepalive_timeout 1h;
  }}
  server {{
    listen 127.0.0.1:{ports.grpc} backlog=4096 http2;
    location / {{
      grpc_pass grpc://calls;
      grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
  server {{
    listen 127.0.0.1:{ports.web} backlog=4096;
    listen 127.0.0.1:{ports.h2} backlog=4096 http2;
    listen 127.0.0.1:{ports.tls} backlog=4096 ssl http2;
    ssl_certificate {certificate(folder)};
    ssl_certificate_key {certificate(folder)};
    ssl_protocols TLSv1.3;
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffers 16 32k;
      proxy_busy_buffers_size 256k;
      proxy_max_temp_file_size 0;
      proxy_request_buffering off;
      client_max_body_size 0;
    }}
  }}
}}
""")
    command = [*wrapper, program, "-c", str(config), "-p", str(folder)]
    child = family.start("nginx", command, core, folder / "nginx.log")
    child.has_tcp = child.has_udp = bool(stream)
    return child.wait_for(ports.web, deadline=60 if wrapper else 10)


def haproxy(family, folder, ports, upstream, core, wrapper=()):
    """HAProxy from Debian, with splice."""
    program = need("haproxy", "haproxy")
    config = folder / "haproxy.cfg"
    config.write_text(f"""
global
  nbthread 1
  # The limits are not checked against the worst case of every connection spliced: the load is known.
  no strict-limits
  maxconn {descriptors() * 3 // 4}
defaults
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option splice-auto
  option http-keep-alive
  http-reuse always
frontend web
  mode http
  bind 127.0.0.1:{ports.web} backlog 4096
  bind 127.0.0.1:{ports.h2} backlog 4096 proto h2
  bind 127.0.0.1:{ports.tls} backlog 4096 ssl crt {certificate(folder)} ssl-min-ver TLSv1.3 alpn h2,http/1.1
  option forwardfor
  default_backend app
frontend calls
  mode http
  bind 127.0.0.1:{ports.grpc} backlog 4096 proto h2
  option forwardfor
  default_backend calls
backend calls
  mode http
  server one 127.0.0.1:{upstream + CALLS} proto h2 pool-max-conn -1 pool-purge-delay 1h
backend app
  mode http
  server one 127.0.0.1:{upstream} pool-max-conn -1 pool-purge-delay 1h
listen raw
  mode tcp
  bind 127.0.0.1:{ports.raw} backlog 4096
  server one 127.0.0.1:{upstream}
""")
    child = family.start("haproxy", [*wrapper, program, "-db", "-f", str(config)], core, folder / "haproxy.log")
    child.has_tcp, child.has_udp = True, False
    return child.wait_for(ports.web, deadline=60 if wrapper else 10)


def datagrams(family, folder, port, core, program):
    """The backend of datagrams, at the same port as the other one."""
    return family.start("datagrams", [str(program), "echo", f"127.0.0.1:{port}"], core, folder / "datagrams.log")


def calls(family, folder, port, core, program):
    """The backend of gRPC, beside the other one."""
    child = family.start("unary", [str(program), f"127.0.0.1:{port + CALLS}"], core, folder / "unary.log")
    return child.wait_for(port + CALLS)


def floor(family, folder, ports, upstream, core):
    """No proxy: bytes passed on as they come. What is left is what the kernel costs."""
    program = folder / "floor"
    source = Path(__file__).resolve().parent.parent / "floor.rs"
    subprocess.run([need("rustc", "rustc"), "--edition", "2024", "-O", "-o", str(program), str(source)], check=True)
    child = family.start("floor", [str(program), str(ports.web), str(upstream)], core, folder / "log")
    child.has_tcp = child.has_udp = False
    child.wait_for(ports.web)
    return child


def evenkeel_binary(path=None, profile="release"):
    """Builds the proxy unless a binary is given."""
    if path:
        return Path(path).resolve()
    subprocess.run(["cargo", "build", "--profile", profile, "--bin", "evenkeel"], cwd=REPO, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
    return target / profile / "evenkeel"


# What keeps faults of backends from clients, each as a pool says it.
GUARDS = {
    "retries": 'retry = { attempts = 3, on = ["connect", "reset", "timeout", "5xx"] }',
    "ejection": 'outlier = { silence = "off" }',
    "silence": 'outlier = { consecutive_failures = "off", success_rate = "off" }',
    "outlier": "outlier = {}",
    "slow_start": 'slow_start = "30s"',
    "panic": 'health = { tcp = true }\npanic_threshold = "50%"',
    "queue": 'max_active = 10000\nqueue = { size = 1000, timeout = "5s" }',
    "adaptive": "max_active = { min = 100, max = 10000 }",
}
# All that can be on at once.
ALL_GUARDS = ("retries", "outlier", "slow_start", "panic", "queue")


# What tells of requests, each as the file says it; `{folder}` is a folder of its own, `{collector}` a port.
TOLD = {
    "logged": ('access = {{ to = "{folder}/access.log", format = "json" }}', ""),
    "traced": ("", '[trace]\notlp = "http://127.0.0.1:{collector}"\nsample = "1%"'),
}


def evenkeel_config(ports, upstream, certificate, guards=(), told=("", "")):
    """A route, a balancer and the metrics are on; health checks would only blur the figures."""
    guarded = "\n".join(GUARDS[guard] for guard in guards)
    return f"""
[server]
workers = 1
[log]
level = "warn"
{told[0]}
{told[1]}
[admin]
bind = "127.0.0.1:{ports.admin}"
[listener.web]
bind = ["127.0.0.1:{ports.web}", "127.0.0.1:{ports.h2}"]
protocol = "http"
[listener.tls]
bind = "127.0.0.1:{ports.tls}"
protocol = "http"
tls = {{ certificates = [{{ cert = "{certificate}", key = "{certificate}" }}], min_version = "1.3" }}
[listener.grpc]
bind = "127.0.0.1:{ports.grpc}"
protocol = "http"
[[route]]
name = "calls"
listener = "grpc"
path = "/"
pool = "calls"
[pool.calls]
http = "2"
backends = ["127.0.0.1:{upstream + CALLS}"]
[listener.raw]
bind = "127.0.0.1:{ports.raw}"
protocol = "tcp"
pool = "app"
[listener.datagrams]
bind = "127.0.0.1:{ports.datagrams}"
protocol = "udp"
pool = "datagrams"
udp = {{ sessions = 100000, per_client = "off", idle = "500ms" }}
[pool.datagrams]
backends = ["127.0.0.1:{upstream}"]
[[route]]
name = "all"
listener = ["web", "tls"]
path = "/"
pool = "app"
[pool.app]
balance = "round_robin"
keep_alive = {{ idle = "1h", max_idle = 20000, max_age = "1h" }}
backends = ["127.0.0.1:{upstream}"]
{guarded}
"""


def collector(family, folder, port, core):
    """Takes whatever is posted: what a proxy spends on traces is to be seen, not what becomes of them."""
    script = Path(__file__).parent / "collector.py"
    child = family.start("collector", [sys.executable, str(script), str(port)], core, folder / "collector.log")
    return child.wait_for(port)


def evenkeel(family, folder, ports, upstream, core, binary, wrapper=(), config=None, guards=(), told=None):
    """Evenkeel with one worker."""
    file = folder / "proxy.toml"
    # Not beside its file: the folder of that is watched.
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    words = tuple(part.format(folder=logs, collector=ports.collector) for part in TOLD.get(told, ("", "")))
    file.write_text(config or evenkeel_config(ports, upstream, certificate(folder), guards, words))
    command = [*wrapper, str(binary), "run", "-c", str(file)]
    child = family.start("evenkeel", command, core, folder / "evenkeel.log")
    child.has_tcp = child.has_udp = True
    return child.wait_for(ports.web, deadline=120 if wrapper else 10)
