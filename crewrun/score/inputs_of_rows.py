"""`inputs_of`: what the rows of a run were made from, for the few that are shown."""

import json
import re
from collections.abc import Iterable
from typing import Any

from crewrun.batch.run_input import settings_of
from crewrun.batch.run_results import open_results

_HASH = re.compile(r"[0-9a-f]{16}")  # an id that is made of the row's content


async def inputs_of(run: str, ids: Iterable[str]) -> dict[str, str]:
    """The inputs of these rows of `run` in words by their ids, without those whose ids are from a field and speak for
    themselves.
    """
    wanted = {row_id.encode() for row_id in ids if _HASH.fullmatch(row_id)}
    inputs: dict[str, str] = {}
    if not wanted:
        return inputs
    async with open_results(run, "ok") as results:
        if results.view is not None and settings_of(results.view.manifest).id_field:
            return inputs
        for line in results.lines:
            if any(row_id in line for row_id in wanted):
                record = json.loads(line)
                wanted.discard(record["id"].encode())
                inputs[record["id"]] = _in_words(record.get("input"))
            if not wanted:
                break
    return inputs


def _in_words(value: Any) -> str:
    """A value as text; of an object with a single text only that."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(text := next(iter(value.values())), str):
        return text
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
