"""How long to wait before the next attempt: twice as long after each failure, within bounds."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row, 1 or more."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE)
