"""When containers end."""

import functools

from containerfs.api.models import Container
from containerfs.api.rules import ExpiresAfter

_LATEST = 100_000_000_000  # Unix seconds, in the year 5138; as milliseconds, in 1973
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
