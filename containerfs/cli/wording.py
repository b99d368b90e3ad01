"""How commands write times, spans, sizes and names for people."""

import sys
import time

_SPANS = ((86400, "d"), (3600, "h"), (60, "m"))
_UNITS = ("kB", "MB", "GB", "TB")


def when(seconds: int | None) -> str:
    """Format Unix seconds as local time, to the minute; ``-`` if the service does not tell."""
    if not seconds:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # outside the calendar
        return str(seconds)


def until(seconds: float | None, now: float) -> str:
    """Format the time left: ``in 6d``, ``never``."""
    if seconds is None:
        return "never"
    left = seconds - now
    return f"in {span(left)}" if left > 0 else "ended"


def span(seconds: float) -> str:
    """Format a time in seconds, rounded: ``12s``, ``3m``, ``2h``."""
    unit, letter = next(((unit, letter) for unit, letter in _SPANS if seconds >= 0.95 * unit), (1, "s"))
    return f"{round(seconds / unit)}{letter}"


def size(count: int) -> str:
    """Format a number of bytes, rounded: ``12.3 MB``."""
    if count < 1000:
        return f"{count} bytes" if count != 1 else "1 byte"
    value = float(count)
    for unit in _UNITS:
        value /= 1000
        if value < 999.95 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def counted(count: int, noun: str) -> str:
    """Format a number with its noun: ``1 file``, ``2 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shown(name: str) -> str:
    """Return a name, quoted on a terminal if it is not printable, as in ls(1)."""
    return name if name.isprintable() or not sys.stdout.isatty() else repr(name)


def columns(rows: list[list[str]]) -> list[str]:
    """Format rows as aligned lines, with numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(_padded, row[:-1], widths)) + f"  {row[-1]}" for row in rows]


def _padded(cell: str, width: int) -> str:
    return cell.rjust(width) if cell.isdecimal() or cell == "?" else cell.ljust(width)
