"""A file that is opened 100,000 times while two programs replace it: never missing, never stale, always whole."""

from pathlib import Path

from tests.fuse.mounted import Home
from tests.fuse.replacing import opens_against_replacements
from tests.server.live import running_server

_OPENS = 100_000


def play(directory: Path) -> tuple[int, str | None]:
    """Returns how many opens there were, and what went wrong, if something did."""
    with (
        running_server(directory / "store") as server,
        Home(directory / "home").mounted("--url", server.address) as mount,
    ):
        container = mount / "container"
        container.mkdir()
        seen = opens_against_replacements(mount, container, _OPENS)
    wrong = {what: number for what, number in seen.items() if what not in ("one", "two")}
    return seen.total(), f"{wrong} of {seen.total():,} opens" if wrong else None
