"""When containers end, and the rules that say so.

The API has two kinds of rule. In days, a container's life counts from its creation; in minutes, from its last use, so
that each use puts the end off. Source: the seed document and the published spec, ``expires_after``.
"""

import functools
import re

from containerfs.api.models import Container, ExpiresAfter

_LATEST = 100_000_000_000  # Unix seconds, in the year 5138; as milliseconds, in 1973
_MINUTES = {"m": 1, "h": 60}
_SECONDS = {"days": 86400, "minutes": 60}


@functools.lru_cache(maxsize=1024)
def unix_seconds(time: int) -> int:
    """A time on the wire as Unix seconds: some services tell milliseconds. One time is one object, to save memory."""
    return time if time < _LATEST else time // 1000


def ends_at(container: Container) -> int | None:
    """When a container ends if nobody uses it any more, in Unix seconds; None if it does not, or that is not known.

    Services that leave ``expires_at`` out tell the rule, and the time from which it counts.
    """
    if container.expires_at is not None:
        return unix_seconds(container.expires_at)
    rule = container.expires_after
    if rule is None:
        return None
    begin = container.last_active_at if rule.anchor == "last_active_at" else container.created_at
    return unix_seconds(begin) + _span(rule) if begin and _span(rule) else None


def idle_limit(container: Container) -> int | None:
    """How many seconds after its last use a container ends; None if its end does not depend on that."""
    rule = container.expires_after
    if rule is None or rule.anchor != "last_active_at":
        return None
    return _span(rule) or None


def _span(rule: ExpiresAfter) -> int:
    """In seconds."""
    return (rule.days or 0) * _SECONDS["days"] + (rule.minutes or 0) * _SECONDS["minutes"]


def parse_rule(text: object) -> ExpiresAfter:
    """``7d`` as seven days from the creation; ``20m`` and ``12h`` as the time since the last use.

    Raises:
        ValueError: it is neither, or no time at all.
    """
    if isinstance(text, ExpiresAfter):
        return text
    match = re.fullmatch(r"([1-9]\d*)([mhd])", str(text).strip(), re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not a time like 20m, 12h or 7d")
    count, unit = int(match[1]), match[2]
    if unit == "d":
        return ExpiresAfter(anchor="created_at", days=count)
    return ExpiresAfter(anchor="last_active_at", minutes=count * _MINUTES[unit])


def describe(rule: ExpiresAfter) -> str:
    """A rule in words: ``7 days after it was created``."""
    count, unit = (rule.days, "day") if rule.days is not None else (rule.minutes or 0, "minute")
    since = "its last use" if rule.anchor == "last_active_at" else "it was created"
    return f"{count} {unit}{'' if count == 1 else 's'} after {since}"
