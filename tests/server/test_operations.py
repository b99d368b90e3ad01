"""What the server says of itself: health, metrics, its log, its description."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from containerfs.server import openapi
from tests.server.conftest import LARGE, answered, create
from tests.server.live import LiveServer, eventually, running_server


def counted(server: LiveServer, **labels: str) -> float:
    """The requests that the server has counted with these labels."""
    text = httpx.get(server.root_url + "/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("containerfs_requests_total{")]
    return sum(float(line.split()[-1]) for line in lines if all(f'{k}="{v}"' in line for k, v in labels.items()))


def test_requests_are_counted_by_route_and_status(server: LiveServer, http: httpx.Client, container: str) -> None:
    route = "/v1/containers/{container_id}/files"
    before = counted(server, method="GET", route=route, status="200")
    for _ in range(3):
        answered(http.get(f"/containers/{container}/files"))
    http.get("/containers/cntr_no/files")
    assert counted(server, method="GET", route=route, status="200") == before + 3
    assert counted(server, method="GET", route=route, status="404") == 1
    http.get("/unheard/of")
    assert counted(server, method="GET", route="(none)", status="404") == 1


def test_bytes_are_counted(server: LiveServer, http: httpx.Client, container: str, upload: Callable[..., Any]) -> None:
    file = upload("f", b"x" * 50_000)
    http.get(f"/containers/{container}/files/{file['id']}/content")
    text = httpx.get(server.root_url + "/metrics").text
    for name, route in (("received", "files"), ("sent", "files/{file_id}/content")):
        pattern = (
            rf'containerfs_{name}_bytes_total{{method="\w+",route="/v1/containers/{{container_id}}/{route}"}} (\S+)'
        )
        assert max(map(float, re.findall(pattern, text))) >= 50_000


def metric(server: LiveServer, name: str) -> float:
    text = httpx.get(server.root_url + "/metrics").text
    return float(re.findall(rf"^containerfs_{name} (\S+)$", text, re.MULTILINE)[0])


def test_what_is_in_the_store_is_measured(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "store", "--sweep-interval", "0.1") as server,
        httpx.Client(base_url=server.base_url) as http,
    ):
        containers = [create(http)["id"] for _ in range(3)]
        for container in containers[:2]:
            answered(http.post(f"/containers/{container}/files", files={"file": bytes(1000)}))
        answered(http.post("/files", files={"file": bytes(10)}, data={"purpose": "user_data"}))
        answered(http.delete(f"/containers/{containers[2]}"))
        eventually(lambda: metric(server, "stored_bytes") == 2010)
        assert (metric(server, "containers"), metric(server, "files")) == (2, 3)
        assert metric(server, "expired_bytes") == 0
        assert 0 < metric(server, "disk_free_bytes") < metric(server, "disk_bytes")
        eventually(lambda: metric(server, "sweeps_total") > 1)
        for container in containers[:2]:
            answered(http.delete(f"/containers/{container}"))
        eventually(lambda: metric(server, "stored_bytes") == 10)


def test_metrics_on_an_address_of_their_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with running_server(tmp_path / "store", "--metrics", address) as server, httpx.Client() as http:
        assert http.get(f"{server.base_url}/containers").status_code == 200
        metrics = http.get(f"http://{address}/metrics")
        assert 'route="/v1/containers",status="200"} 1.0' in metrics.text
        assert http.get(f"http://{address}/v1/containers").status_code == 404
        assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def test_the_log_has_a_line_for_each_request(tmp_path: Path) -> None:
    with running_server(tmp_path / "store") as server, httpx.Client(base_url=server.base_url) as http:
        response = http.get("/containers/cntr_x")
    line = json.loads(server.log.read_text())
    assert line["request_id"] == response.headers["x-request-id"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/containers/cntr_x", 404)
    with running_server(tmp_path / "silent", "--no-access-log") as server:
        assert httpx.get(server.root_url + "/healthz").status_code == 200
    assert server.log.read_text() == ""


def test_an_upload_does_not_raise_memory(tmp_path: Path) -> None:
    size = 256 * 1024 * 1024
    with (
        running_server(tmp_path / "store") as server,
        httpx.Client(base_url=server.base_url, timeout=60) as http,
    ):
        container = create(http)["id"]
        path = f"/containers/{container}/files"
        status = Path(f"/proc/{server.process.pid}/status")
        content = tmp_path / "large"
        with content.open("wb") as file:
            file.truncate(size)
        before = resident_peak(status)
        with content.open("rb") as file:
            id = answered(http.post(path, files={"file": file}, headers={"idempotency-key": "k"}))["id"]
        with http.stream("GET", f"{path}/{id}/content") as response:
            assert sum(map(len, response.iter_raw())) == size
        assert resident_peak(status) - before < 64 * 1024


def resident_peak(status: Path) -> int:
    """In KiB."""
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def test_the_description_is_of_every_endpoint(server: LiveServer) -> None:
    document = answered(httpx.get(server.root_url + "/openapi.json"))
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    from containerfs.server.routes import containers, files

    assert described == {(method, "/v1" + path) for method, path, _ in (*containers.routes, *files.routes)}


def test_the_page_shows_every_endpoint_and_needs_no_one_else(server: LiveServer) -> None:
    page = httpx.get(server.root_url + "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for operation in openapi.OPERATIONS:
        assert f"<code>{operation.method} {operation.path}</code>" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script" not in page.text


def test_answers_match_the_description(http: httpx.Client, container: str, upload: Callable[..., Any]) -> None:
    file = upload()["id"]
    source = answered(http.post("/files", files={"file": ("a", b"a")}, data={"purpose": "x"}))["id"]
    rule = {"anchor": "created_at", "days": 1}
    described(http, "POST", "/v1/containers", json={"name": "a", "expires_after": rule, "file_ids": [source]})
    described(http, "POST", "/v1/containers", json={"name": "a", "network_policy": {"type": "disabled"}})
    described(http, "POST", "/v1/containers/{container_id}/files", container, json={"file_id": source})
    described(http, "POST", "/v1/containers/{container_id}/files", container, files={"file": ("b", b"")})
    described(http, "POST", "/v1/files", files={"file": ("b", b"")}, data={"purpose": "x"})
    for path in ("/v1/containers", "/v1/containers/{container_id}", "/v1/containers/{container_id}/files"):
        described(http, "GET", path, container)
    for path in ("", "/content"):
        described(http, "GET", "/v1/containers/{container_id}/files/{file_id}" + path, container, file)
        described(http, "GET", "/v1/files/{file_id}" + path, file=source)
    described(http, "GET", "/v1/files")
    described(http, "DELETE", "/v1/containers/{container_id}/files/{file_id}", container, file)
    described(http, "DELETE", "/v1/files/{file_id}", file=source)
    described(http, "DELETE", "/v1/containers/{container_id}", container)
    for status in ("400", "404", "415"):
        described(http, "POST", "/v1/containers", status=status, **REFUSED[status])


REFUSED: dict[str, dict[str, Any]] = {
    "400": {"json": {}},
    "404": {"json": {"name": "a", "file_ids": ["file-no"]}},
    "415": {"data": {"name": "a"}},
}


def described(
    http: httpx.Client, method: str, path: str, container: str = "", file: str = "", status: str = "200", **body: Any
) -> None:
    """Ask, and hold the answer against the description."""
    document = openapi.document()
    url = path.removeprefix("/v1").format(container_id=container, file_id=file)
    response = http.request(method, url, **body)
    assert str(response.status_code) == status, response.text
    [(kind, answer)] = document["paths"][path][method.lower()]["responses"][status]["content"].items()
    if kind == "application/json":
        assert response.headers["content-type"] == kind
        jsonschema.validate(response.json(), {**answer["schema"], "components": document["components"]})


def test_the_description_refuses_what_the_server_does_not_answer() -> None:
    """The schemas are no empty words."""
    schemas = openapi.document()["components"]
    for broken in ({}, {"id": "a"}, {"id": 7, "created_at": 0, "name": "", "object": "container"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, {"$ref": "#/components/schemas/Container", "components": schemas})


def test_an_unforeseen_failure_is_a_500_with_the_same_form(tmp_path: Path) -> None:
    """Forced by a store that is damaged: better no content than a wrong one."""
    with running_server(tmp_path / "store") as server, httpx.Client(base_url=server.base_url) as http:
        container = create(http)["id"]
        file = answered(http.post(f"/containers/{container}/files", files={"file": ("f", LARGE)}))["id"]
        [blob] = [path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()]
        blob.write_bytes(b"x")
        error = answered(http.get(f"/containers/{container}/files/{file}/content"), 500)["error"]
        assert error["type"] == "server_error"
        assert str(tmp_path) not in json.dumps(error)


REFUSED_BODIES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "CreateContainer": (
        "",
        [
            {},
            {"name": ""},
            {"name": "a\0b"},
            {"name": "x" * 1025},
            {"name": "a", "file_ids": ["a\0b"]},
            {"name": "a", "memory_limit": "2g"},
            {"name": "a", "expires_after": {"anchor": "created_at"}},
            {"name": "a", "expires_after": {"anchor": "created_at", "days": None, "minutes": None}},
            {"name": "a", "expires_after": {"anchor": "created_at", "days": 1, "minutes": 1}},
            {"name": "a", "expires_after": {"anchor": "now", "days": 1}},
        ],
    ),
    "RenameContainer": ("/{container}", [{}, {"name": ""}, {"name": "\0"}]),
    "CopyFile": (
        "/{container}/files",
        [{}, {"file_id": ""}, {"file_id": "\0"}, {"file_id": "a", "path": ""}, {"file_id": "a", "path": "/a"}],
    ),
    "UpdateFile": (
        "/{container}/files/a",
        [{}, {"attributes": {"mode": -1}}, {"attributes": {"mode": 0.5}}, {"attributes": {"uid": 2**32}}],
    ),
}
"""Bodies that the server refuses, by the name of their schema and the URL below ``/containers``."""


@pytest.mark.parametrize("name", REFUSED_BODIES)
def test_the_description_has_no_body_that_the_server_refuses(http: httpx.Client, container: str, name: str) -> None:
    url, bodies = REFUSED_BODIES[name]
    schema = {"$ref": f"#/components/schemas/{name}", "components": openapi.document()["components"]}
    for body in bodies:
        assert http.post("/containers" + url.format(container=container), json=body).status_code == 400, body
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(body, schema)


def test_the_description_has_no_purpose_that_the_server_refuses(http: httpx.Client) -> None:
    upload = openapi.document()["paths"]["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    for purpose in ("", "a\0b", "x" * 65):
        answer = http.post("/files", files={"file": ("a", b"")}, data={"purpose": purpose})
        assert answer.status_code == 400
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(purpose, upload["properties"]["purpose"])


def test_the_description_has_every_lifetime(http: httpx.Client) -> None:
    schema = {"$ref": "#/components/schemas/CreateContainer", "components": openapi.document()["components"]}
    for span in ({"days": 1}, {"minutes": 1}, {"days": 1, "minutes": None}, {"days": None, "minutes": 5}):
        body = {"name": "a", "expires_after": {"anchor": "created_at", **span}}
        answered(http.post("/containers", json=body))
        jsonschema.validate(body, schema)


@pytest.mark.parametrize("path", ["/containers", "/containers/{container_id}/files", "/files"])
def test_the_description_has_no_page_that_the_server_refuses(http: httpx.Client, container: str, path: str) -> None:
    schemas = {p["name"]: p["schema"] for p in openapi.document()["paths"]["/v1" + path]["get"]["parameters"]}
    for name, value in {"limit": 0, "order": "up", "after": ""}.items():
        assert http.get(path.format(container_id=container), params={name: value}).status_code == 400
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, schemas[name])
