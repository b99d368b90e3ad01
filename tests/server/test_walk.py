"""One walk through the service as a program would take it."""

from pathlib import Path

from openai import OpenAI

from tests.server.live import running_server


def test_a_file_goes_in_and_comes_back(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "store") as server,
        OpenAI(base_url=server.base_url, api_key="-", max_retries=0) as client,
    ):
        container = client.containers.create(name="project")
        file = client.containers.files.create(container.id, file=("notes.txt", b"content"))
        assert file.path == "/mnt/data/notes.txt"
        assert [found.id for found in client.containers.files.list(container.id)] == [file.id]
        assert client.containers.files.content.retrieve(file.id, container_id=container.id).read() == b"content"
        client.containers.delete(container.id)
        assert list(client.containers.list()) == []
    assert server.process.returncode == 0
