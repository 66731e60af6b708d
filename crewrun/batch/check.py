"""What `crewrun check` finds: the crew, its problems, the rows that would fail, and the first row's prompts."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crewrun.batch.definition_records import previous_run
from crewrun.batch.first_crew import FirstCrewFailed, first_crew
from crewrun.batch.first_rows import read_first_rows, warnings_about
from crewrun.batch.locations import is_pipe, output_path
from crewrun.batch.mcp_servers import listed_and_closed
from crewrun.batch.model_origins import ModelOrigin, Origins
from crewrun.batch.preflight import unused_inputs
from crewrun.batch.run_identity import identify, past_of
from crewrun.batch.settings import BatchSettings
from crewrun.batch.source import STDIN, input_name, open_source
from crewrun.batch.unsupported import check_supported
from crewrun.crew.listed_servers import ListedServer
from crewrun.definitions import Definition, find_beside, load
from crewrun.definitions.project_file import find_defaults
from crewrun.errors import CrewrunError, CrewrunWarning, ModelRefused, UsageError
from crewrun.inspect.run_so_far import read_refusals
from crewrun.library_warnings import show_again
from crewrun.llm.capabilities import Refused
from crewrun.llm.gateway import Gateway
from crewrun.llm.options import GatewayOptions
from crewrun.loading.question_fields import question_fields
from crewrun.redaction.redactor import redact_line
from crewrun.row import Row
from crewrun.runs.folder import folder_of
from crewrun.tables.reading.input_options import InputOptions
from crewrun.target import Target
from crewrun.target.base import problem_of_unfilled
from crewrun.worker import Worker, check_models, model_hints

SCHEMA = "crewrun.check/1"

_MAX_FAILING = 1000  # bounds the memory for an input in which every row fails


@dataclass(slots=True)
class Findings:
    """`crew` describes the definition, None when it cannot be loaded; `defaults` is the project file that has defaults
    for flags; `rows` is None without inputs.

    `input_notes` say how the input is read, where that is not what its name says. Of the `failing_count` rows that
    would fail, `failing` has the first thousand.
    """

    crew: dict[str, Any] | None = None
    defaults: str | None = None
    input_options: InputOptions = field(default_factory=InputOptions)
    models: list[ModelOrigin] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    rows: int | None = None
    input_notes: Sequence[str] = ()
    failing: list[str] = field(default_factory=list)
    failing_count: int = 0
    first_row: list[dict[str, Any]] = field(default_factory=list)
    servers: Sequence[ListedServer] = ()

    @property
    def constants(self) -> dict[str, Any]:
        """The inputs for all rows."""
        return dict(self.input_options.constants)

    @property
    def is_good(self) -> bool:
        """Whether a batch would start, and no row would fail before its first call."""
        return not self.problems and not self.failing_count

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "schema": SCHEMA,
            "ok": self.is_good,
            "crew": self.crew,
            "defaults": self.defaults,
            "constants": self.constants,
            "models": [model.to_json() for model in self.models],
            "mcp_servers": [server.to_json() for server in self.servers],
            "warnings": self.warnings,
            "problems": self.problems,
            "rows": self.rows,
            "input_notes": list(self.input_notes),
            "failing_count": self.failing_count,
            "failing_rows": self.failing,
            "first_row": self.first_row,
        }


async def find(
    crew: str | None,
    inputs: str | None,
    flags: Mapping[str, Any],
    flag_origins: Mapping[str, str] = MappingProxyType({}),
) -> Findings:
    """Check the crew that `crew` names, or the one next to `inputs`, and the rows in `inputs`.

    `flags` has `engine`, `model`, `base_url`, `strict`, `input` and how the input is read, from flags and environment;
    where one is None the crew file's `batch:` counts. `flag_origins` says where `model` and `base_url` came from, where
    they are not from a file. With `strict` a warning is a problem.
    """
    findings, settings = Findings(), BatchSettings.merge(flags, {})
    flag_engine = flags.get("engine")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CrewrunWarning)
        try:
            path = None if inputs in (None, STDIN) else Path(inputs)
            project = find_defaults()
            findings.warnings += project.warnings
            named = crew or project.crew or find_beside(path)
            definition = load(named, strict=settings.strict, engine=flag_engine or project.engine)
            definition = project.under(definition)
            check_supported(settings, definition.target)
        except CrewrunError as wrong:
            findings.problems += str(wrong).split("\n")
        else:
            settings = BatchSettings.merge(flags, definition.batch)
            gateway = Gateway(GatewayOptions(model=settings.model, base_url=settings.base_url))
            findings.defaults = definition.defaults
            findings.input_options = settings.input_options
            origins = Origins(definition, gateway, flag_origins)
            await _look_at(definition, findings, inputs, origins, settings)
    findings.warnings += [str(w.message) for w in caught if issubclass(w.category, CrewrunWarning)]
    findings.warnings = [redact_line(warning) for warning in findings.warnings]
    findings.problems = [redact_line(problem) for problem in findings.problems]
    show_again([w for w in caught if not issubclass(w.category, CrewrunWarning)])
    if settings.strict:
        findings.problems += findings.warnings
        findings.warnings = []
    return findings


async def _look_at(
    definition: Definition, findings: Findings, inputs: str | None, origins: Origins, settings: BatchSettings
) -> None:
    gateway = origins.gateway
    gateway.refused.update(await _learned(definition, settings, inputs, gateway))
    target = await _made_for_first_row(definition.target, inputs, findings)
    findings.crew = describe(replace(definition, target=target), gateway)
    findings.models = origins.of(target)
    code_fields = question_fields(definition.target.user_code)
    needed = code_fields | findings.crew["placeholders"] | dict(definition.target.placeholders)
    is_filled = definition.target.is_filled
    findings.crew["placeholders"] = {
        name: place for name, place in needed.items() if not is_filled(name, findings.constants)
    }
    findings.warnings += unused_inputs(findings.input_options, target)
    findings.warnings += [*target.tool_problems, *target.missing_tool_keys]
    findings.servers = await listed_and_closed(target)
    findings.problems += [server.problem for server in findings.servers if server.problem]
    try:
        endpoints = await check_models(target, gateway)
        findings.warnings += model_hints(endpoints)
    except ModelRefused as refused:
        findings.problems.append(str(refused))
    except UsageError as missing:
        # The crew is fine, only this machine is not set up for it: a check in CI has no keys.
        findings.warnings.append(str(missing))
    try:
        if inputs is not None:
            await _look_at_first_rows(definition, findings, inputs, target)
            await _look_at_rows(definition, findings, inputs, Worker(definition.target, gateway), target)
        else:
            findings.warnings += warnings_about((), target, findings.input_options)
            findings.first_row = _previews(target, findings.constants)
    except CrewrunError as wrong:
        findings.problems.append(str(wrong))


async def _made_for_first_row(target: Target, inputs: str | None, findings: Findings) -> Target:
    """The target; where it makes a crew for each row, the first row's crew."""
    if inputs is None or is_pipe(inputs):
        return target
    try:
        return await first_crew(target, lambda: open_source(inputs, findings.input_options)) or target
    except FirstCrewFailed as failed:
        findings.problems += str(failed).split("\n")
        return target


async def _learned(
    definition: Definition, settings: BatchSettings, inputs: str | None, gateway: Gateway
) -> set[Refused]:
    """What endpoints refused in an earlier run of this crew on these inputs, if it is in the usual place."""
    output = output_path(inputs, None) if inputs is not None else None
    with suppress(CrewrunError, OSError):
        if output is not None and (folder := folder_of(Path(output))).is_used:
            endpoints = await check_models(definition.target, gateway, keys=False)
            past = past_of(previous_run(folder), folder) if settings.same_endpoint else None
            return read_refusals(
                folder.journal, identify(definition, endpoints, settings.input_options, past).definition
            )
    return set()


async def _look_at_first_rows(definition: Definition, findings: Findings, inputs: str, target: Target) -> None:
    """Find what would stop the batch before its first row, and braces in the texts that no column fills in."""
    columns: tuple[str, ...] = ()
    if not is_pipe(inputs):
        options = findings.input_options
        rows = await read_first_rows(open_source(inputs, options), definition.target, options)
        columns = tuple(rows.columns)
        findings.problems += filter(None, [rows.problem(inputs)])
    findings.warnings += warnings_about(columns, target, findings.input_options)


async def _look_at_rows(
    definition: Definition, findings: Findings, inputs: str, worker: Worker, target: Target
) -> None:
    """Check every row. `target` stands for the targets of all rows."""
    source = open_source(inputs, findings.input_options)
    findings.rows = 0
    good: list[Row] = []
    needed = {} if target is definition.target else target.placeholders

    def see(row: Row) -> None:
        findings.rows = (findings.rows or 0) + 1
        inputs = row.inputs or {}
        problem = worker.problem(row)
        if not problem and (why := definition.target.problem_at_kickoff(inputs) or problem_of_unfilled(needed, inputs)):
            problem = f"line {row.line}: {why}"
        if problem:
            findings.failing_count += 1
            findings.failing += [problem] if len(findings.failing) < _MAX_FAILING else []
        elif not good:
            good.append(row)

    await source.visit(see)
    findings.input_notes = source.notes
    if not findings.rows:
        findings.warnings.append(f"{input_name(inputs)}: has no rows")
    if good:
        findings.first_row = _previews(target, good[0].inputs or {})


def _previews(target: Target, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"task": p.task, "agent": p.agent, "messages": p.messages} for p in target.previews(inputs)]


def describe(definition: Definition, gateway: Gateway) -> dict[str, Any]:
    """The definition as `--json` prints it. Raises nothing: a model that cannot be resolved is shown as written."""
    target = definition.target
    about: dict[str, Any] = {
        "path": str(definition.path),
        "kind": definition.kind,
        "process": None,
        "agents": [],
        "tasks": [],
        "placeholders": dict(target.placeholders),
    }
    return about | target.describe(gateway)
