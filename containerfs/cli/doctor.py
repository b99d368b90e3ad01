"""``containerfs doctor``: checks everything that a mount needs, and says how to fix what is wrong."""

import json
import os
import re
import resource
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from containerfs.api.errors import ContainerFSError
from containerfs.cli import wording
from containerfs.cli.options import DataDirOption, JsonOption, LocalOption, ProfileOption, UrlOption

if TYPE_CHECKING:
    from containerfs.config import Settings

_OK, _WARNING, _PROBLEM = "ok", "warning", "problem"
_DEVICE = Path("/dev/fuse")
_FUSE_CONF = Path("/etc/fuse.conf")
_ALLOWED = re.compile(r"^\s*user_allow_other\s*$", re.MULTILINE)
_PASSWORD = re.compile(r"//[^/@]*@")
_FEW_FILES, _FEW_PROCESSES = 1024, 1100  # a busy mount runs out below this
_FEW_BYTES = 1 << 30
_MOST_SKEW = 60.0  # seconds that the service's clock may be off


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, its state, and what to do about it."""

    name: str
    state: str
    what: str
    remedy: str = ""


def doctor(
    url: UrlOption = None,
    local: LocalOption = False,
    profile: ProfileOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine, the settings, the key and the service for anything that keeps a mount from working."""
    flags: dict[str, object] = {"url": url, "local": local or None, "profile": profile, "data_dir": data_dir}
    findings = []
    for finding in _findings(flags):
        findings.append(finding)
        if not as_json:
            typer.echo(_line(finding))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    if any(finding.state == _PROBLEM for finding in findings):
        raise typer.Exit(1)


def _line(finding: Finding) -> str:
    remedy = f": {finding.remedy}" if finding.remedy else ""
    return f"{finding.state:8} {finding.name}: {wording.shown(finding.what)}{remedy}"


def _findings(flags: dict[str, object]) -> Iterator[Finding]:
    from containerfs.config import SettingsError, load

    yield from _machine()
    yield from _limits()
    try:
        settings = load(**flags)
        yield from _settings(settings, flags)
        yield _key(settings)
    except SettingsError as error:
        yield Finding("settings", _PROBLEM, str(error), "fix this setting")
        return
    yield _disk(settings)
    yield from _service(settings)


def _machine() -> Iterator[Finding]:
    from containerfs.fuse import libfuse, mount

    install = libfuse.install_command()
    try:
        libfuse.load()
        yield Finding("libfuse", _OK, "libfuse 3")
    except libfuse.FuseMissing as error:
        yield Finding("libfuse", _PROBLEM, "missing", str(error))
    if not _DEVICE.exists():
        yield Finding("/dev/fuse", _PROBLEM, "missing", "sudo modprobe fuse; in a container: --device /dev/fuse")
    elif not os.access(_DEVICE, os.R_OK | os.W_OK):
        yield Finding("/dev/fuse", _PROBLEM, "no permission to open it", f"sudo chmod 666 {_DEVICE}, or join its group")
    else:
        yield Finding("/dev/fuse", _OK, "there")
    program = mount.fusermount()
    yield Finding("fusermount", _OK, program) if program else Finding("fusermount", _PROBLEM, "missing", install)
    if os.geteuid() == 0 or (_FUSE_CONF.exists() and _ALLOWED.search(_FUSE_CONF.read_text(errors="replace"))):
        yield Finding("allow_other", _OK, "allowed")
    else:
        remedy = f"for '-o allow_other', add the line user_allow_other to {_FUSE_CONF}"
        yield Finding("allow_other", _WARNING, "only for root", remedy)


def _limits() -> Iterator[Finding]:
    limits = (
        ("open files", resource.RLIMIT_NOFILE, _FEW_FILES, "ulimit -Hn, or LimitNOFILE= of the unit"),
        ("processes", resource.RLIMIT_NPROC, _FEW_PROCESSES, "ulimit -u, or TasksMax= of the unit"),
    )
    for name, kind, few, how in limits:
        _, hard = resource.getrlimit(kind)
        shown = "no limit" if hard == resource.RLIM_INFINITY else f"{hard} at most"
        if hard != resource.RLIM_INFINITY and hard < few:
            yield Finding(name, _WARNING, shown, f"raise it ({how}): a busy mount takes {few}")
        else:
            yield Finding(name, _OK, shown)


def _settings(settings: "Settings", flags: dict[str, object]) -> Iterator[Finding]:
    """Return each setting and its origin, except the values of secrets."""
    from containerfs.config import origins

    for name, origin in origins(settings, flags).items():
        hidden = name == "api_key" or not type(settings).model_fields[name].repr
        value = "(hidden)" if hidden else _PASSWORD.sub("//(hidden)@", str(getattr(settings, name)))
        yield Finding(f"setting {name}", _OK, f"{value}, from {origin}")


def _key(settings: "Settings") -> Finding:
    if settings.service_url is None:
        return Finding("key", _OK, "the embedded store needs none")
    if settings.key:
        return Finding("key", _OK, "there is one")
    remedy = "where the service wants one: OPENAI_API_KEY, api_key_file or api_key_command"
    return Finding("key", _WARNING, "none", remedy)


def _disk(settings: "Settings") -> Finding:
    place = settings.cache_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    what = f"{wording.size(free)} free for {settings.cache_dir}"
    if not os.access(place, os.W_OK):
        return Finding(
            "disk",
            _PROBLEM,
            f"no permission to write to {place}",
            "choose another cache_dir, or change its permissions",
        )
    if free < _FEW_BYTES:
        return Finding("disk", _WARNING, what, "make room: what is written is kept there until it is uploaded")
    return Finding("disk", _OK, what)


def _service(settings: "Settings") -> Iterator[Finding]:
    from containerfs.cli.session import connected

    name, remedy = settings.service_url, "check the URL, the key, the network and the proxy"
    if name is None:
        name, remedy = f"embedded store in {settings.data_dir}", "choose another data_dir, or a service with --url"
    begun = time.monotonic()
    try:
        with connected(settings) as session:
            took = time.monotonic() - begun
            yield Finding("service", _OK, f"{_PASSWORD.sub('//(hidden)@', name)} answered within {took:.2f} s")
            can = [word for word, has in asdict(session.remote.dialect).items() if has is True]
            extensions = ", ".join(word.replace("_", " ") for word in can)
            yield Finding("extensions", _OK, extensions or "none: the published API alone")
            answer = session.client.containers.with_raw_response.list(limit=1)
            yield _clock(answer.headers.get("date"))
    except ContainerFSError as error:
        yield Finding("service", _PROBLEM, str(error), remedy)


def _clock(date: str | None) -> Finding:
    if date is None:
        return Finding("clock", _OK, "the service does not tell its time")
    skew = time.time() - parsedate_to_datetime(date).timestamp()
    what = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the service's"
    if abs(skew) > _MOST_SKEW:
        return Finding("clock", _WARNING, what, "set this machine's clock (timedatectl): times and expiry go by it")
    return Finding("clock", _OK, what)
