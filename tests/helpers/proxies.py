"""The example proxies, started as they are but for names, ports and certificates."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.helpers.server import free_port

__all__ = ["OPS", "caddy", "nginx", "program"]

OPS = Path(__file__).resolve().parents[2] / "ops"


def program(name: str) -> str:
    """Find a program of Debian's. Skips where it is not; in CI that is a failure."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
    if found is None:
        message = f"{name} is not here: make tools installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@contextlib.contextmanager
def nginx(ports: list[int]) -> Iterator[tuple[str, Path]]:
    """Run nginx in front of servers on these ports; give its address and its certificate."""
    command, port, folder = program("nginx"), free_port(), Path(tempfile.mkdtemp(prefix="nginx-"))
    certificate = _certificate(folder)
    text = (OPS / "nginx" / "bookconnect-dm.conf").read_text("utf-8")
    for old, new in (
        ("/etc/ssl/chat.example/fullchain.pem", str(certificate)),
        ("/etc/ssl/chat.example/privkey.pem", str(folder / "key.pem")),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("listen 80;", f"listen 127.0.0.1:{free_port()};"),
        ("127.0.0.1:8080", f"127.0.0.1:{ports[0]}"),
        ("127.0.0.1:8081", f"127.0.0.1:{ports[-1]}"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "site.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log {folder}/access.log;\n{places}include {folder}/site.conf;\n}}\n"
    )
    folder.chmod(0o755)
    checked = subprocess.run(
        [command, "-t", "-c", str(main)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    with _running([command, "-c", str(main)], port, folder):
        yield f"https://127.0.0.1:{port}", certificate


@contextlib.contextmanager
def caddy(ports: list[int]) -> Iterator[str]:
    """Run Caddy, without TLS, in front of servers on these ports; give its address."""
    command, port, folder = program("caddy"), free_port(), Path(tempfile.mkdtemp(prefix="caddy-"))
    text = (OPS / "caddy" / "Caddyfile").read_text("utf-8")
    text = re.sub(r"^chat\.example", f"http://127.0.0.1:{port}", text, flags=re.MULTILINE)
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{ports[0]}")
    text = text.replace("127.0.0.1:8081", f"127.0.0.1:{ports[-1]}")
    file = folder / "Caddyfile"
    file.write_text("{\n\tadmin off\n}\n" + text)
    with _running([command, "run", "--adapter", "caddyfile", "--config", str(file)], port, folder):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    log = folder / "log"
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=env)
    try:
        for _ in range(400):
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        else:
            raise AssertionError(log.read_text())
        yield
    finally:
        process.terminate()
        process.wait(15)
        shutil.rmtree(folder, ignore_errors=True)


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chat.example")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("chat.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / "certificate.pem"
    file.write_bytes(made.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (folder / "key.pem").write_bytes(private)
    return file
