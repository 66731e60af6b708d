"""Flags that several commands have: one place for their names, variables and words."""

from typing import Annotated, Literal

import typer

Crew = Annotated[
    str | None,
    typer.Option(
        "--crew",
        envvar="CREWRUN_CREW",
        help="A crew file, a Python file, a project's folder, or module:attr. [default: the crew.yaml, crew.jsonc or "
        "project (crew or flow) beside the inputs, else in the working directory]",
    ),
]
CrewOfRun = Annotated[
    str | None,
    typer.Option(
        "--crew",
        envvar="CREWRUN_CREW",
        help="A crew file, a Python file, a project's folder, or module:attr. [default: the crew.yaml, crew.jsonc or "
        "project (crew or flow) in the working directory]",
    ),
]
Engine = Annotated[
    Literal["crewrun", "crewai"] | None,
    typer.Option(
        "--engine",
        envvar="CREWRUN_ENGINE",
        help="Whose classes `crewai` means in the crew's files; crewai: those of the installed library, which calls "
        "models by itself, past limits, budgets and the journal. [default: crewrun]",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", envvar="CREWRUN_MODEL", help="The model of every agent; `offline` rehearses without one."
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", envvar="CREWRUN_BASE_URL", help="The address of an OpenAI-compatible server."),
]
Retries = Annotated[
    int | None,
    typer.Option("--retries", min=0, envvar="CREWRUN_RETRIES", help="Attempts after a failed first one. [default: 5]"),
]
CallTimeout = Annotated[
    float | None,
    typer.Option(
        "--call-timeout",
        min=0.001,
        envvar="CREWRUN_CALL_TIMEOUT",
        help="Seconds for one attempt of one call. [default: 120]",
    ),
]
MissingToolKeys = Annotated[
    Literal["fail", "warn"] | None,
    typer.Option(
        "--missing-tool-keys",
        envvar="CREWRUN_MISSING_TOOL_KEYS",
        help="When a tool lacks a key in the environment. [default: fail]",
    ),
]
