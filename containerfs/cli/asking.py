"""Asks mounts for their status, for all commands that need it."""

import json
import os
import threading
from pathlib import Path
from typing import Any

from containerfs.api.errors import ContainerFSError
from containerfs.fs.types import STATUS_FORM, NoThread

_STATUS = "user.containerfs.status"
_PREFIX = "user.containerfs.status."
_PATIENCE = 10.0  # seconds; a mount answers without asking the service
_READINGS = 5  # attempts to read a document whose parts were replaced before they were read

Document = dict[str, Any]


class AskingError(ContainerFSError):
    """The mount does not answer. The message says why."""


def ask(mountpoint: Path) -> Document:
    """Return the mount's status document, as made by ``fs.status``.

    The question is asked on a separate thread, because a question to a stopped process cannot be interrupted.

    Raises:
        AskingError: if the mount does not answer.
    """
    answer: list[Document | OSError | AskingError] = []
    thread = threading.Thread(target=lambda: answer.append(_ask(mountpoint)), daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise AskingError(str(NoThread(error))) from error
    thread.join(_PATIENCE)
    told = answer[0] if answer else TimeoutError(0, f"not within {_PATIENCE:g} s")
    if isinstance(told, AskingError):
        raise told
    if isinstance(told, OSError):
        raise AskingError(f"{mountpoint} does not answer: {told.strerror}")
    return told


def _ask(mountpoint: Path) -> Document | OSError | AskingError:
    for _ in range(_READINGS):
        try:
            return _read(mountpoint)
        except AskingError as error:
            return error
        except OSError as error:
            failure = error
    return failure


def _read(mountpoint: Path) -> Document:
    document: Document = json.loads(os.getxattr(mountpoint, _STATUS))
    parts = document.get("parts")
    if parts is not None:
        document = json.loads(b"".join(os.getxattr(mountpoint, _PREFIX + name) for name in parts))
    if document.get("form") != STATUS_FORM:
        raise AskingError(f"{mountpoint} is a mount of another version of containerfs")
    return document
