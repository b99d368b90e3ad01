"""One real server for all file systems of the models."""

from tests.fs.conftest import opener

__all__ = ["opener"]
