"""The types of the values in a definition. A value that names something becomes what it names.

Validation has a `Names` as its context, which resolves them; so a wrong name is reported with all other faults of the
file. `spec` says which key has which type.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from crewrun.crew.fields import check_output_file
from crewrun.errors import DefinitionError
from crewrun.knowledge.sources import SOURCE_TYPES
from crewrun.tools import BUILT_IN

# pydantic's locations contain the tags of unions; no key of a file is likely to start like this.
TAG = "\0"
TEXT, MAPPING, LIST, NUMBER, FLAG = (Tag(f"{TAG}{shape}") for shape in ("text", "mapping", "list", "number", "flag"))


def one_of(needed: str) -> Discriminator:
    """Tells the members of a union apart by their shapes. `needed` describes them, for the message about any other."""
    return Discriminator(_shape, custom_error_type="shape", custom_error_message=needed)


def _shape(value: Any) -> str:
    return TAG + {str: "text", dict: "mapping", list: "list", int: "number", float: "number", bool: "flag"}.get(
        type(value), "other"
    )


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "blank")
    return text


def _share(text: str) -> str:
    match = _SHARE.fullmatch(text)
    if not match or not 0 < float(match[1]) <= 100:
        raise ValueError("needs a number of rows, or a share of them above 0% and up to 100%, such as '5%'")
    return text


def _no_human_input(wanted: bool) -> bool:
    if wanted:
        raise PydanticCustomError("human_input", "human_input")
    return wanted


def _no_schema(value: Any) -> Any:
    if isinstance(value, dict):
        why = "needs a pydantic class, module:attr, and this is a mapping; a JSON Schema goes into output_schema"
        raise PydanticCustomError("name", "{why}", {"why": why})
    return value


def _file(template: str) -> str:
    try:
        return check_output_file(template, is_of_config=True)
    except DefinitionError as wrong:
        raise PydanticCustomError("name", "{why}", {"why": str(wrong)}) from None


def looked_up(method: str) -> AfterValidator:
    """Replaces a name by what it names, using this method of `Names`."""

    def find(value: Any, info: ValidationInfo) -> Any:
        try:
            return getattr(info.context, method)(value)
        except DefinitionError as wrong:
            raise PydanticCustomError("name", "{why}", {"why": str(wrong)}) from None

    return AfterValidator(find)


_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%")
_WORDS = WithJsonSchema({"type": "string", "pattern": r"\S"})
_REFERENCE = WithJsonSchema({"type": "string", "pattern": r"^\s*[^\s:]+:[^\s:]+\s*$"})
_TOOL = WithJsonSchema(
    {
        "anyOf": [
            {"enum": sorted(BUILT_IN)},
            {"type": "string", "pattern": ":"},
            {
                "type": "object",
                "properties": {name: {"type": ["object", "null"]} for name in sorted(BUILT_IN)},
                "patternProperties": {":": {"type": ["object", "null"]}},
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }
)

Text = Annotated[str, AfterValidator(_not_blank), _WORDS]
Name = Annotated[str, AfterValidator(str.strip), AfterValidator(_not_blank), _WORDS]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Seconds = Positive
Texts = Annotated[Annotated[str, TEXT] | Annotated[list[str], LIST], one_of("text or a list of texts")]
MaxFailures = Annotated[
    Annotated[AtLeastOne, NUMBER]
    | Annotated[str, AfterValidator(_share), TEXT, WithJsonSchema({"type": "string", "pattern": "^[0-9.]+%$"})],
    one_of("a number of rows, or a share of them such as '5%'"),
]
_CountOrAuto = Annotated[AtLeastOne, NUMBER] | Annotated[Literal["auto"], TEXT]
RowsAtOnce = Annotated[_CountOrAuto, one_of("a number of rows, or auto")]
Workers = Annotated[_CountOrAuto, one_of("a number of workers, or auto")]
PerModel = Annotated[
    Annotated[AtLeastOne, NUMBER] | Annotated[dict[str, AtLeastOne], MAPPING],
    one_of("a number a minute, or a mapping of models to such numbers"),
]
Span = Annotated[
    Annotated[NotNegative, NUMBER] | Annotated[Text, TEXT],
    one_of("a number of seconds, or a time such as 5m or 1h30m"),
]
Dollars = Annotated[Annotated[Positive, NUMBER] | Annotated[Text, TEXT], one_of("an amount of US dollars")]
ColumnNames = Annotated[
    Annotated[list[Text], Field(min_length=1), LIST] | Annotated[Text, TEXT],
    one_of("a list of columns, or their names with commas between them"),
]
Address = Annotated[
    Annotated[int, Field(ge=0, le=65_535), NUMBER] | Annotated[Text, TEXT], one_of("a port, or a host and a port")
]
Prices = dict[str, Annotated[list[NotNegative], Field(min_length=2, max_length=4)]]
LogName = Annotated[Annotated[bool, FLAG] | Annotated[Text, TEXT], one_of("the name of a file, or true for logs.txt")]
OutputFile = Annotated[Text, AfterValidator(_file)]
NoHumanInput = Annotated[bool, AfterValidator(_no_human_input), WithJsonSchema({"const": False})]

Tool = Annotated[
    Annotated[Name, TEXT] | Annotated[dict[str, Any], MAPPING],
    one_of("the name of a tool, or a mapping of one name to the tool's arguments"),
    looked_up("tool"),
    _TOOL,
]
ToolChoice = Annotated[
    Annotated[Text, TEXT] | Annotated[dict[str, Any], MAPPING],
    one_of("auto, none, required, or a mapping that names a function"),
]
Function = Annotated[Name, looked_up("function"), _REFERENCE]
Functions = Annotated[
    Annotated[Function, TEXT] | Annotated[list[Function], LIST], one_of("a reference module:attr, or a list of them")
]
Guardrail = Annotated[Text, looked_up("guardrail"), _WORDS]
Guardrails = Annotated[
    Annotated[Guardrail, TEXT] | Annotated[list[Guardrail], LIST], one_of("a guardrail, or a list of them")
]
ModelClass = Annotated[Name, BeforeValidator(_no_schema), looked_up("model_class"), _REFERENCE]
Pattern = Annotated[Text, looked_up("pattern"), _WORDS]
InputFile = Annotated[
    Annotated[Text, TEXT] | Annotated[dict[str, Text], MAPPING],
    one_of("the path or address of a file"),
]
KnowledgeObject = Annotated[Name, looked_up("knowledge"), _REFERENCE]
KnowledgeSource = Annotated[
    Annotated[Text, TEXT] | Annotated[dict[str, Any], MAPPING],
    one_of("the path of a file, a reference module:attr, or a mapping with source_type"),
    looked_up("knowledge_source"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {
                    "type": "object",
                    "properties": {"source_type": {"enum": sorted(SOURCE_TYPES)}},
                    "required": ["source_type"],
                },
            ]
        }
    ),
]
JSONSchema = Annotated[
    Annotated[Name, TEXT] | Annotated[dict[str, Any], MAPPING],
    one_of("a JSON Schema, or the path of a file that holds one"),
    looked_up("json_schema"),
]
