"""The rules by which containers end.

The API has two kinds of rules. A rule in days counts from the container's creation. A rule in minutes counts from its
last use, so that each use postpones the end. Source: the seed document and the published spec, ``expires_after``.

They are separate from the other models because they are settings too: every command reads the settings, and few need
the models, which take 20 ms to import.
"""

import re

from containerfs.api.base import ApiModel

_MINUTES = {"m": 1, "h": 60}


class ExpiresAfter(ApiModel):
    """When a container expires: a span after an anchor.

    ``{anchor: "created_at", days}`` is the seed document's form, ``{anchor: "last_active_at", minutes}`` the
    published one. Exactly one of ``days`` and ``minutes`` is set.
    """

    anchor: str | None = None
    days: int | None = None
    minutes: int | None = None


def parse_rule(text: object) -> ExpiresAfter:
    """Parse ``7d`` as seven days from the creation, and ``20m`` or ``12h`` as the time since the last use.

    Raises:
        ValueError: if it is neither, or not a positive time.
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
    """Describe a rule in words: ``7 days after it was created``."""
    count, unit = (rule.days, "day") if rule.days is not None else (rule.minutes or 0, "minute")
    since = "its last use" if rule.anchor == "last_active_at" else "it was created"
    return f"{count} {unit}{'' if count == 1 else 's'} after {since}"
