"""Containers: what is created, what is answered, what is refused."""

import gzip
import re

import httpx
import pytest

from containerfs.api.dialect import Dialect
from tests.server.conftest import answered, create, refused
from tests.server.live import LiveServer


def test_a_container_has_the_fields_of_both_schemas(http: httpx.Client) -> None:
    created = create(http, name="data", memory_limit="4g", network_policy={"type": "disabled"})
    assert re.fullmatch("cntr_[0-9a-f]{48}", created["id"])
    assert created["object"] == "container"
    assert created["status"] == "running"
    assert created["memory_limit"] == "4g"
    assert created["network_policy"] == {"type": "disabled"}
    assert created["file_count"] == 0
    assert created["last_active_at"] == created["created_at"]
    assert "expires_at" not in created
    assert answered(http.get(f"/containers/{created['id']}")) == created


@pytest.mark.parametrize(
    ("rule", "seconds"),
    [
        ({"anchor": "created_at", "days": 7}, 7 * 86400),
        ({"anchor": "last_active_at", "minutes": 20}, 20 * 60),
    ],
)
def test_both_forms_of_expiry_are_kept_and_computed(http: httpx.Client, rule: dict[str, object], seconds: int) -> None:
    created = create(http, expires_after=rule)
    assert created["expires_after"] == rule
    assert created["expires_at"] == created["created_at"] + seconds


def test_names_survive_exactly_and_are_found_by_name(http: httpx.Client) -> None:
    for name in ("", "nul\0"):
        refused(http.post("/containers", json={"name": name}), 400, "name")
    for name in ("naïve \u29f8 e\u0301 🦆 \n\"'", "..", "a/b", "x" * 1024):
        created = create(http, name=name)
        assert created["name"] == name
        assert [found["id"] for found in answered(http.get("/containers", params={"name": name}))["data"]] == [
            created["id"]
        ]


def test_deleting_a_container_takes_its_files_along(http: httpx.Client, container: str) -> None:
    file = answered(http.post(f"/containers/{container}/files", files={"file": ("a", b"a")}))
    assert answered(http.delete(f"/containers/{container}")) == {
        "id": container,
        "object": "container.deleted",
        "deleted": True,
    }
    for path in ("", "/files", f"/files/{file['id']}", f"/files/{file['id']}/content"):
        error = refused(http.get(f"/containers/{container}{path}"), 404)
        assert error["message"] == f"Container with id '{container}' not found."
    refused(http.delete(f"/containers/{container}"), 404)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x" * 1025}, "name"),
        ({"name": "a", "file_ids": "file-1"}, "file_ids"),
        ({"name": "a", "file_ids": [7]}, "file_ids.0"),
        ({"name": "a", "memory_limit": "3g"}, "memory_limit"),
        ({"name": "a", "network_policy": {"type": "open"}}, "network_policy.type"),
        ({"name": "a", "expires_after": {"anchor": "created_at"}}, "expires_after"),
        ({"name": "a", "expires_after": {"anchor": "created_at", "days": 1, "minutes": 1}}, "expires_after"),
        ({"name": "a", "expires_after": {"anchor": "now", "days": 1}}, "expires_after.anchor"),
        ({"name": "a", "expires_after": {"anchor": "created_at", "days": 0}}, "expires_after.days"),
        ({"name": "a", "expires_after": {"anchor": "created_at", "days": 10**30}}, "expires_after.days"),
    ],
)
def test_a_wrong_field_is_named(http: httpx.Client, body: dict[str, object], param: str) -> None:
    assert refused(http.post("/containers", json=body), 400, param)["type"] == "invalid_request_error"


def test_a_network_policy_is_small_enough_to_be_listed_with_others(http: httpx.Client) -> None:
    def policy(count: int) -> dict[str, object]:
        return {"type": "allowlist", "allowed_domains": [f"{number:013}" for number in range(count)]}

    assert create(http, network_policy=policy(2045))["network_policy"] == policy(2045)
    error = refused(
        http.post("/containers", json={"name": "large", "network_policy": policy(2046)}),
        400,
        "network_policy.allowed_domains",
    )
    assert error["code"] == "network_policy_too_large"
    assert answered(http.get("/containers", params={"name": "large"}))["data"] == []


def test_an_unknown_file_to_copy_leaves_no_container(http: httpx.Client) -> None:
    before = answered(http.get("/containers", params={"name": "half"}))["data"]
    refused(http.post("/containers", json={"name": "half", "file_ids": ["file-nope"]}), 404, "file_ids")
    assert answered(http.get("/containers", params={"name": "half"}))["data"] == before == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"name": "\xff"}', b'{"name": "\\ud800"}', b"[" * 100000, b'{"name": 1e999}']
)
def test_a_body_that_is_not_the_json_that_is_wanted(http: httpx.Client, body: bytes) -> None:
    response = http.post("/containers", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_other_media_types_and_sizes_are_refused(http: httpx.Client, container: str) -> None:
    refused(http.post("/containers", data={"name": "a"}), 415)
    compressed = {"content-type": "application/json", "content-encoding": "gzip"}
    refused(http.post("/containers", content=gzip.compress(b'{"name": "a"}'), headers=compressed), 415)
    path = f"/containers/{container}/files"
    refused(http.post(path, files={"file": b""}, headers={"content-encoding": "gzip"}), 415)
    refused(http.post(f"/containers/{container}/files", content=b"x", headers={"content-type": "text/plain"}), 415)
    refused(http.post("/files", json={}), 415)
    refused(http.post("/containers", content=b" " * (1024 * 1024 + 1)), 413)


def test_unknown_paths_and_methods(http: httpx.Client, container: str) -> None:
    assert refused(http.get("/nothing"), 404)["message"] == "Invalid URL (GET /v1/nothing)"
    for method, path in (("PUT", "/containers"), ("PATCH", f"/containers/{container}"), ("DELETE", "/files")):
        response = http.request(method, path)
        refused(response, 405)
        assert "GET" in response.headers["allow"]


def test_every_answer_is_marked(http: httpx.Client) -> None:
    ids = set()
    for response in (http.get("/containers"), http.get("/nothing"), http.post("/containers")):
        spoken = Dialect.of(response.headers)
        assert spoken == Dialect(
            True, True, True, etags=True, attributes=True, directories=True, renames=True, whole_uploads=True
        )
        ids.add(response.headers["x-request-id"])
    assert len(ids) == 3


def test_a_body_on_a_get_is_ignored(http: httpx.Client, container: str) -> None:
    response = http.request("GET", f"/containers/{container}", content=b"x" * 100_000)
    assert answered(response)["id"] == container
    assert answered(http.get(f"/containers/{container}"))["id"] == container


def test_secrets_are_accepted_and_forgotten(server: LiveServer, http: httpx.Client) -> None:
    secret = {"domain": "example.com", "name": "token", "value": "hunter2-hunter2"}
    policy = {"type": "allowlist", "allowed_domains": ["example.com"]}
    request = {"name": "a", "network_policy": {**policy, "domain_secrets": [secret], "unheard_of": "hunter2-hunter2"}}
    response = http.post("/containers", json=request, headers={"idempotency-key": "secretive"})
    assert answered(response)["network_policy"] == policy
    assert http.post("/containers", json=request, headers={"idempotency-key": "secretive"}).text == response.text
    for path in server.data_dir.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()
    for wrong in ("hunter2", [{**secret, "value": 2}], [{"domain": "hunter2"}], [{**secret, "value": ""}]):
        request = {"name": "a", "network_policy": {**policy, "domain_secrets": wrong}}
        error = answered(http.post("/containers", json=request), 400)["error"]
        assert error["param"].startswith("network_policy.domain_secrets")
        assert "hunter2" not in error["message"]
