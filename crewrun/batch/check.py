"""What `crewrun check` finds: the crew, its faults, the rows that would fail, the first row's prompts."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from crewrun.batch.source import STDIN, open_source
from crewrun.crew.crew import Crew
from crewrun.crew.process import task_name
from crewrun.definitions import Definition, find_beside, load
from crewrun.errors import CrewrunError, CrewrunWarning, InputInvalid, UsageError, redact
from crewrun.llm.gateway import Gateway, GatewayOptions
from crewrun.row import Row
from crewrun.worker import Worker, check_models

SCHEMA = "crewrun.check/1"


@dataclass(slots=True)
class Findings:
    """`crew` describes the definition, None when it cannot be loaded; `rows` is None without inputs."""

    crew: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    rows: int | None = None
    failing: list[str] = field(default_factory=list)
    first_row: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether a batch would start, and no row would fail before its first call."""
        return not self.problems and not self.failing

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "schema": SCHEMA,
            "ok": self.is_good,
            "crew": self.crew,
            "warnings": self.warnings,
            "problems": self.problems,
            "rows": self.rows,
            "failing_rows": self.failing,
            "first_row": self.first_row,
        }


async def find(crew: str | None, inputs: str | None, model: str | None, base_url: str | None, strict: bool) -> Findings:
    """Look at the crew that `crew` names, or that lies beside `inputs`, and at the rows in `inputs`.

    `model` and `base_url` are the run's, in place of the crew's own. With `strict` a warning is a problem.
    """
    findings = Findings()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CrewrunWarning)
        try:
            beside = None if inputs in (None, STDIN) else Path(inputs)
            definition = load(crew or find_beside(beside), strict=strict)
        except CrewrunError as wrong:
            findings.problems += redact(str(wrong)).splitlines()
        else:
            await _look_at(definition, findings, inputs, Gateway(GatewayOptions(model=model, base_url=base_url)))
    findings.warnings += [str(w.message) for w in caught if issubclass(w.category, CrewrunWarning)]
    if strict:
        findings.problems += findings.warnings
        findings.warnings = []
    return findings


async def _look_at(definition: Definition, findings: Findings, inputs: str | None, gateway: Gateway) -> None:
    target = definition.target
    findings.crew = describe(definition, gateway)
    findings.warnings += getattr(target, "tool_problems", [])  # another library's crew has none that we know
    try:
        await check_models(target, gateway)
    except UsageError as missing:
        # The crew is right, this machine is not ready: a check in CI has no keys.
        findings.warnings.append(str(missing))
    if inputs is not None:
        try:
            await _look_at_rows(definition, findings, inputs, Worker(target, gateway))
        except CrewrunError as wrong:
            findings.problems.append(str(wrong))
    elif isinstance(target, Crew):
        # Without a row, placeholders stand as they are.
        findings.first_row = _previews(target, {name: f"{{{name}}}" for name in target.placeholders})


async def _look_at_rows(definition: Definition, findings: Findings, inputs: str, worker: Worker) -> None:
    source = open_source(inputs)
    findings.rows = 0
    first: Row | None = None
    try:
        async with anyio.create_task_group() as reading:
            reading.start_soon(source.fill)
            while row := await source.read():
                findings.rows += 1
                problem = worker.problem(row) or _refusal(definition.target, row)
                if problem:
                    findings.failing.append(problem)
                elif first is None:
                    first = row
    finally:
        source.release()
    if first is not None and isinstance(definition.target, Crew):
        findings.first_row = _previews(definition.target, first.inputs)


def _refusal(target: Any, row: Row) -> str | None:
    """Why a kickoff with the row's inputs would fail before its first call, None when it would not."""
    if isinstance(target, Crew):
        try:
            target.preview(row.inputs)
        except InputInvalid as invalid:
            return f"line {row.line}: {invalid}"
    return None


def _previews(crew: Crew, inputs: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [{"task": p.task, "agent": p.agent, "messages": p.messages} for p in crew.preview(inputs)]


def describe(definition: Definition, gateway: Gateway) -> dict[str, Any]:
    """What was loaded. Raises nothing: a model that cannot be resolved is named as it was written."""
    target = definition.target
    about: dict[str, Any] = {
        "path": str(definition.path),
        "kind": definition.kind,
        "process": None,
        "agents": [],
        "tasks": [],
        "placeholders": dict(target.placeholders),
    }
    if not isinstance(target, Crew):
        return about
    about["process"] = str(target.process)
    about["agents"] = [
        {
            "name": agent.name or agent.role.strip(),
            "role": agent.role.strip(),
            "model": _model_name(agent.model, gateway),
            "tools": list(agent.toolbox.tools),
        }
        for agent in target.agents_at_work
    ]
    about["tasks"] = [
        {
            "name": task_name(task, position),
            "agent": (task.agent.name or task.agent.role.strip()) if task.agent else None,
            "tools": [tool.name for tool in task.tools],
        }
        for position, task in enumerate(target.tasks)
    ]
    return about


def _model_name(llm: Any, gateway: Gateway) -> str:
    try:
        return gateway.endpoint(llm).name
    except UsageError:
        return str(llm.model) if llm is not None else "?"
