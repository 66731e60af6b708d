"""What of a report is shown: all of it in a pipe, and on a terminal as much as the screen holds.

A `Sheet` has the report's parts; `in_full` and `fitted` make lines of them. `screen` measures and prints lines.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

# What the line says; the screen colours it by that.
Role = Literal["counts", "stop", "failure", "hint", "tool", "note", "results", "next"]

_MOST_TOOLS = 10
_MOST_CAUSES = 3  # of one category; more are seen with `show --failed`


@dataclass(frozen=True, slots=True)
class Line:
    """A line before it is wrapped; further lines of it are indented by `hang`.

    With `is_cut` only what fits on one line of the screen is shown. `action` says what `command` does, which is never
    wrapped, so that it can be copied.
    """

    text: str
    role: Role
    hang: int = 0
    is_cut: bool = False
    action: str = ""
    command: str = ""

    @property
    def in_full(self) -> str:
        """The line as one, for a pipe."""
        action = f"{self.action} {self.command}" if self.command else self.action
        return "; ".join(part for part in (self.text, action) if part)


@dataclass(frozen=True, slots=True)
class Failed:
    """The failed rows of a category: each cause with its count and example, and the hint on the most frequent one."""

    category: str
    count: int
    causes: Sequence[tuple[int, str]]
    hint: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """The parts of a report, in their order. `headline` has the counts and further figures, by importance; `look` and
    `retry` are commands that list the failed rows, and run those of one category again; `page` makes a page of it all.
    """

    headline: Sequence[str]
    stopped: Sequence[Line]
    failed: Sequence[Failed]
    look: str | None
    retry: str | None
    tools: Sequence[Line]
    notes: Sequence[Line]
    results: str | None
    next_step: Line
    missed: Sequence[Line] = ()
    page: str | None = None


@dataclass(frozen=True, slots=True)
class _Detail:
    """How much is shown: the causes of a category, whether texts are cut to a line, how many categories have their hint
    and how many are shown at all, how many tools, expectations and notes; and whether the less important lines are.
    """

    causes: int = _MOST_CAUSES
    cuts_examples: bool = False
    cuts_hints: bool = False
    hints: int = 100
    categories: int = 100
    tools: int = _MOST_TOOLS
    notes: int = 100
    is_rich: bool = True


def in_full(sheet: Sheet) -> list[Line]:
    """All lines, for a pipe or a file."""
    return _lines(sheet, _Detail())


def fitted(sheet: Sheet, lines_of: Callable[[Line], int], height: int) -> list[Line]:
    """The most detailed lines that fit into `height` lines of the screen; `lines_of` says how many one takes."""
    lines: list[Line] = []
    for detail in _from_most_to_least(sheet):
        lines = _lines(sheet, detail)
        if sum(map(lines_of, lines)) <= height:
            break
    return lines


def _from_most_to_least(sheet: Sheet) -> Iterator[_Detail]:
    yield _Detail()
    yield _Detail(tools=3)
    yield _Detail(causes=1, tools=3)
    yield _Detail(causes=1, tools=3, cuts_examples=True)
    yield _Detail(causes=1, tools=3, cuts_examples=True, is_rich=False)
    yield _Detail(causes=1, tools=1, cuts_examples=True, cuts_hints=True, is_rich=False, notes=3)
    yield _Detail(causes=1, tools=0, cuts_examples=True, cuts_hints=True, is_rich=False, notes=1)
    most = len(sheet.failed)
    for hints in range(most, -1, -1):
        yield _Detail(1, True, True, hints, most, tools=0, notes=0, is_rich=False)
    for categories in range(most - 1, -1, -1):
        yield _Detail(1, True, True, 0, categories, tools=0, notes=0, is_rich=False)


def _lines(sheet: Sheet, detail: _Detail) -> list[Line]:
    figures = " · ".join(sheet.headline)
    lines = [Line(figures, "counts", hang=2, is_cut=not detail.is_rich)]
    for place, failed in enumerate(sheet.failed[: detail.categories]):
        lines += _failed_lines(failed, detail, has_hint=place < detail.hints)
    if others := sheet.failed[detail.categories :]:
        words = ", ".join(f"{one.count:,} × {one.category}" for one in others)
        lines.append(Line(f"  {words}", "failure", hang=6, is_cut=True))
    if sheet.look and detail.is_rich:
        lines.append(Line("", "note", action="  to see them all:", command=sheet.look))
    if sheet.retry and detail.is_rich:
        lines.append(Line("", "note", action="  to run one kind of them again:", command=sheet.retry))
    if sheet.page and detail.is_rich:
        lines.append(Line("", "note", action="  to see all rows on a page:", command=sheet.page))
    lines += sheet.tools[: detail.tools]
    if more := len(sheet.tools) - detail.tools:
        lines += [Line(f"  {more:,} more kinds of failed calls of tools", "tool")] if more > 0 and detail.tools else []
    lines += sheet.missed[: detail.tools]
    if more := len(sheet.missed) - detail.tools:
        lines += [Line(f"  {more:,} more expectations", "tool")] if more > 0 and detail.tools else []
    lines += sheet.notes[: detail.notes]
    return [*lines, *sheet.stopped, *_ending(sheet, is_rich=detail.is_rich)]


def _failed_lines(failed: Failed, detail: _Detail, *, has_hint: bool) -> Iterator[Line]:
    title = f"  {failed.count:,} × {failed.category}"
    shown = failed.causes[: detail.causes]
    more = len(failed.causes) - len(shown)
    if len(shown) == 1:
        such_as = ", such as" if more else ":"
        yield Line(f"{title}{such_as} {shown[0][1]}", "failure", hang=6, is_cut=detail.cuts_examples)
    else:
        yield Line(f"{title}:", "failure")
        for count, example in shown:
            yield Line(f"      {count:,} × {example}", "failure", hang=10, is_cut=detail.cuts_examples)
        if more:
            yield Line(f"      and {more:,} more kinds", "failure")
    if has_hint:
        yield Line(f"      → {failed.hint}", "hint", hang=8, is_cut=detail.cuts_hints)


def _ending(sheet: Sheet, *, is_rich: bool) -> Iterator[Line]:
    """The results and the counts again: on one line when there is nothing to do, or no room."""
    next_step = sheet.next_step
    if sheet.results and next_step.command and is_rich:
        yield Line(sheet.results, "results", hang=2)
        yield next_step
    elif sheet.results:
        yield replace(next_step, text=f"{next_step.text}; {sheet.results}")
    elif next_step.command or sheet.failed or sheet.tools or sheet.missed or sheet.notes or sheet.stopped:
        yield next_step
