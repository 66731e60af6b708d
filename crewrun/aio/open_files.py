"""The limit of open files: sockets, files and pipes of this process."""

import math
import resource
from contextlib import suppress


def raise_file_limit(needed: int) -> float:
    """Raise the soft limit to `needed`, as far as the system allows. Returns how many files may be open then."""
    soft, hard = (math.inf if limit == resource.RLIM_INFINITY else limit for limit in _limits())
    if soft >= needed:
        return soft
    most = min(needed, hard)
    with suppress(OSError, ValueError):  # macOS has a second limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(most), _limits()[1]))
        return most
    return soft


def _limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)
