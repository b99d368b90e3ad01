"""How many connections a mount makes: over a long line each costs as much as a request."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from containerfs.client import Client
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.service import ApiRemote
from containerfs.fs.tasks import Workers
from containerfs.fs.types import RemoteFile

CONTENT = bytes(range(256)) * 16


class CountingServer(ThreadingHTTPServer):
    """Answers every GET with the same content, and counts the connections that bring them."""

    daemon_threads = True
    connections = 0

    class RequestHandlerClass(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            assert isinstance(self.server, CountingServer)
            self.send_response(200)
            if self.server.announces:
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                self.wfile.write(CONTENT)
            else:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT))

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    def __init__(self, *, announces: bool) -> None:
        super().__init__(("127.0.0.1", 0), self.RequestHandlerClass)
        self.announces = announces

    def get_request(self) -> tuple[socket.socket, object]:
        self.connections += 1
        return super().get_request()


@pytest.fixture(params=[True, False], ids=["announced", "chunked"])
def server(request: pytest.FixtureRequest) -> Iterator[CountingServer]:
    with CountingServer(announces=request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_files_read_one_after_the_other_share_a_connection(server: CountingServer, tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, 1 << 20, "service")
    with Client(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none") as client:
        fetcher = Fetcher(ApiRemote(client, client, "service", 10.0), cache, Workers())
        for number in range(5):
            reader = fetcher.open(RemoteFile(f"cfile_{number}", "cntr_1", f"{number}", len(CONTENT), 0))
            assert reader.ensure_all() == len(CONTENT)
            reader.close()
    cache.close()
    assert server.connections == 1
