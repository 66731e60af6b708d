"""`crewrun` and `python -m crewrun`."""

import os
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    _hold_standard_descriptors()
    try:
        from crewrun.cli.app import run
    except KeyboardInterrupt:  # Ctrl-C while modules load
        sys.exit(130)
    run()


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
