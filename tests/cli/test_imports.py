"""What commands import: most of the time that a mount takes to start goes there."""

import subprocess
import sys

import pytest

_PROGRAM = """
import contextlib, sys
from containerfs.cli import main
sys.argv = ["containerfs", "--version"]
with contextlib.suppress(SystemExit):
    main()
{imports}
print(*sorted(set(sys.modules) & set({unwanted!r})))
"""


@pytest.mark.parametrize(
    ("imports", "unwanted"),
    [
        ("", ["pydantic", "httpx", "asyncio", "rich", "containerfs.config"]),
        (
            "import containerfs.cli.unmounting, containerfs.fuse.mount",
            ["pydantic", "httpx", "containerfs.fs.filesystem"],
        ),
        (
            "import containerfs.cli.service, containerfs.fs.open, containerfs.fuse.operations",
            ["rich", "pygments", "click"],
        ),
        ("import containerfs.cli.service", ["starlette", "sqlalchemy", "uvicorn"]),
    ],
    ids=["any", "unmount", "mount", "client"],
)
def test_nothing_is_imported_that_is_not_needed(imports: str, unwanted: list[str]) -> None:
    program = _PROGRAM.format(imports=imports, unwanted=unwanted)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[1:] == [""]
