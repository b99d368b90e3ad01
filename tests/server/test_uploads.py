"""Uploads: names, forms, replacing, copying, limits."""

import string
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containerfs import Client
from tests.server.conftest import UPLOAD_MAX, answered, contents_in, create, refused
from tests.server.live import LiveServer

PROPERTY = settings(max_examples=60)

segments = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..")
)


def form(filename: str, content: bytes = b"content", boundary: str = "B") -> tuple[bytes, dict[str, str]]:
    """A form as it is on the wire, ``filename`` being the raw parameters of its disposition."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; {filename}\r\n\r\n'.encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    return head + content + tail, {"content-type": f"multipart/form-data; boundary={boundary}"}


def send(http: httpx.Client, container: str, filename: str, content: bytes = b"content") -> httpx.Response:
    body, headers = form(filename, content)
    return http.post(f"/containers/{container}/files", content=body, headers=headers)


def test_a_file_has_the_fields_of_both_schemas(container: str, upload: Callable[..., Any]) -> None:
    file = upload("notes.txt", b"12345")
    assert file["id"].startswith("cfile_")
    assert len(file["id"]) == len("cfile_") + 32
    assert file["object"] == "container.file"
    assert (file["bytes"], file["path"], file["source"]) == (5, "/mnt/data/notes.txt", "user")
    assert file["container_id"] == container
    assert "file_id" not in file


@given(path=st.lists(segments, min_size=1, max_size=4).map("/".join))
@PROPERTY
def test_every_name_survives_exactly(http: httpx.Client, container: str, path: str) -> None:
    said = f"filename*=UTF-8''{quote(path, safe='')}; filename=\"other\""
    file = answered(send(http, container, said, path.encode()))
    assert file["path"] == "/mnt/data/" + path
    assert answered(http.get(f"/containers/{container}/files/{file['id']}"))["path"] == file["path"]
    content = http.get(f"/containers/{container}/files/{file['id']}/content")
    assert content.content == path.encode()
    assert "\r" not in content.headers["content-disposition"]


@given(path=segments.filter(lambda name: "%" not in name))
@PROPERTY
def test_names_come_through_the_escapes_of_a_client(http: httpx.Client, path: str) -> None:
    container = create(http)["id"]
    file = answered(http.post(f"/containers/{container}/files", files={"file": (path, b"")}))
    assert file["path"] == "/mnt/data/" + path


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('filename="a%22b%0D%0Ac.txt"', 'a"b\r\nc.txt'),
        (r'filename="a\"b\\c.txt"', r'a"b\c.txt'),
        (r'filename="C:\new\table.txt"', r"C:\new\table.txt"),
        ("filename=plain.txt", "plain.txt"),
        ("filename=\"no\"; filename*=utf-8'en'%e2%82%ac", "€"),
        ('filename="100%.txt"', "100%.txt"),
        ('filename="semi;colon=.txt"', "semi;colon=.txt"),
        ('FileName="case.txt"', "case.txt"),
        ('filename="e\u0301\u00e9.txt"', "e\u0301\u00e9.txt"),
        ('filename="-rf"', "-rf"),
        ('filename="' + "x" * 255 + '"', "x" * 255),
    ],
)
def test_forms_of_file_names(http: httpx.Client, container: str, said: str, name: str) -> None:
    assert answered(send(http, container, said))["path"] == "/mnt/data/" + name


@pytest.mark.parametrize(("first", "second"), [('a".txt', "a%22.txt"), ("a\nb", "a%0Ab"), ("a%22", "a%22")])
def test_names_that_the_sdk_sends_alike_do_not_replace_each_other(
    server: LiveServer, container: str, first: str, second: str
) -> None:
    """What it sends for both is the same to the last byte, so the second is refused, and nothing is lost."""
    with openai.OpenAI(api_key="none", base_url=server.base_url) as sdk:
        files = sdk.containers.files
        kept = files.create(container, file=(first, b"first"))
        with pytest.raises(openai.ConflictError) as refusal:
            files.create(container, file=(second, b"second"))
        assert refusal.value.code == "ambiguous_file_name"
        assert [file.id for file in files.list(container)] == [kept.id]
        assert files.content.retrieve(kept.id, container_id=container).read() == b"first"
        files.delete(kept.id, container_id=container)
        files.create(container, file=(second, b"second"))


def test_names_that_are_sent_exactly_are_two_files(server: LiveServer, container: str) -> None:
    with Client(base_url=server.base_url) as client:
        files = client.containers.files
        for content in (b"old", b"new"):
            for name in ('a".txt', "a%22.txt", r"a\b", r"a\\b"):
                files.create(container, file=(name, name.encode() + content))
        found = {
            str(file.path): files.content.retrieve(file.id, container_id=container).read()
            for file in files.list(container)
        }
    assert found == {f"/mnt/data/{name}": name.encode() + b"new" for name in ('a".txt', "a%22.txt", r"a\b", r"a\\b")}


def test_an_escaped_quote_is_unmistakable(http: httpx.Client, container: str) -> None:
    for _ in range(2):
        assert answered(send(http, container, r'filename="a\".txt"'))["path"] == '/mnt/data/a".txt'


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a/./b",
        ".",
        "a//b",
        "a/",
        "a\0b",
        "x" * 256,
        "é" * 128,
        "/".join("d" * 2048),
    ],
)
def test_names_that_could_not_be_files_are_refused(http: httpx.Client, container: str, name: str) -> None:
    refused(send(http, container, f"filename*=UTF-8''{quote(name, safe='')}"), 400, "file")
    refused(http.post("/files", files={"file": (name or "/", b"")}, data={"purpose": "x"}), 400, "file")
    assert answered(http.get(f"/containers/{container}"))["file_count"] == 0


def test_the_longest_path_is_taken(http: httpx.Client, container: str) -> None:
    name = "/".join(["€" * 85] * 15 + ["x" * 244])
    file = answered(send(http, container, f"filename*=UTF-8''{quote(name, safe='')}; filename=\"{name}\""))
    assert file["path"] == "/mnt/data/" + name
    assert len(file["path"].encode()) == 4094


@pytest.mark.parametrize("said", ["filename*=UTF-8''%ff", "filename*=latin-1''a", "filename*=nonsense"])
def test_names_in_no_known_encoding(http: httpx.Client, container: str, said: str) -> None:
    refused(send(http, container, said), 400, "file")


def test_a_name_that_is_not_utf8(http: httpx.Client, container: str) -> None:
    body, headers = form('filename="?"')
    refused(
        http.post(f"/containers/{container}/files", content=body.replace(b"?", b"\xff"), headers=headers), 400, "file"
    )


MALFORMED = [
    (b"", "multipart/form-data; boundary=B"),
    (b"nonsense", "multipart/form-data; boundary=B"),
    (b"x" * 70_000 + form('filename="a"')[0], "multipart/form-data; boundary=B"),
    (form('filename="a"')[0], "multipart/form-data"),
    (form('filename="a"')[0], "multipart/form-data; boundary=" + "x" * 71),
    (form('filename="a"')[0], "multipart/form-data; boundary=other"),
    (form('filename="a"')[0][:-9], "multipart/form-data; boundary=B"),
    (form('filename="a"')[0][:20], "multipart/form-data; boundary=B"),
    (b"--B\r\n\r\nno header\r\n--B--\r\n", "multipart/form-data; boundary=B"),
    (b"--B\r\nbad header\r\n\r\nx\r\n--B--\r\n", "multipart/form-data; boundary=B"),
    (b'--B\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--B--\r\n', "multipart/form-data; boundary=B"),
    (form('filename="a"')[0][:-9] + b"\r\n" + form('filename="b"')[0], "multipart/form-data; boundary=B"),
]


@pytest.mark.parametrize(("body", "kind"), MALFORMED)
def test_a_malformed_form_is_a_400_and_leaves_nothing(
    server: LiveServer, http: httpx.Client, container: str, body: bytes, kind: str
) -> None:
    before = contents_in(server.data_dir)
    for path in (f"/containers/{container}/files", "/files"):
        response = http.post(path, content=body, headers={"content-type": kind})
        assert response.status_code == 400, response.text
    assert contents_in(server.data_dir) == before


@pytest.mark.parametrize("preamble", [b"\r\n", b"for a reader without MIME\r\n", b"x\r\n" * 9000])
def test_what_precedes_the_first_part_is_ignored(http: httpx.Client, container: str, preamble: bytes) -> None:
    body, headers = form('filename="a"')
    for pieces in ([preamble + body], [preamble, body], [bytes([byte]) for byte in preamble[-60:] + body]):
        file = answered(http.post(f"/containers/{container}/files", content=iter(pieces), headers=headers))
        assert http.get(f"/containers/{container}/files/{file['id']}/content").content == b"content"


def test_a_part_whose_name_is_empty_is_ignored_as_others_are(http: httpx.Client, container: str) -> None:
    body, headers = form('filename="a"')
    body = b'--B\r\nContent-Disposition: form-data; name=""\r\n\r\nx\r\n' + body
    assert answered(http.post(f"/containers/{container}/files", content=body, headers=headers))["bytes"] == 7


@given(body=st.binary(max_size=300), cut=st.integers(0, 200))
@PROPERTY
def test_no_bytes_make_the_server_fail(http: httpx.Client, container: str, body: bytes, cut: int) -> None:
    good, headers = form('filename="a"')
    for content in (body, good[:cut] + body, good[:cut] + body + good[cut:]):
        response = http.post(f"/containers/{container}/files", content=content, headers=headers)
        assert response.status_code in (200, 400), response.text


@given(
    content=st.binary(max_size=3000), boundary=st.text(string.ascii_letters + string.digits, min_size=1, max_size=70)
)
@PROPERTY
def test_any_content_comes_through_any_boundary(
    http: httpx.Client, container: str, content: bytes, boundary: str
) -> None:
    if b"--" + boundary.encode() in b"\r\n" + content:
        return
    body, headers = form('filename="a"', content, boundary)
    file = answered(http.post(f"/containers/{container}/files", content=body, headers=headers))
    assert file["bytes"] == len(content)
    assert http.get(f"/containers/{container}/files/{file['id']}/content").content == content


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65536, 1024 * 1024 - 1, 1024 * 1024 + 1, UPLOAD_MAX])
def test_sizes(http: httpx.Client, container: str, upload: Callable[..., Any], size: int) -> None:
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    file = upload("sized", content)
    assert file["bytes"] == size
    assert http.get(f"/containers/{container}/files/{file['id']}/content").content == content


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(
    server: LiveServer, http: httpx.Client, container: str, chunked: bool
) -> None:
    before = contents_in(server.data_dir)
    body, headers = form('filename="a"', b"x" * (UPLOAD_MAX + 1))
    for path in (f"/containers/{container}/files", "/files"):
        content = iter([body[:100], body[100:]]) if chunked else body
        refused(http.post(path, content=content, headers=headers), 413, "file")
    assert contents_in(server.data_dir) == before
    assert answered(http.get(f"/containers/{container}"))["file_count"] == 0


def test_the_small_parts_of_a_form_are_small(http: httpx.Client) -> None:
    fields = {"purpose": "x" * 70_000}
    refused(http.post("/files", files={"file": ("a", b"")}, data=fields), 413)
    refused(http.post("/files", files={"file": ("a", b"")}, data={f"f{n}": "" for n in range(64)}), 413)


def test_the_same_name_replaces_with_a_new_id(
    server: LiveServer, http: httpx.Client, container: str, upload: Callable[..., Any]
) -> None:
    old = upload("same", b"old")
    before = len(contents_in(server.data_dir))
    with http.stream("GET", f"/containers/{container}/files/{old['id']}/content") as reading:
        new = upload("same", b"new!")
        assert reading.read() == b"old"
    assert new["id"] != old["id"]
    assert new["replaced_id"] == old["id"]
    assert "replaced_id" not in old | answered(http.get(f"/containers/{container}/files/{new['id']}"))
    refused(http.get(f"/containers/{container}/files/{old['id']}"), 404)
    assert answered(http.get(f"/containers/{container}"))["file_count"] == 1
    assert len(contents_in(server.data_dir)) == before


def test_copies_share_bytes_and_live_apart(server: LiveServer, http: httpx.Client, container: str) -> None:
    source = answered(http.post("/files", files={"file": ("s.txt", b"shared")}, data={"purpose": "assistants"}))
    before = contents_in(server.data_dir)
    copy = answered(http.post(f"/containers/{container}/files", json={"file_id": source["id"]}))
    assert (copy["file_id"], copy["path"], copy["bytes"]) == (source["id"], "/mnt/data/s.txt", 6)
    assert contents_in(server.data_dir) == before
    created = create(http, file_ids=[source["id"]])
    assert created["file_count"] == 1
    assert answered(http.get(f"/containers/{container}/files/{source['id']}")) == copy
    answered(http.delete(f"/files/{source['id']}"))
    for id in (container, created["id"]):
        assert http.get(f"/containers/{id}/files/{source['id']}/content").content == b"shared"
    answered(http.delete(f"/containers/{container}/files/{source['id']}"))
    refused(http.get(f"/containers/{container}/files/{copy['id']}"), 404)
    assert http.get(f"/containers/{created['id']}/files/{source['id']}/content").content == b"shared"
    answered(http.delete(f"/containers/{created['id']}"))
    assert len(contents_in(server.data_dir)) == len(before) - 1


def test_a_copy_under_another_path_is_a_rename_without_bytes(
    server: LiveServer, http: httpx.Client, container: str, upload: Callable[..., Any]
) -> None:
    old = upload("old.txt", b"moved")
    before = contents_in(server.data_dir)
    path = f"/containers/{container}/files"
    new = answered(http.post(path, json={"file_id": old["id"], "path": "new/name.txt"}))
    assert new["path"] == "/mnt/data/new/name.txt"
    answered(http.delete(f"{path}/{old['id']}"))
    assert http.get(f"{path}/{new['id']}/content").content == b"moved"
    again = answered(http.post(path, json={"file_id": new["id"]}))  # onto itself
    assert http.get(f"{path}/{again['id']}/content").content == b"moved"
    assert answered(http.get(f"/containers/{container}"))["file_count"] == 1
    assert contents_in(server.data_dir) == before
    for name in ("../x", "/x", "", "a//b"):
        refused(http.post(path, json={"file_id": again["id"], "path": name}), 400, "path")


def test_a_file_id_as_a_form_is_taken_too(http: httpx.Client, container: str, upload: Callable[..., Any]) -> None:
    source = upload("source", b"x")
    body = f'--B\r\nContent-Disposition: form-data; name="file_id"\r\n\r\n{source["id"]}\r\n--B--\r\n'.encode()
    headers = {"content-type": "multipart/form-data; boundary=B"}
    assert answered(http.post(f"/containers/{container}/files", content=body, headers=headers))["bytes"] == 1


@pytest.mark.parametrize("body", [{}, {"file_id": ""}, {"file_id": 7}])
def test_a_copy_of_nothing(http: httpx.Client, container: str, body: dict[str, object]) -> None:
    refused(http.post(f"/containers/{container}/files", json=body), 400, "file_id")


def test_unknown_ids(http: httpx.Client, container: str) -> None:
    refused(http.post(f"/containers/{container}/files", json={"file_id": "file-nope"}), 404, "file_id")
    refused(http.post("/containers/cntr_nope/files", files={"file": ("a", b"")}), 404)
    for path in ("", "/content"):
        error = refused(http.get(f"/containers/{container}/files/cfile_nope{path}"), 404)
        assert error["message"] == f"File cfile_nope not found on container {container}"
        refused(http.get(f"/files/file-nope{path}"), 404, "id")
    refused(http.delete(f"/containers/{container}/files/cfile_nope"), 404)
    refused(http.delete("/files/file-nope"), 404, "id")
    for odd in ("%00", "%ff%fe", "%2e%2e", "a%2Fb", "🦆"):
        assert http.get(f"/containers/{odd}").status_code in (400, 404)


def test_files_have_a_purpose_and_may_expire(http: httpx.Client) -> None:
    upload = {"file": ("a.txt", b"abc")}
    file = answered(http.post("/files", files=upload, data={"purpose": "assistants"}))
    assert file["id"].startswith("file-")
    assert len(file["id"]) >= len("file-") + 24
    assert (file["object"], file["bytes"], file["filename"]) == ("file", 3, "a.txt")
    assert (file["purpose"], file["status"]) == ("assistants", "processed")
    refused(http.post("/files", files=upload), 400, "purpose")
    refused(http.post("/files", data={"purpose": "x"}, files={"other": ("a", b"")}), 400, "file")
    assert answered(http.delete(f"/files/{file['id']}")) == {"id": file["id"], "object": "file", "deleted": True}


IN_PARTS = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
WHOLE = {"expires_after": '{"anchor": "created_at", "seconds": 3600}'}


@pytest.mark.parametrize("rule", [IN_PARTS, WHOLE])
def test_files_may_expire(http: httpx.Client, rule: dict[str, str]) -> None:
    purpose = {"purpose": f"expires {len(rule)}"}
    expiring = answered(http.post("/files", files={"file": ("a", b"")}, data=purpose | rule))
    assert expiring["expires_at"] == expiring["created_at"] + 3600
    assert answered(http.get("/files", params=purpose))["data"] == [expiring]


@pytest.mark.parametrize(
    ("rule", "param"),
    [
        (IN_PARTS | {"expires_after[seconds]": "1"}, "expires_after.seconds"),
        (IN_PARTS | {"expires_after[seconds]": "soon"}, "expires_after.seconds"),
        (IN_PARTS | {"expires_after[anchor]": "never"}, "expires_after.anchor"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
        ({"expires_after": '{"anchor": "created_at", "seconds": 1}'}, "expires_after.seconds"),
        ({"expires_after": '{"anchor": "created_at"}'}, "expires_after.seconds"),
        ({"expires_after": '{"anchor": "last_active_at", "seconds": 3600}'}, "expires_after.anchor"),
        ({"expires_after": "3600"}, "expires_after"),
        ({"expires_after": ""}, "expires_after"),
        ({"expires_after": "{"}, "expires_after"),
        (IN_PARTS | WHOLE, "expires_after"),
    ],
)
def test_a_wrong_expiry_is_named(http: httpx.Client, rule: dict[str, str], param: str) -> None:
    refused(http.post("/files", files={"file": ("a", b"")}, data={"purpose": "x"} | rule), 400, param)
