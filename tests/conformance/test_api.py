"""What holds on every store and in every dialect, for a program that uses our client."""

import pytest

from containerfs import Client, NotFoundError
from containerfs.api.models import Container


@pytest.fixture
def container(client: Client) -> Container:
    return client.containers.create(name="conformance")


def test_a_container_from_its_creation_to_its_end(client: Client, container: Container) -> None:
    assert container.name == "conformance"
    assert client.containers.retrieve(container.id).id == container.id
    assert container.id in [found.id for found in client.containers.list()]
    client.containers.delete(container.id)
    with pytest.raises(NotFoundError):
        client.containers.retrieve(container.id)
    assert container.id not in [found.id for found in client.containers.list()]


@pytest.mark.parametrize("content", [b"", b"content", bytes(range(256)) * 8192])
def test_a_file_comes_back_as_it_went(client: Client, container: Container, content: bytes) -> None:
    file = client.containers.files.create(container.id, file=("a.txt", content))
    assert client.containers.files.content.retrieve(file.id, container_id=container.id).read() == content
    assert [found.id for found in client.containers.files.list(container.id)] == [file.id]
    found = client.containers.files.retrieve(container.id, file.id)
    assert found.container_id == container.id
    assert found.bytes in (None, len(content))
    client.containers.files.delete(container.id, file.id)
    assert list(client.containers.files.list(container.id)) == []


def test_every_file_is_listed_once_across_pages(client: Client, container: Container) -> None:
    ids = [client.containers.files.create(container.id, file=(f"{number}", b"")).id for number in range(9)]
    for order, wanted in (("asc", ids), ("desc", ids[::-1])):
        listed = [file.id for file in client.containers.files.list(container.id, limit=4, order=order)]  # type: ignore[arg-type]
        assert listed == wanted


def test_every_container_is_listed_once_across_pages(client: Client) -> None:
    ids = {client.containers.create(name="page").id for _ in range(5)}
    listed = [found.id for found in client.containers.list(limit=2)]
    assert len(listed) == len(set(listed))
    assert ids <= set(listed)


def test_the_newest_upload_of_a_name_is_what_its_id_reads(client: Client, container: Container) -> None:
    for content in (b"old", b"newer", b"new"):
        file = client.containers.files.create(container.id, file=("same.txt", content))
        assert client.containers.files.content.retrieve(file.id, container_id=container.id).read() == content


def test_a_file_is_copied_and_both_live_apart(client: Client, container: Container) -> None:
    source = client.files.create(file=("s.txt", b"shared"), purpose="assistants")
    copy = client.containers.files.create(container.id, file_id=source.id)
    client.files.delete(source.id)
    with pytest.raises(NotFoundError):
        client.files.retrieve(source.id)
    assert client.containers.files.content.retrieve(copy.id, container_id=container.id).read() == b"shared"


def test_what_is_not_there(client: Client, container: Container) -> None:
    with pytest.raises(NotFoundError):
        client.containers.files.list("cntr_unknown")
    with pytest.raises(NotFoundError):
        client.containers.files.retrieve(container.id, "cfile_unknown")
    with pytest.raises(NotFoundError):
        client.containers.files.delete(container.id, "cfile_unknown")
