"""Dialects that a program does notice, and what it notices."""

from collections.abc import Callable

import pytest

from containerfs import APIConnectionError, BadRequestError, Client, NotFoundError
from tests.conformance import dialects

Spoken = Callable[[type[dialects.Dialect]], Client]


def upload(client: Client, name: str = "f", content: bytes = b"content") -> tuple[str, str]:
    container = client.containers.create(name="dialect").id
    return container, client.containers.files.create(container, file=(name, content)).id


def test_a_content_that_is_cut_short_is_an_error_and_no_content(spoken: Spoken) -> None:
    client = spoken(dialects.CutsShort)
    container, file = upload(client, content=b"x" * 100_000)
    with pytest.raises(APIConnectionError):
        client.containers.files.content.retrieve(file, container_id=container).read()


def test_a_refused_type_is_refused_with_the_services_reason(spoken: Spoken) -> None:
    client = spoken(dialects.RefusesTypes)
    with pytest.raises(BadRequestError, match="Invalid file type"):
        upload(client, "drawing.svg")


def test_a_bogus_entry_is_listed_and_the_others_are_read(spoken: Spoken) -> None:
    client = spoken(dialects.BogusEntry)
    container, file = upload(client)
    assert [found.id for found in client.containers.files.list(container)] == [file, "cfile_bogus"]
    assert client.containers.files.content.retrieve(file, container_id=container).read() == b"content"
    with pytest.raises(NotFoundError):
        client.containers.files.content.retrieve("cfile_bogus", container_id=container).read()


@pytest.mark.parametrize(
    ("dialect", "error"), [(dialects.ExpiresAs, NotFoundError), (dialects.ExpiresAsBadRequest, BadRequestError)]
)
def test_an_expired_container(spoken: Spoken, dialect: type[dialects.ExpiresAs], error: type[Exception]) -> None:
    client = spoken(dialect)
    container, _ = upload(client)
    client.containers.delete(container)
    with pytest.raises(error, match=dialect.message):
        client.containers.retrieve(container)


def test_duplicates_are_two_files_of_one_path(spoken: Spoken) -> None:
    client = spoken(dialects.KeepsDuplicates)
    container, first = upload(client, "same")
    second = client.containers.files.create(container, file=("same", b"2")).id
    listed = list(client.containers.files.list(container, order="asc"))
    assert [(file.id, file.path) for file in listed] == [(first, "/mnt/data/same"), (second, "/mnt/data/same")]


def test_an_upload_over_a_file_may_keep_its_id(spoken: Spoken) -> None:
    client = spoken(dialects.SameIdOnUpload)
    container, first = upload(client, "same")
    assert client.containers.files.create(container, file=("same", b"2")).id == first
    assert client.containers.files.content.retrieve(first, container_id=container).read() == b"2"


def test_renamed_uploads_are_trusted(spoken: Spoken) -> None:
    client = spoken(dialects.RenamesUploads)
    container, file = upload(client, "name.txt")
    path = client.containers.files.retrieve(container, file).path
    assert path is not None
    assert path.endswith("-name.txt")
