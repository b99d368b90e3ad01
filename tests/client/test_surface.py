"""The public surface: what ``containerfs`` exports, and that importing it costs nothing."""

import subprocess
import sys

import pytest

import containerfs

EXPORTED = [
    "APIConnectionError",
    "APIError",
    "APIResponse",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncAPIResponse",
    "AsyncClient",
    "AsyncContent",
    "AsyncCursorPage",
    "AsyncPaginator",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConflictError",
    "Container",
    "ContainerExpiry",
    "ContainerFSError",
    "ContainerFile",
    "Content",
    "ContentConsumedError",
    "ContentInfo",
    "Deletion",
    "ExpiresAfter",
    "File",
    "FileAttributes",
    "FileExpiry",
    "FileTypes",
    "HttpxBinaryResponseContent",
    "InternalServerError",
    "ListPage",
    "MemoryLimit",
    "NOT_GIVEN",
    "NetworkAccess",
    "NetworkPolicy",
    "NotFoundError",
    "NotGiven",
    "Omit",
    "Order",
    "PermissionDeniedError",
    "Progress",
    "RateLimitError",
    "RawResponse",
    "SourceChangedError",
    "SyncCursorPage",
    "Timeout",
    "UnprocessableEntityError",
    "UploadSource",
    "__version__",
    "not_given",
    "omit",
]


def test_exported_names() -> None:
    assert dir(containerfs) == sorted(EXPORTED)
    for name in EXPORTED:
        assert getattr(containerfs, name) is not None


def test_other_names_do_not_exist() -> None:
    for name in ("AsyncContainers", "nothing", "_Client"):
        with pytest.raises(AttributeError, match=name):
            getattr(containerfs, name)


def modules_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.split())


def test_importing_the_package_imports_no_library() -> None:
    loaded = modules_after("import containerfs, containerfs.api.errors, containerfs.cli")
    assert "containerfs.cli" in loaded
    assert not {"httpx", "pydantic", "anyio", "containerfs.client"} & loaded


def test_the_client_needs_neither_server_nor_file_system() -> None:
    loaded = modules_after("from containerfs import Client")
    assert "containerfs.client.sync" in loaded
    assert not {name for name in loaded if name.startswith(("containerfs.fs", "containerfs.server", "starlette"))}


def test_sentinels_are_false_and_say_what_they_are() -> None:
    assert not containerfs.omit
    assert not containerfs.NOT_GIVEN
    assert (repr(containerfs.omit), repr(containerfs.not_given)) == ("Omit", "NotGiven")


def test_methods_show_their_signature_and_docstring() -> None:
    with containerfs.Client(base_url="http://x/v1") as client:
        create = client.containers.files.create
        assert create.__name__ == "create"
        assert "POST /containers/{container_id}/files" in (create.__doc__ or "")
        assert create is client.containers.files.create
