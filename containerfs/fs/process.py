"""Tells who closes a file: the process that opened it, one that inherited it, or the kernel for one that was killed.

Source: proc(5), /proc/PID/status.
"""

from pathlib import Path

_EXITING = 0x4  # PF_EXITING in the flags of a process
_SIGNAL = 0x7F  # signal in its exit status. Source: wait(2), WTERMSIG


def is_other_live_process(opener: int, closer: int) -> bool:
    """Tell whether ``closer`` is not the process that opened a file, and that process still runs and will close it
    itself.

    Args:
        opener: a thread id, as FUSE gives it; 0 if it does not know.
        closer: a thread id, as FUSE gives it; 0 if it does not know.
    """
    if opener == closer or not (opener and closer):
        return False
    opening = thread_group(opener)
    return opening is not None and opening != thread_group(closer)


def thread_group(thread: int) -> str | None:
    """Return the process of a thread; None if it is gone."""
    try:
        status = Path(f"/proc/{thread}/status").read_text()
    except OSError:
        return None
    return next((line.split()[1] for line in status.splitlines() if line.startswith("Tgid:")), None)


def is_killed(thread: int) -> bool:
    """Tell whether a thread is ending because of a signal. Source: proc_pid_stat(5), fields 9 and 52; linux/sched.h.

    Args:
        thread: its id. Of threads that are gone, or belong to another user, nothing is known.
    """
    try:
        fields = Path(f"/proc/{thread}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return bool(int(fields[6]) & _EXITING and int(fields[49]) & _SIGNAL)
