"""Extensions for file systems: attributes of files, directories without files, and names of containers."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.conftest import answered, create, refused
from tests.server.live import running_server

SOME = {"mode": 0o4755, "uid": 1000, "gid": 0, "mtime_ns": 1_234_567_890_123_456_789}


def upload(http: httpx.Client, container: str, name: str, attributes: object = None, **more: Any) -> httpx.Response:
    data = {} if attributes is None else {"attributes": json.dumps(attributes)}
    content = more.pop("content", b"content")
    return http.post(f"/containers/{container}/files", files={"file": (name, content)}, data=data, **more)


def listed(http: httpx.Client, container: str) -> dict[str, Any]:
    """Attributes by path."""
    found = answered(http.get(f"/containers/{container}/files"))["data"]
    return {file["path"]: file.get("attributes") for file in found}


def test_attributes_are_kept_as_they_are_given(http: httpx.Client, container: str) -> None:
    made = answered(upload(http, container, "a", SOME))
    assert made["attributes"] == SOME
    assert answered(http.get(f"/containers/{container}/files/{made['id']}"))["attributes"] == SOME
    assert "attributes" not in answered(upload(http, container, "b"))
    assert "attributes" not in answered(upload(http, container, "c", {"unknown": 1}))
    assert listed(http, container) == {"/mnt/data/a": SOME, "/mnt/data/b": None, "/mnt/data/c": None}


def test_a_post_puts_others_in_their_place(http: httpx.Client, container: str) -> None:
    made = answered(upload(http, container, "a", SOME))
    url = f"/containers/{container}/files/{made['id']}"
    changed = answered(http.post(url, json={"attributes": {"mode": 0}}))
    assert changed == {**made, "attributes": {"mode": 0}}
    assert listed(http, container) == {"/mnt/data/a": {"mode": 0}}
    assert "attributes" not in answered(http.post(url, json={"attributes": {}}))
    assert http.get(f"{url}/content").content == b"content"
    refused(http.post(f"/containers/{container}/files/cfile_none", json={"attributes": {}}), 404)


def test_a_copy_has_those_of_its_source_unless_it_is_given_others(http: httpx.Client, container: str) -> None:
    source = answered(upload(http, container, "a", SOME))["id"]
    for path, given, wanted in (("b", None, SOME), ("c", {"mode": 1}, {"mode": 1}), ("d", {}, None)):
        body = {"file_id": source, "path": path} | ({} if given is None else {"attributes": given})
        copy = answered(http.post(f"/containers/{container}/files", json=body))
        assert copy.get("attributes") == wanted


def test_a_replacement_has_its_own(http: httpx.Client, container: str) -> None:
    upload(http, container, "a", SOME)
    assert "attributes" not in answered(upload(http, container, "a"))


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"mode": 0o10000}, "attributes.mode"),
        ({"mode": "755"}, "attributes.mode"),
        ({"uid": -1}, "attributes.uid"),
        ({"gid": 2**32 - 1}, "attributes.gid"),
        ({"mtime_ns": 1.5}, "attributes.mtime_ns"),
        ({"mtime_ns": 2**67}, "attributes.mtime_ns"),
        ([], "attributes"),
    ],
)
def test_what_is_no_attribute_is_refused(http: httpx.Client, container: str, given: object, param: str) -> None:
    refused(upload(http, container, "a", given), 400, param)
    made = answered(upload(http, container, "a"))
    url = f"/containers/{container}/files/{made['id']}"
    refused(http.post(url, json={"attributes": given}), 400, param)


def test_a_whole_number_may_be_written_with_a_fraction(http: httpx.Client, container: str) -> None:
    made = answered(upload(http, container, "a"))
    url = f"/containers/{container}/files/{made['id']}"
    changed = http.post(url, content=b'{"attributes": {"mode": 117.0, "mtime_ns": 1.5e18}}')
    assert answered(changed)["attributes"] == {"mode": 117, "mtime_ns": 1_500_000_000_000_000_000}
    rule = {"anchor": "created_at", "minutes": 3.0}
    assert create(http, expires_after=rule)["expires_after"] == {"anchor": "created_at", "minutes": 3}
    for wrong in (b"true", b"1e400", b"-1e30", b"NaN"):
        refused(http.post(url, content=b'{"attributes": {"mode": %b}}' % wrong), 400, "attributes.mode")


def test_an_upload_that_is_sent_again_may_have_other_attributes(http: httpx.Client, container: str) -> None:
    once = {"idempotency-key": f"key-{container}"}
    made = answered(upload(http, container, "a", SOME, headers=once))
    assert answered(upload(http, container, "a", {"mode": 1}, headers=once)) == made
    assert refused(upload(http, container, "a", SOME, content=b"other", headers=once), 409)


def test_a_directory_is_kept_without_files(http: httpx.Client, container: str) -> None:
    made = answered(upload(http, container, "d/e/", {"mode": 0o700}, content=b""))
    assert (made["path"], made["bytes"], made["attributes"]) == ("/mnt/data/d/e/", 0, {"mode": 0o700})
    again = answered(upload(http, container, "d/e/", {"mode": 0o755}, content=b""))
    assert again["replaced_id"] == made["id"]
    copy = {"file_id": again["id"], "path": "f/"}
    assert answered(http.post(f"/containers/{container}/files", json=copy))["path"] == "/mnt/data/f/"
    answered(http.delete(f"/containers/{container}/files/{again['id']}"))
    assert listed(http, container) == {"/mnt/data/f/": {"mode": 0o755}}


def test_a_directory_has_no_content_and_files_are_none(http: httpx.Client, container: str) -> None:
    refused(upload(http, container, "d/", content=b"x"), 400, "file")
    for name in ("/", "d//", "./", "../", "a/../"):
        assert refused(upload(http, container, name, content=b""), 400, "file")["code"] == "invalid_file_name"
    file, directory = (answered(upload(http, container, name, content=b""))["id"] for name in ("f", "d/"))
    for source, path in ((file, "g/"), (directory, "g")):
        body = {"file_id": source, "path": path}
        refused(http.post(f"/containers/{container}/files", json=body), 400, "path")
    refused(http.post("/files", files={"file": ("d/", b"")}, data={"purpose": "user_data"}), 400, "file")


def test_a_container_is_renamed(http: httpx.Client) -> None:
    made = create(http)
    renamed = answered(http.post(f"/containers/{made['id']}", json={"name": "another"}))
    assert renamed["name"] == "another"
    assert renamed["id"] == made["id"]
    assert answered(http.get(f"/containers/{made['id']}"))["name"] == "another"
    found = answered(http.get("/containers", params={"name": "another"}))["data"]
    assert [each["id"] for each in found] == [made["id"]]
    refused(http.post(f"/containers/{made['id']}", json={"name": ""}), 400, "name")
    refused(http.post("/containers/cntr_none", json={"name": "x"}), 404)


def test_attributes_outlive_the_server(tmp_path: Path) -> None:
    with running_server(tmp_path / "store") as server, httpx.Client(base_url=server.base_url) as http:
        container = create(http)["id"]
        upload(http, container, "a", SOME)
    with running_server(tmp_path / "store") as server, httpx.Client(base_url=server.base_url) as http:
        assert listed(http, container) == {"/mnt/data/a": SOME}
