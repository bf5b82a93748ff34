"""The run's certificate, and what every generator offers: the same to each proxy.

Nobody chooses: TLS 1.3, X25519 and TLS_AES_128_GCM_SHA256 are all there is, so what a proxy would
rather take makes no difference.
"""

import os
import subprocess

from .process import need

CIPHER = "TLS_AES_128_GCM_SHA256"


def certificate(folder):
    """A self-signed certificate (ECDSA P-256) and its key in one file, as all three proxies take it."""
    both = folder / "tls.pem"
    if not both.exists():
        subprocess.run([
            need("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha256",
            "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"),
        ], check=True, capture_output=True)
        both.write_text((folder / "tls.crt").read_text() + (folder / "tls.key").read_text())
        both.chmod(0o600)
    return both


def offer(folder):
    """Sets what this process' children offer, those that have OpenSSL: wrk, h2load, openssl, Python."""
    file = folder / "openssl.cnf"
    file.write_text(f"""openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = offered
[offered]
MinProtocol = TLSv1.3
Ciphersuites = {CIPHER}
Groups = X25519
""")
    os.environ["OPENSSL_CONF"] = str(file)
