"""Who closes a file: the process that opened it, or one that inherited it. Source: proc(5), /proc/PID/status."""

from pathlib import Path


def is_other_live_process(opener: int, closer: int) -> bool:
    """Whether ``closer`` is not the process that opened a file, and that one still runs and will close it itself.

    Args:
        opener, closer: thread ids, as FUSE gives them; 0 where it does not know.
    """
    if opener == closer or not (opener and closer):
        return False
    opening = _thread_group(opener)
    return opening is not None and opening != _thread_group(closer)


def _thread_group(thread: int) -> str | None:
    try:
        status = Path(f"/proc/{thread}/status").read_text()
    except OSError:
        return None
    return next((line.split()[1] for line in status.splitlines() if line.startswith("Tgid:")), None)
