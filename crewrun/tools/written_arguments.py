"""`read_arguments`: parses the arguments that a model wrote for a tool call."""

import ast
import json
from typing import Any

from pydantic import BaseModel, ValidationError

from crewrun.llm.replies.json_values import decode_written, unfenced
from crewrun.tools.base import BaseTool
from crewrun.tools.schema import values_of

_JSON = json.JSONDecoder(strict=False)


def read_arguments(tool: BaseTool, arguments: str) -> dict[str, Any]:
    """The keyword arguments for `tool` in a model's text. Raises ValueError with what is wrong with them.

    A string where an object is expected is decoded again: some models encode the arguments, or one of them, twice.
    """
    expected = tool.arguments
    parsed = _parsed(arguments, expected)
    if isinstance(parsed, str):
        parsed = _parsed(parsed, expected)
    if not isinstance(parsed, dict):
        raise ValueError(f"they must be a JSON object, not {type(parsed).__name__}")
    try:
        try:
            instance = expected.model_validate(parsed)
        except ValidationError as invalid:
            decoded = _decoded_twice(parsed, invalid)
            if decoded is None:
                raise
            instance = expected.model_validate(decoded)
        return values_of(instance, as_objects=tool.takes_objects)
    except ValidationError as invalid:
        faults = "; ".join(f"{_place(e['loc'])}{e['msg']}" for e in invalid.errors(include_url=False))
        names = ", ".join(field.alias or name for name, field in expected.model_fields.items()) or "none"
        raise ValueError(f"{faults}. The arguments are: {names}.") from None


def _decoded_twice(parsed: dict[str, Any], invalid: ValidationError) -> dict[str, Any] | None:
    """`parsed` with invalid arguments decoded that are strings of JSON; None if no argument is."""
    faulty = {fault["loc"][0] for fault in invalid.errors(include_url=False, include_input=False) if fault["loc"]}
    decoded = dict(parsed)
    for name in faulty:
        text = parsed.get(str(name))
        if isinstance(text, str) and text.lstrip().startswith(("{", "[", "```")):
            try:
                decoded[str(name)] = decode_written(text)
            except (ValueError, RecursionError):
                continue
    return decoded if decoded != parsed else None


def _parsed(arguments: str, expected: type[BaseModel]) -> Any:
    text = unfenced(arguments)
    if not text:
        return {}
    try:
        # Ignores text after the object: some models write a thought or the next action after it.
        return _JSON.raw_decode(text)[0] if text.startswith("{") else _JSON.decode(text)
    except (ValueError, RecursionError) as wrong:
        problem = wrong
    if text.startswith("{"):
        try:
            # Some models write a Python literal.
            return ast.literal_eval(text[: text.rfind("}") + 1])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"they are not JSON: {problem}") from None
    # A bare value for a tool with one required argument, as models that call tools in words write it.
    fields = [field.alias or name for name, field in expected.model_fields.items() if field.is_required()]
    if len(fields) == 1:
        return {fields[0]: text.strip("\"'")}
    raise ValueError(f"they are not JSON: {problem}")


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""
