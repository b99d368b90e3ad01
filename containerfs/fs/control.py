"""What the mount reports about itself and its files, as extended attributes ``user.containerfs.*``. Source: xattr(7).

This is the control interface: no port, no socket. No request is sent; it reports what is known here.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from containerfs.fs import state, types
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Node
from containerfs.fs.state import Local, Outdated, Staged, Stored, Torn, Unlinked
from containerfs.fs.status import Status

PREFIX = "user.containerfs."
_PART = "status."


class ControlSurface:
    """The extended attributes of nodes.

    Args:
        top: the root of the mount, which reports what the mount is doing.
    """

    def __init__(self, status: Status, top: Directory) -> None:
        self._status = status
        self._top = top

    def get(self, node: Node, name: str) -> bytes:
        """Return an attribute as UTF-8.

        Raises:
            NoAttribute: if there is none with that name.
        """
        value = self._value(node, name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
        if value is None:
            raise types.NoAttribute(name)
        return value.encode()

    def _value(self, node: Node, name: str) -> str | None:
        part = name.removeprefix(_PART)
        if part != name:
            return self._status.part(part) if node is self._top else None
        if name == "status":
            return self._status.read() if node is self._top else None
        return self._values(node).get(name, _none)()

    def _values(self, node: Node) -> dict[str, Callable[[], str | None]]:
        if isinstance(node, FileNode):
            return {
                "id": lambda: node.remote.id if node.remote else None,
                "container_id": lambda: node.container.remote.id if node.parent else None,
                "state": lambda: _word(node.state),
                "error": lambda: _error(node.state),
            }
        if isinstance(node, ContainerDirectory):
            return {
                "id": lambda: node.remote.id,
                "name": lambda: node.remote.name,
                "expires_at": lambda: _time(node.remote.expires_at),
            }
        return {}


def _word(value: state.State) -> str:
    """Return a state in one word: ``clean`` if the service has the content; ``dirty``, ``uploading`` or ``failed`` if
    not yet; ``local`` if it is never uploaded."""
    match value:
        case Stored() | Outdated():
            return "clean"
        case Local() | Unlinked():
            return "local"
        case Staged() | Torn():
            return "dirty"
        case _ if _error(value) is not None:
            return "failed"
        case _ if state.uploading(value) is not None:
            return "uploading"
        case _:
            return "dirty"


def _error(value: state.State) -> str | None:
    layer = state.due(value)
    return None if layer is None or layer.failure is None else layer.failure.reason


def _time(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError):  # outside the calendar
        return str(seconds)


def _none() -> None:
    return None
