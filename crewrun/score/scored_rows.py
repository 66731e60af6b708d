"""The rows of a scoring: each result that is `ok`, as what a function or a judge sees of it.

Their ids are those of the results. A digest of the output, or of the field that is judged, and of the input is a part
of what identifies them, so that a row is scored again when these have changed, and only then.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from crewrun.batch.program_inputs import CopiedRows, IterableInputs
from crewrun.expect.field_path import FieldPath, NoValue
from crewrun.row import content_id

ID, DIGEST, FIELD, PROBLEM = "id", "digest", "field", "problem"
OF_JUDGE = ("answer", "input", "fence")


def own_fields(field: FieldPath | None) -> list[str]:
    """The fields of a row that its line of scores repeats."""
    return [ID, DIGEST, *([FIELD] if field is not None else [])]


def digest_of(record: Mapping[str, Any], field: FieldPath | None) -> str:
    """16 hex digits of what is judged of a result: its output, or the field, and its input."""
    try:
        return content_id({"output": judged(record, field), "input": record.get("input")})
    except NoValue as missing:
        return content_id({PROBLEM: str(missing)})


def judged(record: Mapping[str, Any], field: FieldPath | None) -> Any:
    """The output of a result, or the field of it. Raises NoValue."""
    output = record.get("output")
    return output if field is None else field.value({"output": output})


def scored_rows(
    records: Iterable[Mapping[str, Any]], name: str, names: Sequence[str], field: FieldPath | None, files: ExitStack
) -> IterableInputs:
    """The rows of the results in `records`, with those of `output`, `input`, `row`, `result` and of `OF_JUDGE` that are
    in `names`. They are written to a temporary file, which `files` closes; `name` is what messages call them.

    Raises OutputFailed when that file cannot grow.
    """
    copy = CopiedRows(name, files)
    for record in records:
        copy.add([_row(record, names, field)])
    return copy.inputs()


def _row(record: Mapping[str, Any], names: Sequence[str], field: FieldPath | None) -> dict[str, Any]:
    row = {ID: record["id"], DIGEST: digest_of(record, field)}
    if field is not None:
        row[FIELD] = field.text.removeprefix("output.")
    try:
        output = judged(record, field)
    except NoValue as missing:
        return {**row, PROBLEM: str(missing)}
    inputs = record.get("input")
    if names is OF_JUDGE:
        return {**row, "answer": _text(output), "input": _text(inputs), "fence": row[DIGEST]}
    values = {"output": output, "input": inputs, "row": inputs, "result": record}
    return {**row, **{name: values[name] for name in names}}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
