"""`crewrun` and `python -m crewrun`."""

import gc
import os
import signal
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Until a run takes the signals over there is nothing to save, so they just end the process; Python's own way would
    # first finish a blocking call. A shell that started us with SIGINT ignored (`&` in a script) meant it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    _hold_standard_descriptors()
    # What a command imports lives until its end, and by Python's own thresholds the collector traverses it many times:
    # that takes 46 of 913 ms of a batch of one row.
    gc.set_threshold(50_000, 20, 50)
    from crewrun.library_warnings import take_over

    take_over()  # before the command line's own libraries are imported
    from crewrun.cli.app import run

    run()


def _end(number: int, _: object) -> None:
    """End the process, without the files that it was writing and that are not complete."""
    unfinished = sys.modules.get("crewrun.unfinished")  # none is unfinished before this is imported
    if unfinished is not None:
        unfinished.remove_all()
    os._exit(128 + number)


def _hold_standard_descriptors() -> None:
    """Occupy a closed stdin, stdout or stderr: else the results file would become one of them.

    What takes its place refuses to be read as stdin or written as stdout, so a run that needs it can tell.
    """
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDWR)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)
    # Python sets these to None when they were closed.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()
