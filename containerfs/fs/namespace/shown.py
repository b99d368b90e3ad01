"""The path under which each listed file is shown. Pure, and always the same for the same listing.

If several files have the same path, the newest gets it, and the ids of the others are appended to theirs. The same
happens to a file with the name of a directory. A file that stands for a symbolic link is shown as a link, unless
something else has its name. Every segment fits Linux's limits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from containerfs.api.paths import NAME_MAX_BYTES, encode_name
from containerfs.fs.namespace.attributes import Attributes, directory_key, file_key
from containerfs.fs.namespace.links import link_path, may_be_link
from containerfs.fs.namespace.nodes import Directory, FileNode, Link, inode
from containerfs.fs.types import RemoteFile


class Shown(NamedTuple):
    """Where a file is shown, as which kind of node, and what the service says about it."""

    path: str
    kind: type[FileNode]
    remote: RemoteFile

    def is_at(self, node: FileNode) -> bool:
        """Tell whether a node is of the right kind, and at the right place."""
        return type(node) is self.kind and node.path == self.path


def set_here(remote: RemoteFile, kept: Mapping[str, Attributes]) -> RemoteFile:
    """Return a file with the path and size that were set or learned here."""
    known = kept.get(file_key(remote.id))
    if known is None or (known.path is None and (remote.size is not None or known.size is None)):
        return remote
    return replace(remote, path=known.path or remote.path, size=known.size if remote.size is None else remote.size)


def certain_name(place: str, remote: RemoteFile) -> tuple[str, bool]:
    """Return the name that a file gives to a directory, whatever other files there are.

    If something else gets the name after all, such as another file with that path or a directory, the name still
    exists.

    Args:
        place: the path of the directory.
        remote: the file, as ``set_here`` returns it.

    Returns:
        The name, or "" for none; and whether it is certainly that of a directory.
    """
    path = link_path(remote.path) if may_be_link(remote.path, remote.size) else remote.path
    path, above = fitting(path, remote.id), f"{place}/" if place else ""
    name, slash, _ = path.removeprefix(above).partition("/")
    return (name, bool(slash)) if path.startswith(above) else ("", False)


def shown_paths(
    files: Sequence[RemoteFile], kept: Mapping[str, Attributes], directories: Iterable[str] = ()
) -> dict[str, Shown]:
    """Return where each file of a listing is shown, by its id.

    Args:
        files: newest first.
        kept: what was set here for the container's files and directories, by key.
        directories: the paths of directories that the service keeps.
    """
    wanted: dict[str, Shown] = {}
    links: dict[str, Shown] = {}
    for remote in files:
        set_here = kept.get(file_key(remote.id), Attributes())
        if remote.size is None:
            remote = replace(remote, size=set_here.size)
        path = set_here.path or remote.path
        wanted[remote.id] = Shown(fitting(path, remote.id), FileNode, remote)
        if may_be_link(path, remote.size):
            links[remote.id] = Shown(fitting(link_path(path), remote.id), Link, remote)
    taken = _directories([*(each.path for each in wanted.values()), *(f"{path}/" for path in directories)])
    taken |= {key.removeprefix(directory_key("")) for key in kept if key.startswith(directory_key(""))}
    files_at = {each.path for each in wanted.values()}
    for file_id, link in links.items():
        if link.path not in taken and link.path not in files_at:
            wanted[file_id] = link
            files_at.add(link.path)
    for file_id, (path, kind, remote) in wanted.items():
        if path in taken:
            while path in taken:
                path = distinct(path, file_id)
            wanted[file_id] = Shown(path, kind, remote)
        taken.add(path)
    return wanted


def free_name(directory: Directory, name: str, identity: str) -> str:
    """Return ``name``, shortened if necessary, and with the id if it is taken."""
    name = fitting(name, identity)
    while name in directory.children:
        name = distinct(name, identity)
    return name


def distinct(path: str, identity: str) -> str:
    """Return a name that only this id has: ``NAME (ID)``."""
    return fitting(f"{path} ({encode_name(identity)})", identity)


def fitting(path: str, identity: str) -> str:
    """Shorten the segments of a path to what Linux allows. A shortened segment ends in a hash, so that it stays
    distinct."""
    if len(path) * 4 <= NAME_MAX_BYTES:  # the longest that UTF-8 can make it
        return path
    return "/".join(_fitting_segment(segment, identity) for segment in path.split("/"))


def _fitting_segment(segment: str, identity: str) -> str:
    encoded = segment.encode()
    if len(encoded) <= NAME_MAX_BYTES:
        return segment
    suffix = f"… ({inode(segment + identity):016x})"
    return encoded[: NAME_MAX_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix


def _directories(paths: Iterable[str]) -> set[str]:
    """Return all directories that paths lead through."""
    found: set[str] = set()
    for path in paths:
        directory = path.rpartition("/")[0]
        while directory and directory not in found:
            found.add(directory)
            directory = directory.rpartition("/")[0]
    return found
