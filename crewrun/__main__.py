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
    """Open /dev/null for a closed stdin, stdout or stderr: else the results file would become one of them."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
