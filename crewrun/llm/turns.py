"""A model's turn as journal and cache keep it: a JSON array.

Its text, whether it was cut off, its calls of tools, and an object of what else there is, if there is anything.
"""

from typing import Any

from crewrun.messages import Completion, ToolCall, Usage

# In the order of `Completion`'s fields.
_MORE = ("reasoning", "carried", "finish_reason")


def is_plain(completion: Completion) -> bool:
    """Whether there is nothing but a whole text."""
    return not (
        completion.tool_calls
        or completion.truncated
        or completion.reasoning
        or completion.carried
        or completion.finish_reason
    )


def encode_turn(completion: Completion) -> list[Any]:
    """What `decode_turn` reads."""
    calls = [
        [call.id, call.name, call.arguments, *([call.carried] if call.carried else [])]
        for call in completion.tool_calls
    ]
    more = {name: value for name in _MORE if (value := getattr(completion, name))}
    return [completion.text, completion.truncated, calls, *([more] if more else [])]


def decode_turn(turn: list[Any], usage: Usage) -> Completion:
    """The completion that was kept, also by a version that knew no more than three elements.

    Raises ValueError or TypeError for what is none.
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
