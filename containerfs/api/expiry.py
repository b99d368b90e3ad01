"""When containers end, and the rules for that.

The API has two kinds of rules. A rule in days counts from the container's creation. A rule in minutes counts from its
last use, so that each use postpones the end. Source: the seed document and the published spec, ``expires_after``.
"""

import functools

from containerfs.api.models import Container
from containerfs.api.rules import ExpiresAfter

_LATEST = 100_000_000_000  # Unix seconds, in the year 5138; as milliseconds, in 1973
_SECONDS = {"days": 86400, "minutes": 60}


@functools.lru_cache(maxsize=1024)
def unix_seconds(time: int) -> int:
    """Return a time on the wire in Unix seconds; some services send milliseconds. Equal times are one object, to save
    memory."""
    return time if time < _LATEST else time // 1000


def ends_at(container: Container) -> int | None:
    """Return when a container ends unless it is used, in Unix seconds; None if it does not end, or that is not known.

    Services that leave out ``expires_at`` give the rule, and the time from which it counts.
    """
    if container.expires_at is not None:
        return unix_seconds(container.expires_at)
    rule = container.expires_after
    if rule is None:
        return None
    begin = container.last_active_at if rule.anchor == "last_active_at" else container.created_at
    return unix_seconds(begin) + _span(rule) if begin and _span(rule) else None


def idle_limit(container: Container) -> int | None:
    """Return how many seconds after its last use a container ends; None if its end does not depend on that."""
    rule = container.expires_after
    if rule is None or rule.anchor != "last_active_at":
        return None
    return _span(rule) or None


def _span(rule: ExpiresAfter) -> int:
    """Return the length of a rule in seconds."""
    return (rule.days or 0) * _SECONDS["days"] + (rule.minutes or 0) * _SECONDS["minutes"]
