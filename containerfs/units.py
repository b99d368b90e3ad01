"""Sizes and times as people write them: ``10G``, ``5m``."""

import re

_SPANS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SLOWEST = 64 << 10  # bytes per second; below that, transfers that wait for their turn seem to hang
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: object) -> int:
    """Parse ``10G`` as bytes. Units are K, M, G and T, powers of 1024."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(?:i?B)?", str(text).strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size like 500M or 10G")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_rates(text: object) -> tuple[int, int]:
    """Parse ``1M``, or ``500K:2M`` for up and down, as bytes per second. ``0`` is no limit, and 64K the lowest
    limit."""
    up, given, down = str(text).partition(":")
    rates = (parse_size(up), parse_size(down if given else up))
    return max(rates[0], _SLOWEST) if rates[0] else 0, max(rates[1], _SLOWEST) if rates[1] else 0


def parse_span(text: object) -> float:
    """Parse ``10s`` as seconds. Units are ms, s, m, h and d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|[smhd]?)", str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time like 10s or 5m")
    return float(match[1]) * _SPANS[match[2]]
