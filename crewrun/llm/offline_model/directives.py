"""Prompt directives: words in a prompt that say which tools the mock asks for and how its JSON is.

`fake_model` follows them. The words that make a request fail are in `crewrun.mock.faults`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

JsonDirective = Literal["invalid", "invalid-once", "prose"]

# Upper case and a whole word, as the fault words are. Any other name behind CALL- is a tool's.
_WORD = re.compile(
    r"(?<![\w-])(?:CALL-(?P<call>[\w-]*\w)|JSON-(?P<json>INVALID-ONCE|INVALID|PROSE)(?![\w-]))", re.ASCII
)
_JSON: dict[str, JsonDirective] = {"INVALID": "invalid", "INVALID-ONCE": "invalid-once", "PROSE": "prose"}

WORDS = (
    "CALL-<tool>, CALL-ALL, CALL-FOREVER, CALL-NONE, CALL-BAD-ARGS, CALL-NOT-JSON, JSON-INVALID, JSON-INVALID-ONCE, "
    "JSON-PROSE"
)


@dataclass(frozen=True, slots=True)
class PromptDirectives:
    """What the words ask for. `tools` are the names to call, whether there are such tools or not."""

    tools: tuple[str, ...] = ()
    all_tools: bool = False
    forever: bool = False
    no_tools: bool = False
    arguments: Literal["fitting", "bad", "not JSON"] = "fitting"
    json: JsonDirective | None = None


def find_directives(texts: Iterable[str]) -> PromptDirectives:
    """What the words in `texts` ask for together. Of several on JSON or on arguments, the last one counts."""
    matches = [match for text in texts if "CALL-" in text or "JSON-" in text for match in _WORD.finditer(text)]
    if not matches:
        return PromptDirectives()
    calls = dict.fromkeys(match["call"] for match in matches if match["call"])
    about_json = [_JSON[match["json"]] for match in matches if match["json"]]
    return PromptDirectives(
        tools=tuple(name for name in calls if name not in _RESERVED),
        all_tools="ALL" in calls,
        forever="FOREVER" in calls,
        no_tools="NONE" in calls,
        arguments="not JSON" if "NOT-JSON" in calls else "bad" if "BAD-ARGS" in calls else "fitting",
        json=about_json[-1] if about_json else None,
    )


_RESERVED = frozenset({"ALL", "FOREVER", "NONE", "BAD-ARGS", "NOT-JSON"})


def disarm(text: str) -> str:
    """`text` with its words in lower case, so that quoting it does not steer the next request as well."""
    return _WORD.sub(lambda match: match[0].lower(), text)
