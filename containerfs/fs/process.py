"""What is known of a program that an operation is for: whether another one closes the file for it, and whether it ends.

Source: proc(5), /proc/PID/status.
"""

import signal
from pathlib import Path

_EXITING = 0x4  # PF_EXITING in the flags of a process
_SIGNAL = 0x7F  # signal in its exit status. Source: wait(2), WTERMSIG
# By their default action these stop a program, let it go on or are ignored. Source: signal(7).
_HARMLESS = {
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
    signal.SIGCHLD,
    signal.SIGURG,
    signal.SIGWINCH,
}
_REQUESTS = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
}  # to end, which a program may catch to tidy up


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


def is_asked_to_end(thread: int) -> bool:
    """Tell whether a thread that got a signal ends because of it, or was asked to.

    The kernel says that an operation is interrupted whatever the reason is: also when its program is stopped, traced or
    frozen with the machine, or handles a timer or the end of a child. On a disk, none of these ends an operation, and
    few programs expect it.

    Args:
        thread: its id. Of threads of which nothing is known, it is assumed.
    """
    try:
        status = Path(f"/proc/{thread}/status").read_text()
    except OSError:
        return True
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("Sig", "ShdPnd")))
    pending, shared, blocked, ignored, caught = (
        _signals(masks[name]) for name in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
    )
    due = (pending | shared) - blocked - ignored
    return bool(due - caught - _HARMLESS or due & _REQUESTS)


def _signals(mask: str) -> set[int]:
    bits = int(mask, 16)
    return {bit + 1 for bit in range(bits.bit_length()) if bits >> bit & 1}
