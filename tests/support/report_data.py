"""A report's data made up for tests of its page: as many rows as a test wants, with failures, tools and outputs."""

import gzip
import json
import random
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

CHUNK = 4096
DETAIL_ROWS = 64
CITIES = ("Lisbon", "Oslo", "Kyoto", "Quito", "Perth")
_TEXT = """
river market harbour evening survey length copper morning window narrow bridge station garden winter
summer letter report figure margin paper column answer question customer delivery invoice product return refund
"""
CUT_OFF = "cut off at max_tokens"
WORDS = _TEXT.split()
FAILURES = (
    ("rate_limit", "RateLimited", "429: too many requests, the limit is 500 per minute", "write"),
    ("schema", "InvalidOutput", "output.total: 'twelve' is not of type 'number'", "extract"),
    ("timeout", "CallTimeout", "no answer within 60 s", "write"),
)


def encoded(name: str, value: Any) -> tuple[str, bytes]:
    """A pack as `write_page` takes it."""
    return name, b64encode(gzip.compress(json.dumps(value, separators=(",", ":")).encode(), 1))


class ReportData:
    """`count` rows, drawn with a seed. `details` is how many rows from the first have theirs in the page.

    `changes` maps rows to ids, inputs, outputs or errors of their own. With `compared`, there is a run before, in
    which every tenth row has another output, and a score.
    """

    def __init__(
        self,
        count: int,
        details: int | None = None,
        changes: dict[int, dict[str, str]] | None = None,
        words: int = 24,
        compared: bool = False,
    ) -> None:
        self.count = count
        self.details = count if details is None else min(details, count)
        self.compared = compared
        self.changes = changes or {}
        self.draw = random.Random(7)
        self.sentences = [" ".join(self.draw.choices(WORDS, k=words // 2)) for _ in range(1000)]
        self._make()

    def _make(self) -> None:
        draw = self.draw
        self.ids = [self.changes.get(row, {}).get("id", f"row-{row:06d}") for row in range(self.count)]
        self.failed = [draw.random() < 0.02 or "error" in self.changes.get(row, {}) for row in range(self.count)]
        self.failure = [draw.randrange(3) if failed else -1 for failed in self.failed]
        self.time = [round(draw.lognormvariate(7.3, 0.6)) for _ in range(self.count)]
        self.cost = [round(draw.lognormvariate(6, 0.8)) for _ in range(self.count)]
        self.total = [None if failed else round(draw.gauss(120, 30), 2) for failed in self.failed]
        self.city = [-1 if failed else min(4, int(draw.expovariate(0.8))) for failed in self.failed]
        self.calls = [1 + draw.randrange(3) for _ in range(self.count)]

    def text(self, row: int, field: str) -> str:
        """The input or output of a row."""
        if text := self.changes.get(row, {}).get(field):
            return text
        words = f"{self.sentences[row * 31 % 991]} {self.sentences[(row * 17 + (field == 'output') * 7) % 983]}"
        return f"{words} needle{row}" if field == "output" else words

    def error(self, row: int) -> str | None:
        """The message of a failed row."""
        if not self.failed[row]:
            return None
        return self.changes.get(row, {}).get("error") or FAILURES[self.failure[row]][2]

    def missed(self, row: int) -> str | None:
        """Why a row missed an expectation: each 50th did, of those that are compared."""
        if not self.compared or self.failed[row] or row % 50 != 7:
            return None
        return f"total is positive: output.total is {self.total[row]}, not above quantum{row}"

    def packs(self) -> Iterator[tuple[str, bytes]]:
        """Rows, texts, details."""
        yield encoded("rows", {"count": self.count, "columns": self.columns()})
        for k in range(0, self.count, CHUNK):
            rows = range(k, min(self.count, k + CHUNK))
            texts: dict[str, Any] = {name: [self.text(row, name) for row in rows] for name in ("input", "output")}
            texts["error"] = [self.error(row) for row in rows]
            texts["missed"] = [self.missed(row) for row in rows]
            yield encoded(f"texts-{k // CHUNK}", texts | {"cut": []})
        for at, k in enumerate(range(0, self.details, DETAIL_ROWS)):
            rows = range(k, min(self.details, k + DETAIL_ROWS))
            yield encoded(f"details-{at}", {str(row): self.detail(row) for row in rows})

    def columns(self) -> dict[str, Any]:
        """The columns of the pack `rows`."""
        codes = [self.failure[row] if self.failed[row] else -1 for row in range(self.count)]
        return self.compared_columns() | {
            "id": self.ids,
            "line": [row + 1 for row in range(self.count)],
            "status": {"values": ["ok", "failed", "unfinished"], "codes": [int(failed) for failed in self.failed]},
            "category": {"values": [one[0] for one in FAILURES], "codes": codes},
            "task": {"values": ["write", "extract"], "codes": [-1 if c < 0 else int(c == 1) for c in codes]},
            "tools": {
                "values": ["search", "calculator"],
                "sets": [[], [0], [0, 1]],
                "codes": [row % 3 for row in range(self.count)],
            },
            "cost": self.cost,
            "time": self.time,
            "prompt_tokens": [200 + row % 50 for row in range(self.count)],
            "completion_tokens": [80 + row % 70 for row in range(self.count)],
            "calls": self.calls,
            "started": [1_790_000_000_000 + row * 400 for row in range(self.count)],
            "output.city": {"values": list(CITIES), "codes": self.city},
            "output.total": self.total,
        }

    def compared_columns(self) -> dict[str, Any]:
        """What became of the rows in the other run, and how they scored."""
        if not self.compared:
            return {}
        codes = [2 if failed else int(row % 10 == 0) for row, failed in enumerate(self.failed)]
        scores = [None if failed else round((row * 37 % 100) / 100, 2) for row, failed in enumerate(self.failed)]
        missed = [-1 if failed else int(self.missed(row) is not None) for row, failed in enumerate(self.failed)]
        cut_off = [int(row % 100 == 3) for row in range(self.count)]
        return {
            "change": {"values": ["same", "changed", "broken"], "codes": codes},
            "score.clear": scores,
            "missed": {"values": ["total is positive"], "sets": [[], [0]], "codes": missed},
            "answers": {"values": [CUT_OFF], "sets": [[], [0]], "codes": cut_off},
        }

    def other(self, row: int) -> dict[str, Any]:
        """A row's result in the run before."""
        output = {"city": "Oslo", "total": 100.0, "text": self.text(row, "output").replace("river", "stream")}
        return {"id": self.ids[row], "status": "ok", "output": output, "error": None}

    def comparison(self) -> dict[str, Any]:
        """As `crewrun compare --json` prints it."""
        failed, changed = sum(self.failed), sum(not f for f in self.failed[::10])
        cost = {"mean": -0.0001, "low": -0.00012, "high": -0.00008}
        unsure = {"mean": 0.02, "low": -0.04, "high": 0.08}
        share = {"mean": -0.2, "low": -0.24, "high": -0.16}
        diff = [["=", "by the "], ["-", "river"], ["+", "stream"], ["=", " at noon"]]
        return {
            "a": {"run": "last-week.results.jsonl"},
            "b": {"run": "places.results.jsonl"},
            "rows": {
                "same": self.count - failed - changed,
                "changed": changed,
                "fixed": 0,
                "broken": failed,
                "only_a": 3,
                "only_b": 0,
                "failed_in_both": 0,
                "other_input": 0,
                "joined": self.count,
            },
            "metrics": {
                "cost": {"unit": "USD", "rows": 500, "a": 0.0005, "b": 0.0004, "difference": cost, "relative": share},
                "time": {"unit": "s", "rows": 500, "a": 1.8, "b": 1.9, "difference": unsure, "relative": unsure},
            },
            "fields": [
                {
                    "name": "city",
                    "rows": 500,
                    "equal": 450,
                    "share": 0.9,
                    "only_a": 0,
                    "only_b": 0,
                    "numeric": None,
                    "changes": [{"a": "Lisbon", "b": "Oslo", "rows": 31}, {"a": "Kyoto", "b": "Oslo", "rows": 12}],
                },
                {
                    "name": "total",
                    "rows": 500,
                    "equal": 400,
                    "share": 0.8,
                    "only_a": 0,
                    "only_b": 0,
                    "numeric": {"rows": 500, "mean": -3.2, "min": -40, "p05": -21.5, "p95": 4, "max": 9},
                    "changes": [],
                },
            ],
            "fields_left_out": 0,
            "examples": [
                {
                    "id": self.ids[0],
                    "row": 0,
                    "change": "changed",
                    "input": None,
                    "a": {"status": "ok", "output": "", "error": None},
                    "b": {"status": "ok", "output": "", "error": None},
                    "differences": [
                        {"field": "text", "a": "", "b": "", "diff": diff},
                        {"field": "city", "a": "Lisbon", "b": "Oslo", "diff": []},
                    ],
                    "more_differences": 0,
                }
            ],
            "sample": 3,
            "seed": 0,
            "interval": 0.9,
        }

    def scores(self) -> dict[str, Any]:
        """Parts of the head on scores and expectations."""
        worst = [
            {"row": 3, "score": 0.11, "reason": "The answer names no place."},
            {"row": 5, "score": 0.85, "reason": "Two sentences are cut off."},
        ]
        return {
            "scores": [
                {
                    "name": "clear",
                    "by": "The text is clear.",
                    "rows": 590,
                    "mean": 0.513,
                    "low": 0.49,
                    "high": 0.54,
                    "histogram": histogram([n / 100 for n in range(100)]),
                    "worst": worst,
                }
            ],
            "expectations": [{"name": "total is positive", "checked": 500, "missed": 12, "example": 7}],
            "warnings": [{"text": "6 answers cut off at max_tokens", "column": "answers", "value": CUT_OFF}],
        }

    def detail(self, row: int) -> dict[str, Any]:
        """A row's record and calls, as `crewrun show --json` has them."""
        error = self.error(row)
        category, kind, _, task = FAILURES[self.failure[row]] if error else FAILURES[0]
        output = (
            None
            if error
            else {"city": CITIES[self.city[row]], "total": self.total[row], "text": self.text(row, "output")}
        )
        prompt = [
            {
                "role": "system",
                "content": "You are Writer. You write short texts about places.\nYour goal is: be exact.",
            },
            {"role": "user", "content": f"Your task: Write about {self.text(row, 'input')}"},
        ]
        answer = {
            "seq": 1,
            "session": 1,
            "at": "2026-09-21T12:00:00Z",
            "task": "write",
            "duration_s": 1.25,
            "kind": "answer",
            "model": "gpt-4.1-mini",
            "prompt": prompt,
            "prompt_source": "rebuilt",
            "cost_usd": 0.000412,
            "attempts": 1,
            "usage": {"calls": 1, "prompt_tokens": 212, "completion_tokens": 96},
            "truncated": False,
            "reply": "" if row % 3 else self.text(row, "output"),
            "tool_calls": [{"id": "c1", "name": "search", "arguments": '{"query": "harbours"}'}] if row % 3 else [],
            "reasoning": "The reader wants figures, so I look them up first.",
        }
        tool = {
            **answer,
            "seq": 2,
            "kind": "tool",
            "tool": "search",
            "result": '{"hits": [{"name": "Harbour", "size": 3}]}',
        }
        failed = {**answer, "seq": 3, "kind": "failure", "error": error, "attempts": 3}
        record = {
            "id": self.ids[row],
            "status": "failed" if error else "ok",
            "input": {"topic": self.text(row, "input")},
            "output": output,
            "attempts": 1,
            "models": ["gpt-4.1-mini"],
            "files": [],
            "error": {"category": category, "type": kind, "message": error, "task": task, "http_status": 429}
            if error
            else None,
            "tasks": [
                {"name": name, "agent": "Writer", "output": self.text(row, "output"), "calls": 1}
                for name in ("extract", "write")
            ],
        }
        more = {"other": self.other(row)} if self.compared else {}
        return more | {
            "record": record,
            "calls": [answer, *([tool] if row % 3 else []), *([failed] if error else [])],
            "no_prompt": None,
        }

    def head(self, **changes: Any) -> dict[str, Any]:
        """The head, with the parts in `changes` replaced."""
        failed = sum(self.failed)
        head: dict[str, Any] = {
            "schema": "crewrun.report/1",
            "title": "places.results.jsonl",
            "crewrun_version": "1.0.0",
            "made_at": 1_790_000_900_000,
            "state": "finished",
            "snapshot": False,
            "run": "places.results.jsonl.crewrun",
            "results": "places.results.jsonl",
            "command": "crewrun batch places.jsonl -m gpt-4.1-mini -j 64",
            "next_command": "crewrun retry places.results.jsonl" if failed else None,
            "crew": "crew.yaml",
            "versions": {"crewrun": "1.0.0", "python": "3.11.9"},
            "exit_code": 3 if failed else 0,
            "stopped": None,
            "without_run_folder": False,
            "notes": [],
            "diagram": None,
            "sessions": [
                {
                    "id": 1,
                    "started_at": 1_790_000_000_000,
                    "duration_ms": 640_000,
                    "ok": self.count // 2,
                    "failed": 0,
                    "calls": self.count,
                    "cost": sum(self.cost) // 2,
                    "stopped": "SIGTERM",
                    "exit_code": 143,
                },
                {
                    "id": 2,
                    "started_at": 1_790_000_700_000,
                    "duration_ms": 590_000,
                    "ok": self.count // 2 - failed,
                    "failed": failed,
                    "calls": self.count,
                    "cost": sum(self.cost) // 2,
                    "stopped": None,
                    "exit_code": 3,
                },
            ],
            "totals": {
                "rows": {"ok": self.count - failed, "failed": failed, "unfinished": 0},
                "missed_rows": sum(self.missed(row) is not None for row in range(self.count)),
                "prompt_tokens": 220 * self.count,
                "cached_prompt_tokens": 90 * self.count,
                "completion_tokens": 110 * self.count,
                "reasoning_tokens": 20 * self.count,
                "calls": sum(self.calls),
                "attempts": sum(self.calls) + failed * 2,
                "cost": sum(self.cost),
                "replayed_cost": sum(self.cost) // 9,
                "saved_cost": sum(self.cost) // 5,
                "may_be_owed": 0,
                "unpriced": 0,
            },
            "by_model": [
                {
                    "name": "gpt-4.1-mini",
                    "calls": sum(self.calls),
                    "prompt_tokens": 220 * self.count,
                    "cached_prompt_tokens": 90 * self.count,
                    "completion_tokens": 110 * self.count,
                    "cost": sum(self.cost),
                }
            ],
            "by_task": [
                {
                    "name": name,
                    "calls": self.count,
                    "prompt_tokens": 110 * self.count,
                    "cached_prompt_tokens": 0,
                    "completion_tokens": 55 * self.count,
                    "cost": sum(self.cost) // 2,
                    "duration_ms": sum(self.time) // 2,
                    "failures": failed * at,
                    "rows": self.count,
                }
                for at, name in enumerate(("extract", "write"))
            ],
            "by_tier": [],
            "timeline": self.timeline(),
            "histograms": self.histograms(),
            "slowest": sorted(range(self.count), key=lambda row: -self.time[row])[:20],
            "dearest": sorted(range(self.count), key=lambda row: -self.cost[row])[:20],
            "failures": self.failures(),
            "tool_failures": [
                {
                    "tool": "search",
                    "count": 12,
                    "reason": "raised",
                    "error": "ConnectionError: no route",
                    "task": "write",
                }
            ],
            "columns": self.output_columns(),
            "details": {
                "all": self.details == self.count,
                "bound_text": None
                if self.details == self.count
                else f"full texts of {self.details:,} rows are in the page",
                "chunk_of": list(range(0, self.details, DETAIL_ROWS)),
            },
            "comparison": None,
            "scores": [],
            "expectations": [],
        }
        compared = {"comparison": self.comparison(), **self.scores()} if self.compared else {}
        return head | compared | changes

    def timeline(self) -> dict[str, Any]:
        """Two sessions with an outage."""
        draw = random.Random(3)
        rows = [0 if 60 < i < 68 else round(draw.gauss(80, 9)) for i in range(120)]
        return {
            "from": 1_790_000_000_000,
            "step_ms": 10_000,
            "series": {
                "rows": rows,
                "failed": [n // 40 for n in rows],
                "rate_limited": [40 if 20 < i < 26 else 0 for i in range(120)],
                "retries": [4 if 20 < i < 40 else 0 for i in range(120)],
                "in_flight": [64 if n else 0 for n in rows],
            },
            "marks": [
                {"at": 1_790_000_620_000, "kind": "stop", "text": "stopped by SIGTERM"},
                {"at": 1_790_000_700_000, "kind": "session", "text": "session 2 began"},
            ],
        }

    def histograms(self) -> dict[str, Any]:
        """Of time and cost, per row and per task."""
        time, cost = histogram(self.time), histogram(self.cost)
        return {
            "row_time": time,
            "row_cost": cost,
            "tasks": {"extract": {"time": time, "cost": cost}, "write": {"time": time, "cost": cost}},
        }

    def failures(self) -> list[dict[str, Any]]:
        """The failed rows by kind."""
        groups = []
        for at, (category, kind, message, task) in enumerate(FAILURES):
            rows = [row for row in range(self.count) if self.failed[row] and self.failure[row] == at]
            if rows:
                example = {"row": rows[0], "id": self.ids[rows[0]], "message": self.error(rows[0]) or message}
                groups.append(
                    {
                        "fingerprint": f"f{at}",
                        "category": category,
                        "type": kind,
                        "task": task,
                        "count": len(rows),
                        "example": example,
                        "cause": "The provider refused more requests than its limit allows.",
                        "retry_command": f"crewrun retry places.results.jsonl --category {category}",
                    }
                )
        return groups

    def output_columns(self) -> list[dict[str, Any]]:
        """What the outputs have."""
        counts = [[city, self.city.count(at)] for at, city in enumerate(CITIES)]
        totals = [total for total in self.total if total is not None] or [0.0]
        return [
            {
                "key": "output.city",
                "title": "city",
                "kind": "enum",
                "values": [pair for pair in counts if pair[1]],
                "empty_share": 0.02,
            },
            {
                "key": "output.total",
                "title": "total",
                "kind": "number",
                "min": min(totals),
                "max": max(totals),
                "mean": sum(totals) / len(totals),
                "histogram": histogram(totals),
                "empty_share": 0.0,
            },
            {"key": "output.text", "title": "text", "kind": "text", "empty_share": 0.0},
        ]


def histogram(values: list[Any]) -> dict[str, Any]:
    """24 bins from the smallest to the largest value."""
    low, high = min(values, default=0), max(values, default=1)
    width = (high - low) / 24 or 1
    counts = [0] * 24
    for value in values:
        counts[min(23, int((value - low) / width))] += 1
    return {"edges": [round(low + i * width, 2) for i in range(25)], "counts": counts}
