"""Names of open descriptors: /dev/stdout, /dev/fd/3.

Opening one by its name would write from the start of a file that the shell has opened for appending, and descriptor 1
is no longer the caller's where results go to standard output. So they are copied instead.
"""

import os
import re

from crewrun.errors import UsageError

_NAMES = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_NUMBERED = re.compile(r"/(?:dev|proc/(?:self|thread-self))/fd/(\d+)")


def descriptor_of(path: str) -> int | None:
    """The number of the descriptor that `path` names, None for any other path."""
    match = _NUMBERED.fullmatch(path)
    return int(match[1]) if match else _NAMES.get(path)


def copy_of(flag: str, path: str, stdout_fd: int) -> int | None:
    """A copy of the descriptor that `path` names, None for any other path. The caller's standard output is `stdout_fd`.

    Raises UsageError for one that is not open, which names the flag.
    """
    number = descriptor_of(path)
    try:
        return None if number is None else os.dup(stdout_fd if number == 1 else number)
    except OSError:
        raise UsageError(f"{flag} {path}: descriptor {number} is not open; open it by {number}>FILE") from None
