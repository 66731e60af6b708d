"""`Kernel`: an IPython kernel as a process, as Jupyter starts one, and what its cells show."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.command import clean_env

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(slots=True)
class Shown:
    """What a cell showed: `stdout`, `stderr`, the `traceback` of its error, `data` of its value by MIME type,
    and the text that an `updated` display has at the end.
    """

    stdout: str = ""
    stderr: str = ""
    traceback: str = ""
    data: dict[str, str] = field(default_factory=dict)
    updated: str = ""

    @property
    def text(self) -> str:
        """The value as a plain text."""
        return self.data.get("text/plain", "")


class Kernel:
    """A running kernel. Variables stay from cell to cell."""

    def __init__(self, manager: Any, client: Any) -> None:
        self._manager, self._client = manager, client

    def run(self, cell: str, on_stdout: Callable[[str], None] | None = None) -> Shown:
        """What `cell` shows. `on_stdout` is called with all that it has printed so far, each time it prints more."""
        cell_id = self._client.execute(cell)
        shown = Shown()
        while True:
            message = self._client.get_iopub_msg(timeout=30)
            if message["parent_header"].get("msg_id") != cell_id:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    setattr(shown, content["name"], getattr(shown, content["name"]) + content["text"])
                    if on_stdout is not None and content["name"] == "stdout":
                        on_stdout(shown.stdout)
                case "update_display_data":
                    shown.updated = content["data"]["text/plain"]
                case "execute_result" | "display_data":
                    shown.data = content["data"]
                case "error":
                    shown.traceback = _COLOURS.sub("", "\n".join(content["traceback"]))
                case "status" if content["execution_state"] == "idle":
                    return shown

    def interrupt(self) -> None:
        """What Jupyter's stop button does."""
        self._manager.interrupt_kernel()


@contextmanager
def kernel(folder: Path, **env: str) -> Iterator[Kernel]:
    """A kernel in `folder`. Skips the test where ipykernel is not installed."""
    pytest.importorskip("ipykernel", reason="notebooks need ipykernel, which pip install '.[dev]' brings")
    manager, client = pytest.importorskip("jupyter_client.manager").start_new_kernel(
        kernel_name="python3", cwd=str(folder), env=clean_env(**env)
    )
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
