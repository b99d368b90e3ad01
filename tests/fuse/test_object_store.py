"""A mount of a server whose contents are in an object store, which sends them itself or says where they are."""

import random
from pathlib import Path

import pytest

from tests.fuse.mounted import Home
from tests.server.live import running_server
from tests.server.s3 import ObjectStorage

CONTENTS = {"empty": b"", "small": b"content", "large": random.Random(1).randbytes(20_000_000)}


@pytest.mark.parametrize("downloads", ["proxy", "redirect"])
def test_it_reads_from_either(tmp_path: Path, object_storage: ObjectStorage, downloads: str) -> None:
    options = ["--blobs", object_storage.new_bucket(), "--downloads", downloads]
    with running_server(tmp_path / "store", *options) as server:
        with Home(tmp_path / "home").mounted("--url", server.address) as mount:
            (mount / "box").mkdir()
            for name, content in CONTENTS.items():
                (mount / "box" / name).write_bytes(content)
        with Home(tmp_path / "other").mounted("--url", server.address) as mount:
            with (mount / "box" / "large").open("rb") as file:
                file.seek(15_000_000)
                assert file.read(100_000) == CONTENTS["large"][15_000_000:15_100_000]
            for name, content in CONTENTS.items():
                assert (mount / "box" / name).read_bytes() == content
