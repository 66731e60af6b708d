"""`read_arguments`: the arguments of a tool call, out of what a model wrote for them."""

import ast
import json
from typing import Any

from pydantic import BaseModel, ValidationError

from crewrun.llm.replies.json_values import decode_written, unfenced
from crewrun.tools.base import BaseTool
from crewrun.tools.schema import values_of

_JSON = json.JSONDecoder(strict=False)


def read_arguments(tool: BaseTool, arguments: str) -> dict[str, Any]:
    """The keyword arguments for `tool` in what a model wrote. Raises ValueError that says what is wrong with them.

    What does not fit is decoded once more: some models encode the arguments twice, or one of them.
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
            decoded = _decoded_once_more(parsed, invalid)
            if decoded is None:
                raise
            instance = expected.model_validate(decoded)
        return values_of(instance, as_objects=tool.takes_objects)
    except ValidationError as invalid:
        faults = "; ".join(f"{_place(e['loc'])}{e['msg']}" for e in invalid.errors(include_url=False))
        names = ", ".join(field.alias or name for name, field in expected.model_fields.items()) or "none"
        raise ValueError(f"{faults}. The arguments are: {names}.") from None


def _decoded_once_more(parsed: dict[str, Any], invalid: ValidationError) -> dict[str, Any] | None:
    """`parsed` with the arguments at fault decoded that are JSON in a text; None without any."""
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
        # Only the object itself: some models write a thought or the next action after it.
        return _JSON.raw_decode(text)[0] if text.startswith("{") else _JSON.decode(text)
    except (ValueError, RecursionError) as wrong:
        problem = wrong
    if text.startswith("{"):
        try:
            # Some models write a Python literal.
            return ast.literal_eval(text[: text.rfind("}") + 1])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"they are not JSON: {problem}") from None
    # A bare value for a tool with one required argument, as models of the text protocol write it.
    fields = [field.alias or name for name, field in expected.model_fields.items() if field.is_required()]
    if len(fields) == 1:
        return {fields[0]: text.strip("\"'")}
    raise ValueError(f"they are not JSON: {problem}")


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""
