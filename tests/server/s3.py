"""A real object store that speaks S3, for tests: SeaweedFS, in a process of its own, on loopback."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import obstore
from obstore.store import S3Store

WEED = Path(sys.executable).with_name("weed")

ACCESS = {"accessKey": "access", "secretKey": secrets.token_hex(16)}

PARTS_AT_ONCE = 4

SERVICES = ("master", "volume", "filer", "s3")


class ObjectStorage:
    """A running server. It may be ended and started again, and keeps what is in it, and its address."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ports = dict(zip(_ports(SERVICES), _free_ports(2 * len(SERVICES)), strict=True))
        (directory / "s3.json").write_text(json.dumps({"identities": [_identity()]}))
        self.process = self._start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program needs in its environment to use it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS["accessKey"],
            "AWS_SECRET_ACCESS_KEY": ACCESS["secretKey"],
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def new_bucket(self) -> str:
        """The URL of a place in it that nothing is in; the bucket is made by the first that is put there."""
        return f"s3://bucket/{secrets.token_hex(4)}"

    def objects_in(self, url: str) -> dict[str, int]:
        """The names and sizes of what is there."""
        return {found["path"]: found["size"] for found in obstore.list(self._store(url)).collect()}

    def remove(self, url: str, name: str) -> None:
        """Lose an object."""
        obstore.delete(self._store(url), name)

    def copy(self, source: str, destination: str) -> None:
        """Copy what is in one place to another, as tools that copy buckets do."""
        there = self._store(destination)
        for found in obstore.list(self._store(source)).collect():
            obstore.put(there, found["path"], obstore.get(self._store(source), found["path"]).bytes())

    def unfinished(self) -> dict[str, int]:
        """Multipart uploads that were neither completed nor aborted, with their parts, as the server's disk has them.

        Those that were under way when their upload was aborted may be kept: the service may take them later.
        Source: the S3 API, AbortMultipartUpload.
        """
        uploads = self._entries("/buckets/bucket/.uploads/")
        parts = {upload: len(self._entries(f"{upload}/")) for upload in uploads}
        return {upload: count for upload, count in parts.items() if count > PARTS_AT_ONCE}

    def _entries(self, directory: str) -> list[str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["filer.port"], timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", directory, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            listed = json.loads(answer.read() or b"{}") if answer.status == 200 else {}
        return [entry["FullPath"] for entry in listed.get("Entries") or ()]

    def kill(self) -> None:
        """End it, as there is no other way that it ends quickly."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def start_again(self) -> None:
        self.process = self._start()

    def _store(self, url: str) -> S3Store:
        return S3Store.from_url(
            url,
            endpoint=self.endpoint,
            access_key_id=ACCESS["accessKey"],
            secret_access_key=ACCESS["secretKey"],
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def _start(self) -> "subprocess.Popen[bytes]":
        options = [
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={self.directory}",
            "-s3",
            f"-s3.config={self.directory}/s3.json",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=100",
            f"-s3.localSocket={self.directory}/s3.sock",
            f"-filer.localSocket={self.directory}/filer.sock",
            *(f"-{name}={port}" for name, port in self._ports.items()),
        ]
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [WEED, "-logtostderr=true", "server", *options], stdout=log, stderr=log, start_new_session=True
            )
        while not self._takes_objects():
            assert process.poll() is None, (self.directory / "log").read_text()
        return process

    def _takes_objects(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["s3.port"], timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/")
            if connection.getresponse().status != 403:
                return False
            with contextlib.suppress(obstore.exceptions.BaseError):
                obstore.put(self._store("s3://bucket"), f"ready-{secrets.token_hex(4)}", b"")
                return True
        return False


def _ports(services: tuple[str, ...]) -> list[str]:
    return [f"{service}.port{kind}" for service in services for kind in ("", ".grpc")]


def _identity() -> dict[str, object]:
    return {"name": "test", "credentials": [ACCESS], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


@contextlib.contextmanager
def running_object_storage() -> Iterator[ObjectStorage]:
    """A new server, ended at the end."""
    with tempfile.TemporaryDirectory(prefix="s3.", ignore_cleanup_errors=True) as directory:
        server = ObjectStorage(Path(directory))
        try:
            yield server
        finally:
            server.kill()
