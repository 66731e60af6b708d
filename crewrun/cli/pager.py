"""A long text on a terminal, shown by the user's pager."""

import os
import shlex
import shutil
import signal
import subprocess

# Prints the text as it is, where there is no pager; on every system that crewrun runs on.
_NO_PAGER = ["cat"]


def show_in_pager(text: str) -> None:
    """Show a text with $PAGER, `less` if that is not set; print it if that is empty or not installed.

    `text` may have colours; what it quotes from outside must have been escaped.
    """
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not command or shutil.which(command[0]) is None:
        command = _NO_PAGER
    # As git does: colours, no pager for what fits on the screen, and what was read stays on it.
    env = {"LESS": "FRX"} | os.environ
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C belongs to the pager, which ends by itself
    subprocess.run(command, input=text.encode(), env=env, check=False)  # noqa: S603  # the user's own command
