"""`RebuiltPrompts`: the prompts of a run's calls, from the log or rebuilt from the run's crew, which is loaded once."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from crewrun.batch.run_identity import addresses_of
from crewrun.definitions.definition import Definition
from crewrun.errors import CrewrunError
from crewrun.inspect.prompts import rebuild
from crewrun.inspect.show import as_messages
from crewrun.inspect.view import View
from crewrun.journal.schema import TOOL, TOOL_FAILURE, CallEntry
from crewrun.llm.gateway import Gateway
from crewrun.llm.options import GatewayOptions
from crewrun.messages import Message
from crewrun.runs.manifest import Manifest

_CREW_CHANGED: Final = (
    "the crew, its model or its endpoint has changed, or a coworker, guardrail or callback contributed"
)
# Prompts are rebuilt without opening servers.
_SERVER_TOOLS: Final = "the crew has tools of an MCP server, with which no prompt is rebuilt, or " + _CREW_CHANGED
_NO_INPUT: Final = "the row's input no longer exists"


@dataclass(frozen=True, slots=True)
class RunCrew:
    """The crew of a run as it is now. Without a `definition` it could not be loaded: `problem` says why."""

    definition: Definition | None
    problem: str = ""


@contextmanager
def folder_of_run(manifest: Manifest) -> Iterator[None]:
    """Work in the folder in which the run was started, to which its paths are relative. Raises OSError."""
    here = os.getcwd()
    if here == manifest.cwd:  # and leave a program that has run it where it is
        yield
        return
    try:
        os.chdir(manifest.cwd)
        yield
    finally:
        os.chdir(here)


def why(error: Exception) -> str:
    """An error's message on one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


class RebuiltPrompts:
    """Rebuilds the prompts of one row after another."""

    def __init__(self, view: View, crew: RunCrew) -> None:
        self._view = view
        self._crew = crew.definition.target.crew if crew.definition else None
        self._problem = crew.problem or ("" if self._crew else f"{view.manifest.crew} is not a crew of crewrun's own")
        self._made: Gateway | None = None

    def of_row(
        self,
        inputs: dict[str, Any] | None,
        record: Mapping[str, Any] | None,
        calls: Sequence[CallEntry],
        logged: Mapping[int, Any],
    ) -> tuple[dict[int, tuple[Any, str]], str | None]:
        """The prompts of a row's `calls` with their sources, `log` or `rebuilt`, and why others are not available, None
        when all are.

        `inputs` is everything that placeholders are filled from, `logged` the prompts that --log-prompts wrote.
        """
        rebuilt, why_not = self._rebuild(inputs, record, calls)
        prompts: dict[int, tuple[Any, str]] = {
            seq: (as_messages(messages), "rebuilt") for seq, messages in rebuilt.items()
        }
        prompts |= {seq: (messages, "log") for seq, messages in logged.items()}
        has_all = all(call.kind in (TOOL, TOOL_FAILURE) or call.seq in prompts for call in calls)
        return prompts, None if has_all else why_not

    def _rebuild(
        self, inputs: dict[str, Any] | None, record: Mapping[str, Any] | None, calls: Sequence[CallEntry]
    ) -> tuple[dict[int, tuple[Message, ...]], str]:
        if inputs is None:
            return {}, _NO_INPUT
        if self._crew is None:
            return {}, self._problem
        outputs = [(task["name"], task["output"]) for task in record["tasks"]] if record else []
        try:
            with folder_of_run(self._view.manifest):
                rebuilt = rebuild(self._crew, inputs, outputs, calls, self._gateway(), self._view.name)
        except (CrewrunError, OSError) as gone:
            return {}, why(gone)
        lost = ", ".join(map(repr, rebuilt.unrecorded))
        if lost:
            return rebuilt.prompts, f"the result or failure of {lost} is not in the journal"
        return rebuilt.prompts, _SERVER_TOOLS if self._crew.has_servers else _CREW_CHANGED

    def _gateway(self) -> Gateway:
        """A gateway that identifies requests as that of the run did."""
        if self._made is None:
            manifest = self._view.manifest
            options = manifest.options
            self._made = Gateway(GatewayOptions(model=options.get("model"), base_url=options.get("base_url")))
            if options.get("same_endpoint"):
                self._made.count_as_called_at(addresses_of(manifest.definition.get("endpoints") or ()))
        return self._made
