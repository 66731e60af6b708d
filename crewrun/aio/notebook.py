"""`is_in_notebook`: whether code runs in a cell of a notebook, whose event loop is the kernel's and always running."""

import sys
from threading import current_thread, main_thread


def is_in_notebook() -> bool:
    """Whether this is the main thread of an IPython kernel, where it runs its cells. Imports nothing."""
    ipython = sys.modules.get("IPython")
    if ipython is None or current_thread() is not main_thread():
        return False
    shell = ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None  # a shell on a terminal has none, and no loop around its cells
