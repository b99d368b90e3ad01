"""How long to wait before the next attempt: twice as long after each failure, within limits."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds


def pause(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row, at least 1."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE)
