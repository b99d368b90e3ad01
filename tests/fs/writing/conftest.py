"""What tests of writing start from."""

import pytest

from tests.fs.memory import MemoryRemote


@pytest.fixture
def copying(remote: MemoryRemote) -> str:
    """The request by which the service stores a file under another name."""
    return "copy" if remote.dialect.copies_by_path else "upload"
