"""`crewrun init`: makes a folder with a crew that works at once."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crewrun.cli import flags
from crewrun.cli.inputs import read_fields

if TYPE_CHECKING:
    from crewrun.row import Row
    from crewrun.tables.reading.input_options import InputOptions

_DIR = "Where the files go; made if it is not there."

FILES = {
    "crew.yaml": """\
# A crew of two. Each line of inputs.jsonl is one row, and {topic} is filled in from it.
# `crewrun check inputs.jsonl` says what would run; `crewrun schema` prints what may stand in this file.

agents:
  researcher:
    role: Researcher
    goal: Collect what matters about {topic}
    backstory: You check facts twice and keep opinions out.
    # llm: gpt-4.1-mini          # or ollama/llama3.2, anthropic/…; without it the MODEL variable decides
    # tools: [SerperDevTool]     # or my_tools:look_up, a function of your own in my_tools.py
  writer:
    role: Writer
    goal: Explain {topic} so that everybody understands it
    backstory: You never use ten words where five do.

tasks:
  research:
    agent: researcher
    description: Collect the three most important facts about {topic}.
    expected_output: Three numbered facts, one sentence each.
  article:
    agent: writer                # sees the output of the task before
    description: Write a short article about {topic} from these facts.
    expected_output: A headline and two paragraphs.

batch:
  max_concurrent: 8              # rows at once
""",
    "inputs.jsonl": """\
{"topic": "Tidal power"}
{"topic": "Sourdough bread"}
{"topic": "The history of zero"}
""",
    "README.md": """\
# A crew for crewrun

Try it offline, without a model, a key or any cost:

    crewrun batch inputs.jsonl -m offline

Run it with a model, with its key in the environment or in `.env`:

    export OPENAI_API_KEY=…
    crewrun batch inputs.jsonl -m gpt-4.1-mini -j 20

The results are in `inputs.results.jsonl`, a JSON object per line. `crewrun check inputs.jsonl` shows what the models
would be asked, and everything that is wrong with `crew.yaml` or the rows.
""",
}


def init(
    folder: Path | None = typer.Argument(
        None, metavar="[DIR]", help=f"{_DIR} [default with --from: the working directory]", show_default=False
    ),
    table: str | None = typer.Option(
        None,
        "--from",
        metavar="INPUTS",
        help="Write only a crew.yaml, with the columns of this table as placeholders.",
    ),
    map: flags.Map = None,  # noqa: A002  (a parameter is called as its flag is)
    fields: flags.Fields = None,
    format: flags.Format = None,  # noqa: A002  (as above)
    delimiter: flags.Delimiter = None,
    encoding: flags.Encoding = None,
    sheet: flags.Sheet = None,
) -> None:
    """Make a folder with a crew.yaml, inputs.jsonl and a README that work at once, or a crew.yaml for a table.

    Existing files are never overwritten: then nothing is written. With --from, flags that say how the table is
    read are written into the crew.yaml, so that `batch` needs none. Exit codes: 0 done; 2 it cannot be done.
    """
    from crewrun.cli.setup import open_stdout, tell
    from crewrun.errors import UsageError

    stdout = open_stdout()
    if table is None:
        if folder is None:
            raise UsageError(f"DIR is missing: {_DIR}")
        _write(folder, FILES)
        tell(stdout, [f"{folder}: {', '.join(FILES)}", f"try it: crewrun batch {folder / 'inputs.jsonl'} -m offline"])
        return
    reading = {"format": format, "delimiter": delimiter, "encoding": encoding, "sheet": sheet}
    tell(stdout, _from_table(table, folder or Path(), reading | read_fields(map, fields)))


def _from_table(inputs: str, folder: Path, flag_values: dict[str, Any]) -> list[str]:
    """Write the crew for a table, and return what to say about it. Raises UsageError."""
    from crewrun.batch.first_rows import listed, unknown_column
    from crewrun.batch.settings import BatchSettings
    from crewrun.batch.source import STDIN
    from crewrun.cli.setup import run_loop
    from crewrun.cli.starter_crew import Table, starter_crew
    from crewrun.errors import UsageError

    if inputs == STDIN:
        raise UsageError("--from -: a pipe can be read only once; write it to a file, and name that")
    values = {name: value for name, value in flag_values.items() if value is not None}
    settings = BatchSettings(**values)
    columns, rows, notes = run_loop(_head, inputs, replace(settings.input_options, map={}))
    if not columns:
        raise UsageError(f"--from {inputs}: has no rows, so its columns are not known")
    if problem := unknown_column(settings.input_options, rows or [dict.fromkeys(columns)], columns):
        raise UsageError(f"{problem}; {inputs} has {listed(columns)}")
    _write(folder, {"crew.yaml": starter_crew(Table(Path(inputs).name, columns, rows, values))})
    crew = folder / "crew.yaml"
    batch = ["crewrun", "batch", inputs, *([] if _is_found(inputs, crew) else ["--crew", str(crew)])]
    count = f"{len(columns):,} column{'s' if len(columns) > 1 else ''}"
    return [
        *([f"{inputs}: {', '.join(notes)}"] if notes else []),
        f"{crew}: one task for each row, with the {count} of {inputs}; edit the task to suit",
        f"try it: {shlex.join([*batch, '-m', 'offline'])}",
        f"see what is sent: {shlex.join(['crewrun', 'check', *batch[2:]])}",
    ]


async def _head(inputs: str, options: "InputOptions") -> "tuple[list[str], list[dict[str, Any]], Sequence[str]]":
    """The columns of a table, its first rows, and how it is read where that is not what its name says."""
    from crewrun.batch.first_rows import FIRST_ROWS
    from crewrun.batch.source import open_source

    rows: list[dict[str, Any]] = []

    def see(row: "Row") -> bool:
        if row.inputs is not None:
            rows.append(row.inputs)
        return len(rows) >= FIRST_ROWS

    source = open_source(inputs, options)
    await source.start()
    await source.visit(see)
    return list(source.columns or dict.fromkeys(name for row in rows for name in row)), rows, source.notes


def _is_found(inputs: str, crew: Path) -> bool:
    """Whether `batch` takes this crew for the table if it is not named."""
    from crewrun.definitions import find_beside
    from crewrun.errors import UsageError

    try:
        return find_beside(Path(inputs)).resolve() == crew.resolve()
    except UsageError:  # there is none
        return False


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files into `folder`. Raises UsageError if one is there, or another crew file is."""
    from crewrun.definitions import CREW_FILES
    from crewrun.errors import UsageError

    taken = [name for name in dict.fromkeys((*files, *CREW_FILES)) if (folder / name).exists()]
    if taken:
        raise UsageError(f"{folder}: has {', '.join(taken)} already; nothing was written, name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            with open(folder / name, "x", encoding="utf-8") as file:
                file.write(text)
    except OSError as refused:
        raise UsageError(f"{folder}: cannot be written: {refused.strerror}") from None
