"""The proxies whose configurations are in deploy/, run with them: only addresses and certificates are others."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.server.live import LiveServer, eventually

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = "files.example.com"
CERTIFICATE = Path(__file__).parents[1] / "client" / "localhost.pem"  # with its key


@dataclass(frozen=True)
class Proxy:
    """A running proxy, and the server behind it."""

    port: int
    server: LiveServer

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/v1"


def replaced(text: str, replacements: dict[str, str]) -> str:
    """Each of these lines, which must be there once, replaced."""
    for old, new in replacements.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def nginx(directory: Path, port: int, upstream: str) -> list[str]:
    site = replaced(
        (DEPLOY / "nginx.conf").read_text(),
        {
            "server 127.0.0.1:8080;": f"server {upstream};",
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "/etc/ssl/certs/files.example.com.pem": str(CERTIFICATE),
            "/etc/ssl/private/files.example.com.key": str(CERTIFICATE),
        },
    )
    parts = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{part}_temp_path {directory / part};\n" for part in parts)
    main = f"daemon off;\npid {directory / 'pid'};\nerror_log stderr;\nevents {{}}\n"
    (directory / "nginx.conf").write_text(f"{main}http {{\naccess_log off;\n{paths}{site}}}\n")
    return ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"]


def caddy(directory: Path, port: int, upstream: str) -> list[str]:
    tls = f"tls {CERTIFICATE} {CERTIFICATE}"
    site = replaced(
        (DEPLOY / "Caddyfile").read_text(),
        {
            "files.example.com {": f"https://{NAME}:{port} {{\n{tls}\nbind 127.0.0.1",
            "127.0.0.1:8080": upstream,
        },
    )
    (directory / "Caddyfile").write_text(f"{{\nadmin off\nauto_https off\n}}\n{site}")
    return ["caddy", "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"]


Configured = Callable[[Path, int, str], list[str]]


@contextlib.contextmanager
def running(configured: Configured, directory: Path, server: LiveServer) -> Iterator[Proxy]:
    """A proxy in front of a server, until the end of the context."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = configured(directory, port, server.address.removeprefix("http://").removesuffix("/v1"))
    command[0] = shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin") or command[0]
    home = {**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    with subprocess.Popen(command, env=home, cwd=directory) as process:
        try:
            eventually(lambda: process.poll() is not None or _accepts(port))
            assert process.poll() is None
            yield Proxy(port, server)
        finally:
            process.terminate()
            process.wait(60)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
