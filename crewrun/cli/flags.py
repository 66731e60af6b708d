"""Typer's parameters for flags that several commands share. Those of a batch are made from `crewrun.batch_flags`."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, Literal

import typer

from crewrun import messages
from crewrun.batch_flags import InputFormat, batch_flags
from crewrun.flag_fields import FlagField, Kind, Panel


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _number_or_auto(text: str) -> int | str:
    if text == "auto":
        return text
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise ValueError(text)
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise ValueError(text)
    return number


# The type of each kind on the command line. Other forms of text are parsed by `batch.settings`, which gets the crew
# file's values too.
_TYPES: dict[Kind, Any] = {
    **dict.fromkeys(Kind, str),
    Kind.SWITCH: bool,
    Kind.COUNT: int,
    **dict.fromkeys((Kind.POSITIVE, Kind.NOT_NEGATIVE), float),
    **dict.fromkeys((Kind.PER_MODEL, Kind.PRICES, Kind.NAMES, Kind.INPUTS, Kind.COLUMN_MAP, Kind.COLUMNS), list[str]),
}
# What makes a value of a text, or raises ValueError; `cli.misuse` says what is needed.
PARSERS: dict[Kind, Callable[[str], Any]] = {
    Kind.COUNT: _count,
    Kind.NOT_NEGATIVE: _not_negative,
    Kind.POSITIVE: _positive,
    Kind.ROWS_OR_AUTO: _number_or_auto,
    Kind.WORKERS_OR_AUTO: _number_or_auto,
}
# What stands for a value in the help, where a flag does not say it.
_METAVARS = {Kind.COUNT: "N", **dict.fromkeys((Kind.POSITIVE, Kind.NOT_NEGATIVE), "SECONDS")}


def option(name: str, *, help: str | None = None) -> Any:  # noqa: A002  (as Typer calls it)
    """Typer's option for a flag of a batch. `help` replaces the flag's own."""
    field = batch_flags()[name]
    flag = field.flag
    names = f"{field.option}/{flag.off or '--no-' + field.option[2:]}" if flag.kind is Kind.SWITCH else field.option
    return typer.Option(
        names,
        *([flag.short] if flag.short else []),
        metavar=flag.metavar or _METAVARS.get(flag.kind),
        envvar=field.variable,
        help=help or field.help,
        rich_help_panel=flag.panel.value,
        parser=PARSERS.get(flag.kind),
    )


def takes_batch_flags(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, whose `**values` are a batch's flags: Typer sees a parameter for each, after the positional ones."""
    return _with_flags(command, list(batch_flags().values()))


def _with_flags(command: Callable[..., None], fields: Sequence[FlagField]) -> Callable[..., None]:
    @wraps(command)
    def with_flags(**parameters: Any) -> None:
        command(**parameters)

    own = inspect.signature(command).parameters.values()
    with_flags.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # `inspect.signature` looks for it
        [
            *(parameter for parameter in own if parameter.kind is parameter.POSITIONAL_OR_KEYWORD),
            *map(_parameter, fields),
            *(parameter for parameter in own if parameter.kind is parameter.KEYWORD_ONLY),
        ]
    )
    return with_flags


def takes_flags(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As `takes_batch_flags`, with these of a batch's flags, in their order there."""

    def takes(command: Callable[..., None]) -> Callable[..., None]:
        return _with_flags(command, [field for name, field in batch_flags().items() if name in names])

    return takes


def _parameter(field: FlagField) -> inspect.Parameter:
    kind = field.flag.kind
    value = field.type if kind is Kind.CHOICE else _TYPES[kind]
    annotation = Annotated[value | None, option(field.name)]  # type: ignore[valid-type]  # known when this runs
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _crew(places: str) -> Any:
    return typer.Option(
        "--crew",
        metavar="CREW",
        rich_help_panel=Panel.MODELS.value,
        envvar="CREWRUN_CREW",
        help="A crew file, a Python file, a project's folder, or module:attr. [default: the crew.yaml, crew.jsonc or "
        f"project (crew or flow) {places}]",
    )


Crew = Annotated[str | None, _crew("beside the inputs, else in the working directory")]
CrewOfRun = Annotated[str | None, _crew("in the working directory")]
Engine = Annotated[Literal["crewrun", "crewai"] | None, option("engine")]
Model = Annotated[str | None, option("model")]
BaseUrl = Annotated[str | None, option("base_url")]
Retries = Annotated[int | None, option("retries")]
CallTimeout = Annotated[float | None, option("call_timeout")]
Tier = Annotated[messages.Tier | None, option("tier")]
TierPatience = Annotated[str | None, option("tier_patience")]
MissingToolKeys = Annotated[Literal["fail", "warn"] | None, option("missing_tool_keys")]
Format = Annotated[InputFormat | None, option("format")]
Delimiter = Annotated[str | None, option("delimiter")]
Encoding = Annotated[str | None, option("encoding")]
Sheet = Annotated[str | None, option("sheet")]
Map = Annotated[list[str] | None, option("map")]
Fields = Annotated[list[str] | None, option("fields")]
ForAllRows = Annotated[list[str] | None, option("input")]
