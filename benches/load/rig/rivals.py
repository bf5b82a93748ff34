"""The proxies that are compared under faults: three backends, round robin, probes each second, retries
and passive ejection switched on, three tries, one second to connect, two for a first byte.

What each of them is configured for is what its manual offers for the purpose; nobody is held back.
"""

import http.client
import os
import signal
import subprocess

from .process import need
from .servers import NGINX_HEAD, NGINX_PATHS

NAMES = ("b1", "b2", "b3")


class Rival:
    """One of them, in a folder of its own."""

    def __init__(self, family, folder, port, admin, backends):
        self.family, self.folder, self.port, self.admin, self.backends = family, folder, port, admin, backends
        self.number = 0
        self.write()
        self.child = family.start(self.name, self.command(), None, folder / "log", {"HOME": str(folder)}).wait_for(port)

    def write(self):
        new = self.folder / "new"
        new.write_text(self.config())
        os.replace(new, self.file)

    @property
    def file(self):
        return self.folder / "config"

    def reload(self):
        """Another file that means the same, and the word to read it."""
        self.number += 1
        self.write()
        self.child.process.send_signal(signal.SIGHUP)


class Evenkeel(Rival):
    name = "evenkeel"
    binary = None

    @property
    def file(self):
        return self.folder / "proxy.toml"

    def command(self):
        return [str(self.binary), "run", "-c", str(self.file)]

    def config(self):
        backends = ", ".join(f'{{ name = "{n}", addr = "127.0.0.1:{p}" }}' for n, p in zip(NAMES, self.backends))
        return f"""
[server]
workers = 1
grace = "{25 + self.number}s"
[log]
level = "warn"
[admin]
bind = "127.0.0.1:{self.admin}"
[listener.web]
bind = "127.0.0.1:{self.port}"
protocol = "http"
pool = "app"
[pool.app]
health = {{ http = "/", interval = "1s", timeout = "1s", rise = 2, fall = 2 }}
timeout = {{ connect = "1s", first_byte = "2s" }}
retry = {{ attempts = 3, on = ["connect", "reset", "timeout", "5xx"] }}
outlier = {{}}
backends = [{backends}]
"""


class Haproxy(Rival):
    name = "haproxy"

    def command(self):
        return [need("haproxy", "haproxy"), "-W", "-f", str(self.file)]

    def reload(self):
        self.number += 1
        self.write()
        self.child.process.send_signal(signal.SIGUSR2)

    def config(self):
        servers = "\n".join(f"  server {n} 127.0.0.1:{p}" for n, p in zip(NAMES, self.backends))
        return f"""
global
  nbthread 1
  # {self.number}
  hard-stop-after 25s
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 2s
  timeout tunnel 1h
  timeout http-keep-alive 75s
  option http-keep-alive
  option redispatch 1
  retries 2
  retry-on conn-failure empty-response response-timeout 500 502 503 504
frontend web
  bind 127.0.0.1:{self.port}
  option forwardfor
  default_backend app
backend app
  balance roundrobin
  option httpchk GET /
  default-server check inter 1s fall 2 rise 2 observe layer7 error-limit 5 on-error mark-down
{servers}
"""


class Nginx(Rival):
    name = "nginx"

    def command(self):
        return [need("nginx", "nginx-light"), "-c", str(self.file), "-p", str(self.folder)]

    def config(self):
        servers = "\n".join(f"    server 127.0.0.1:{p} max_fails=5 fail_timeout=5s;" for p in self.backends)
        return NGINX_HEAD.format(dir=self.folder, name="nginx", files=20000, connections=10000) + f"""
worker_shutdown_timeout 25s;
# {self.number}
http {{
  {NGINX_PATHS.format(dir=self.folder, name="nginx")}
  access_log off;
  keepalive_requests 1000000000; keepalive_timeout 75s;
  upstream app {{
{servers}
    keepalive 64;
  }}
  map $http_upgrade $hop {{ default upgrade; "" ""; }}
  server {{
    listen 127.0.0.1:{self.port};
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection $hop;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_connect_timeout 1s;
      proxy_read_timeout 2s;
      proxy_next_upstream error timeout http_500 http_502 http_503 http_504;
      proxy_next_upstream_tries 3;
    }}
    # A tunnel is not cut for being quiet for as long as an answer may take.
    location /ws {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection $hop;
      proxy_set_header Upgrade $http_upgrade;
      proxy_read_timeout 1h;
    }}
  }}
}}
"""


class Caddy(Rival):
    name = "caddy"

    def command(self):
        return [need("caddy", "caddy"), "run", "--config", str(self.file), "--adapter", "caddyfile"]

    def reload(self):
        self.number += 1
        self.write()
        link = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        link.request("POST", "/load", self.config(), {"Content-Type": "text/caddyfile"})
        link.getresponse().read()
        link.close()

    def config(self):
        return f"""
{{
  admin 127.0.0.1:{self.admin}
  auto_https off
  grace_period 25s
}}
http://:{self.port} {{
  bind 127.0.0.1
  header X-Number {self.number}
  reverse_proxy {" ".join(f"127.0.0.1:{p}" for p in self.backends)} {{
    lb_policy round_robin
    lb_try_duration 5s
    lb_try_interval 25ms
    health_uri /
    health_interval 1s
    health_timeout 1s
    fail_duration 5s
    max_fails 5
    unhealthy_status 5xx
    transport http {{
      dial_timeout 1s
      response_header_timeout 2s
    }}
  }}
}}
"""


RIVALS = {rival.name: rival for rival in (Evenkeel, Haproxy, Nginx, Caddy)}


def versions(names):
    said = []
    if "caddy" in names:
        said.append("caddy " + subprocess.run([need("caddy", "caddy"), "version"], capture_output=True, text=True).stdout.split()[0])
    return said
