"""`crewrun check`: what a batch would run, and everything that is wrong with it, without calling a model."""

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewrun.cli import flags
from crewrun.cli.flag_origins import flag_origins
from crewrun.cli.inputs import read_fields, read_inputs
from crewrun.wording import count

if TYPE_CHECKING:
    from crewrun.batch.check import Findings
    from crewrun.crew.listed_servers import ListedServer

_MAX_ROWS = 20
_MAX_ROWS_BELOW_PROBLEM = 3  # enough where a problem already says why no row would run


def check(
    inputs: str | None = typer.Argument(None, metavar="[INPUTS]", help="The rows to check too, as `batch` takes them."),
    crew: flags.Crew = None,
    engine: flags.Engine = None,
    model: flags.Model = None,
    base_url: flags.BaseUrl = None,
    strict: Annotated[bool | None, flags.option("strict", help="Warnings count as problems.")] = None,
    input: flags.ForAllRows = None,  # noqa: A002  (a parameter is called as its flag is)
    format: flags.Format = None,  # noqa: A002  (as above)
    delimiter: flags.Delimiter = None,
    encoding: flags.Encoding = None,
    sheet: flags.Sheet = None,
    map: flags.Map = None,  # noqa: A002  (as above)
    fields: flags.Fields = None,
    as_json: bool = typer.Option(False, "--json", help="Print the findings as JSON."),
) -> None:
    """Check a crew, and the rows for it, without calling a model.

    Prints what was found, the placeholders that rows need, every problem, each row that would fail and what the models
    would be asked for the first row. MCP servers are started, to list their tools. Exit codes: 0 nothing is wrong; 2
    something is.
    """
    from crewrun.batch.check import find
    from crewrun.batch.source import claimed
    from crewrun.cli.setup import folder_of, load_env, open_stdout, put_data, run_loop, tell, warn_of_variables
    from crewrun.definitions import is_crew
    from crewrun.errors import UsageError

    if inputs and crew is None and is_crew(inputs):
        raise UsageError(f"{inputs} is a crew, not rows: {shlex.join(['crewrun', 'check', '--crew', inputs])}")
    load_env()
    load_env(folder_of(crew or inputs or "."))
    warn_of_variables()
    inputs = inputs and claimed(inputs)
    stdout = open_stdout()
    constants = read_inputs(input) if input else None
    flag_values = {"engine": engine, "model": model, "base_url": base_url, "strict": strict, "input": constants}
    flag_values |= {"format": format, "delimiter": delimiter, "encoding": encoding, "sheet": sheet}
    flag_values |= read_fields(map, fields)
    findings = run_loop(find, crew, inputs, flag_values, flag_origins(flag_values))
    if as_json:
        put_data(stdout, json.dumps(findings.to_json(), indent=2, ensure_ascii=False))
    else:
        tell(stdout, lines(findings))
    raise typer.Exit(0 if findings.is_good else 2)


def lines(findings: "Findings") -> list[str]:
    """The findings for a person to read."""
    report = []
    if findings.crew:
        report += _crew_lines(findings.crew)
    report += _server_lines(findings.servers)
    report += [f"model {model.in_words()}" for model in findings.models if model.address_from is not None]
    if findings.defaults:
        report.append(f"defaults of flags from {findings.defaults}")
    if findings.constants:
        report.append(f"has for all rows: {', '.join(f'{{{name}}}' for name in findings.constants)}")
    report += [f"fills {{{name}}} from {column!r}" for name, column in findings.input_options.map.items()]
    report += [line for warning in findings.warnings for line in f"warning: {warning}".split("\n")]
    for problem in findings.problems:  # an indented line belongs to the one before
        report += [line if line.startswith(" ") else f"problem: {line}" for line in problem.split("\n")]
    if findings.input_notes:
        report.append(f"how the rows are read: {', '.join(findings.input_notes)}")
    if findings.rows is not None:
        report.append(f"rows: {findings.rows:,}, of which {findings.failing_count:,} would fail")
        is_explained = bool(findings.problems) and findings.failing_count == findings.rows
        most = _MAX_ROWS_BELOW_PROBLEM if is_explained else _MAX_ROWS
        report += [f"  {problem}" for problem in findings.failing[:most]]
        if findings.failing_count > most:
            report.append(f"  … and {findings.failing_count - most:,} more")
    for task in findings.first_row:
        report += ["", f"--- {task['task']} ({task['agent']})"]
        for message in task["messages"]:
            report += f"[{message['role']}] {message['content']}".split("\n")
    return [*report, "", _conclusion(findings)]


def _conclusion(findings: "Findings") -> str:
    if findings.is_good:
        return "nothing is wrong; no model was called"
    return "this would not run as it is" if findings.problems else "the crew would run, and these rows would fail"


def _crew_lines(crew: dict[str, Any]) -> list[str]:
    report = [f"{crew['path']}: {crew['kind']}" + (f", {crew['process']}" if crew["process"] else "")]
    for agent in crew["agents"]:
        in_words = " (in words, as the model takes none)" if agent["tools_in_words"] else ""
        report.append(f"agent {agent['name']}: {agent['model']}{_tools(agent['tools'])}{in_words}")
        report += _background_lines(agent)
    for task in crew["tasks"]:
        in_words = ", its schema in words, as the model takes none" if task["schema_in_words"] else ""
        report.append(f"task {task['name']}: by {task['agent'] or 'the manager'}{_tools(task['tools'])}{in_words}")
    report += [f"{method['kind']} {method['name']}: {_when(method)}" for method in crew.get("methods", ())]
    if crew["placeholders"]:
        report += [f"needs {{{name}}} for {place}" for name, place in crew["placeholders"].items()]
    return report


def _when(method: dict[str, Any]) -> str:
    if not method["waits_for"]:
        return "begins"
    return f"{'begins, and also ' if method['begins'] else ''}waits for {method['waits_for']}"


def _background_lines(agent: dict[str, Any]) -> list[str]:
    report = []
    if (base := agent["knowledge"]) is not None:
        sources = f"{base['sources']} source{'s' if base['sources'] != 1 else ''}, about {base['tokens']:,} tokens"
        by = "their words" if base["chosen_by"] == "words" else base["chosen_by"]
        how = (
            f"whole in the prompt (bound: {base['max_tokens']:,} tokens)"
            if base["in_prompt"] == "whole"
            else f"the nearest {base['results_limit']} of {base['passages']:,} passages in the prompt, chosen by "
            f"{by}, at most {base['max_tokens']:,} tokens"
        )
        report.append(f"  knowledge: {sources}: {how}")
    return report + ([f"  skills: {', '.join(agent['skills'])}"] if agent["skills"] else [])


def _server_lines(servers: "Sequence[ListedServer]") -> list[str]:
    return [
        f"MCP server {server.name} of agent {server.agent} ({server.place}): {count(len(server.tools), 'tool')}: "
        f"{', '.join(server.tools)}"
        for server in servers
        if not server.problem
    ]


def _tools(names: list[str]) -> str:
    return f", tools: {', '.join(names)}" if names else ""


def print_schema() -> None:
    """Print the JSON Schema of crew.yaml, from which editors complete and check it."""
    from crewrun.cli.setup import open_stdout, put_data
    from crewrun.definitions.schema import crew_schema

    put_data(open_stdout(), json.dumps(crew_schema(), indent=2, ensure_ascii=False))
