"""How a flag is declared: its kind, its panel in `--help` and its texts. `batch_flags` has the flags of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum, auto
from typing import Any, NamedTuple


class Panel(Enum):
    """The panels of `--help`, in their order, with their titles."""

    INPUT = "Input"
    MODELS = "Crew and models"
    OUTPUT = "Output"
    LIMITS = "Limits"
    MONEY = "Money"
    STATE = "State"
    PLACE = "Where it runs"


class Kind(Enum):
    """The kinds of values. On the command line most are text; a crew file also has numbers, lists and mappings."""

    TEXT = auto()
    NAME = auto()
    SWITCH = auto()
    CHOICE = auto()  # one of the words of the field's Literal
    COUNT = auto()  # a whole number from 0 up
    POSITIVE = auto()
    NOT_NEGATIVE = auto()
    ROWS_OR_AUTO = auto()
    WORKERS_OR_AUTO = auto()
    ROWS_OR_PERCENT = auto()
    DURATION = auto()  # 90, 5m, 1h30m
    DOLLARS = auto()
    PER_MODEL = auto()  # N, or MODEL=N for one model
    PRICES = auto()  # MODEL=IN,OUT
    NAMES = auto()
    INPUTS = auto()  # NAME=VALUE
    COLUMN_MAP = auto()  # PLACEHOLDER=COLUMN
    COLUMNS = auto()  # a,b
    ADDRESS = auto()  # a port, or HOST:PORT


# What a value of each kind has to be, for messages of the form "needs to be …, not …".
NEEDED: Mapping[Kind, str] = {
    Kind.TEXT: "text",
    Kind.NAME: "a name",
    Kind.SWITCH: "true or false",
    Kind.COUNT: "a whole number from 0",
    Kind.POSITIVE: "a number above 0",
    Kind.NOT_NEGATIVE: "a number from 0",
    Kind.ROWS_OR_AUTO: "a whole number from 1, or 'auto'",
    Kind.WORKERS_OR_AUTO: "a whole number from 1, or 'auto'",
    Kind.ROWS_OR_PERCENT: "a whole number of rows from 1, or a share above 0% and up to 100%, such as '5%'",
    Kind.DURATION: "a time from 0, such as 90, '90s', '5m', '1h30m' or '2d'",
    Kind.DOLLARS: "an amount of US dollars above 0, such as 2.50",
    Kind.PER_MODEL: "a whole number from 1, or such a number for each model",
    Kind.PRICES: "for each model its US dollars per million tokens, in and out",
    Kind.NAMES: "a list of names",
    Kind.INPUTS: "a mapping of names to values",
    Kind.COLUMN_MAP: "a mapping of placeholders to columns",
    Kind.COLUMNS: "a list of columns, or their names with commas between them",
    Kind.ADDRESS: "a port, such as 9464, or a host and a port, such as '0.0.0.0:9464'",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """What a field's name, type and default do not say.

    `help` is for the command line and, without `in_file`, for the crew file. `default` says in words what happens
    without the flag, where the field's own default does not. `off` is the opposite of a switch, by default `--no-…`.
    `choices_in_file` are the words that a crew file may use, by default all. A flag that `concerns_calls` cannot work
    for another library's crew, which calls models itself.
    """

    panel: Panel
    kind: Kind
    help: str
    in_file: str | None = None
    default: str | None = None
    short: str | None = None
    metavar: str | None = None
    off: str | None = None
    choices_in_file: tuple[str, ...] | None = None
    concerns_calls: bool = False


class FlagField(NamedTuple):
    """A flag, read from its field. `type` is the value's type; `default` is None where there is nothing to show."""

    name: str
    type: Any
    flag: Flag
    default: str | None

    @property
    def option(self) -> str:
        """The flag on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The environment variable for it."""
        return f"CREWRUN_{self.name.upper()}"

    @property
    def help(self) -> str:
        """The text for `--help`."""
        return self.flag.help if self.default is None else f"{self.flag.help} [default: {self.default}]"

    @property
    def description(self) -> str:
        """The text for the JSON Schema of crew.yaml."""
        text = self.flag.in_file or self.flag.help
        return text if self.default is None else f"{text} Default: {self.default}."


def flag_fields(declared: type) -> Mapping[str, FlagField]:
    """The flags that a dataclass declares, one `Annotated[…, Flag(…)]` per field, by the field's name."""
    flags = {}
    for one in fields(declared):
        (flag,) = one.type.__metadata__  # type: ignore[union-attr]  # each is an Annotated
        flags[one.name] = FlagField(one.name, one.type.__origin__, flag, flag.default or _in_words(one.default))  # type: ignore[union-attr]  # as above
    return flags


def _in_words(default: Any) -> str | None:
    """A default to show, None for those of switches and for 0."""
    if isinstance(default, float):
        return f"{default:g}"
    return str(default) if default and isinstance(default, str | int) else None
