"""The parent of a stdio server, as a program: `python keeper.py PID command args…`.

It starts the command in a process group of its own and ends that group when the command has ended, when it gets
SIGTERM, and when crewrun's process, PID, is gone, even by SIGKILL: a server that ignores the end of its input, and
whatever it has started, would stay for ever otherwise. The command has the program's own input and output; this only
waits.

A separate program, since code between fork and exec must not run in a process with threads. It imports little, since
it is started for every server.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress

# How long a server may take to end by itself once its input has ended, and then once it got SIGTERM. The SDK kills
# this program two seconds after SIGTERM.
_AT_END_S = 2.0
_AT_SIGTERM_S = 1.0
# How often to look whether crewrun's process is still there. Linux could tell at once (PR_SET_PDEATHSIG), but does so
# when the thread that started the server ends.
_LOOK_EVERY_S = 0.5


def main() -> int:
    """Run the command until one of the three happens, and return its exit code."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    wakeup, signalled = os.pipe()
    os.set_blocking(signalled, False)
    os.set_blocking(wakeup, False)
    sigterms: list[int] = []
    signal.set_wakeup_fd(signalled)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: sigterms.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = _start(command)
    os.close(0)  # the server's alone: each side must see when the other one closes it
    os.close(1)
    status = None
    while status is None and not sigterms and os.getppid() == parent:
        status = _wait(server, wakeup, _LOOK_EVERY_S)
    if status is None and not sigterms:
        status = _wait(server, wakeup, _AT_END_S)
    _end_group(server, wakeup)
    if status is None:
        return 0
    code = os.waitstatus_to_exitcode(status)
    if code and not sigterms:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        os.write(2, f"[crewrun: the server ended {how}]\n".encode())
    return max(code, 1) if code else 0


def _start(command: list[str]) -> int:
    """Start the command and return the number of its process and of its group."""
    server = os.fork()
    if server:
        with suppress(OSError):  # either of the two is first, and the other one too late
            os.setpgid(server, server)
        return server
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606  (no shell is wanted)
    except OSError as failed:
        os.write(2, f"[crewrun: {command[0]}: {failed.strerror}]\n".encode())
    os._exit(127)


def _wait(server: int, wakeup: int, most_s: float) -> int | None:
    """The status of the server once it has ended, None if it has not after `most_s` or if a signal came."""
    select.select([wakeup], [], [], most_s)
    with suppress(BlockingIOError):
        os.read(wakeup, 64)
    ended, status = os.waitpid(server, os.WNOHANG)
    return status if ended else None


def _end_group(group: int, wakeup: int) -> None:
    """End everything in the group, with SIGTERM and then with SIGKILL."""
    if not _signal(group, signal.SIGTERM):
        return
    deadline = time.monotonic() + _AT_SIGTERM_S
    while time.monotonic() < deadline:
        with suppress(ChildProcessError):  # it has been waited for, and only processes that it started are left
            _wait(group, wakeup, 0.02)
        if not _signal(group, 0):
            return
    _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Send a signal to the group; False if nobody is in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
