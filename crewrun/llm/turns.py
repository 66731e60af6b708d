"""The format in which the journal and the cache store a model's turn: a JSON array.

It holds the text, whether it was cut off, the tool calls and, if needed, an object with further fields.
"""

from typing import Any

from crewrun.messages import Completion, ToolCall, Usage

# In the order of `Completion`'s fields.
_MORE = ("reasoning", "carried", "finish_reason")


def is_plain(completion: Completion) -> bool:
    """Whether the turn is nothing but a complete text."""
    return not (
        completion.tool_calls
        or completion.truncated
        or completion.reasoning
        or completion.carried
        or completion.finish_reason
    )


def encode_turn(completion: Completion) -> list[Any]:
    """The array for a turn; `decode_turn` reads it."""
    calls = [
        [call.id, call.name, call.arguments, *([call.carried] if call.carried else [])]
        for call in completion.tool_calls
    ]
    more = {name: value for name in _MORE if (value := getattr(completion, name))}
    return [completion.text, completion.truncated, calls, *([more] if more else [])]


def decode_turn(turn: list[Any], usage: Usage) -> Completion:
    """The stored completion, also if it was written by a version that stored only three elements.

    Raises ValueError or TypeError for anything else.
    """
    text, truncated, calls, *rest = turn
    more = rest[0] if rest else {}
    return Completion(
        str(text),
        usage,
        bool(truncated),
        tuple(ToolCall(*call) for call in calls),
        **{name: more[name] for name in _MORE if name in more},
    )
