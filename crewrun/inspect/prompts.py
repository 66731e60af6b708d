"""Rebuilds prompts from the crew and what its run recorded, because the journal does not store them.

A prompt is composed as the crew composes it, from the row's inputs, the outputs of earlier tasks, recorded replies and
tool results or failures. It counts as proven only if its request identity equals the recorded one: then it is what was
sent, word for word. No guardrail, callback or tool is called, so prompts that contain their results and were not
recorded cannot be rebuilt.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any, NamedTuple

from crewrun.crew.crew import Crew
from crewrun.crew.output import TaskOutput
from crewrun.crew.process import context_of
from crewrun.crew.prompts import FINAL_ANSWER_NOW, Prompt
from crewrun.crew.task import Task
from crewrun.crew.task_run import TaskAssignment, opening
from crewrun.crew.text_protocol import Actions, explain_tools, read_reply, turns
from crewrun.fingerprint import fingerprint
from crewrun.journal.replies import read_answer, read_text
from crewrun.journal.schema import FAILURE, TOOL, TOOL_FAILURE, CallEntry
from crewrun.llm.gateway import Gateway
from crewrun.llm.request_identity import tool_identity
from crewrun.messages import ChatRequest, Completion, Message, relaxed
from crewrun.tools.toolbox import wire_name

Name = Callable[[int | str], str]

# A tool may have returned something different in each session, so a turn has several possible continuations. A prompt
# beyond this many combinations is shown as not rebuilt; trying all would grow with the product of the results.
_MAX_COMBINATIONS = 16


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The `prompts` that could be rebuilt and proven, by the numbers of their calls. `unrecorded` are the tools whose
    results are missing for the others.
    """

    prompts: dict[int, tuple[Message, ...]] = field(default_factory=dict)
    unrecorded: dict[str, None] = field(default_factory=dict)


def rebuild(
    crew: Crew,
    inputs: Mapping[str, Any],
    outputs: Iterable[tuple[str, str]],
    calls: Sequence[CallEntry],
    gateway: Gateway,
    name: Name,
) -> Rebuilt:
    """The prompts of a row's calls.

    `outputs` are the row's finished tasks, by their names. Raises InputInvalid when the inputs do not fit the crew,
    UsageError when a model cannot be resolved.
    """
    outputs_by_task: dict[str, deque[str]] = {}
    for task_name, output in outputs:
        outputs_by_task.setdefault(task_name, deque()).append(output)
    rebuilt = Rebuilt()
    results = _Results(calls, name, rebuilt.unrecorded)
    finished: dict[Task, TaskOutput] = {}
    before: dict[Task, TaskOutput] = {}  # what consecutive async tasks see
    was_async = False
    for assignment in crew.assignments(inputs, gateway):
        task = assignment.task
        if not (task.async_execution and was_async):
            before = dict(finished)
        was_async = task.async_execution
        mine = [entry for entry in calls if not _is_of_tool(entry) and name(entry.task) == assignment.name]
        if mine:  # else the row did not get to this task, and its context may be incomplete
            contexts = {context_of(task, seen, crew.tasks) for seen in (finished, before)}
            rebuilt.prompts.update(_Talk(assignment, contexts, gateway, results).follow(mine))
        if left := outputs_by_task.get(assignment.name):
            finished[task] = TaskOutput(
                raw=left.popleft(), description=assignment.texts.description, agent=assignment.texts.persona.role
            )
    return rebuilt


def _is_of_tool(entry: CallEntry) -> bool:
    return entry.kind in (TOOL, TOOL_FAILURE)


class _Results:
    """The recorded texts that models got for tool calls: results and error messages."""

    def __init__(self, calls: Iterable[CallEntry], name: Name, unrecorded: dict[str, None]) -> None:
        self._unrecorded = unrecorded
        self._texts: dict[tuple[str, bytes], dict[str, None]] = {}
        for entry in calls:
            if _is_of_tool(entry):
                self._texts.setdefault((name(entry.task), entry.request), {})[read_text(entry)] = None

    def texts(self, assignment: TaskAssignment, tool_name: str, arguments: str) -> list[str]:
        """Every text that one call was answered with, in any session; empty when none was recorded."""
        tool = assignment.toolbox.tools.get(wire_name(tool_name))
        version = fingerprint(tool) if tool is not None else ""
        identity = tool_identity(version, wire_name(tool_name), arguments)
        texts = list(self._texts.get((assignment.name, identity), ()))
        if not texts:
            self._unrecorded[tool.name if tool is not None else tool_name] = None
        return texts


class _Turn(NamedTuple):
    messages: tuple[Message, ...]
    in_words: bool


class _Talk:
    """One task's conversation. `_expected` has the requests that may come next, by their identities."""

    def __init__(
        self, assignment: TaskAssignment, contexts: Iterable[str], gateway: Gateway, results: _Results
    ) -> None:
        self._assignment = assignment
        self._endpoint = gateway.endpoint(assignment.agent.model)
        self._results = results
        self._identities = gateway.identities
        self._expected: dict[bytes, _Turn] = {}
        for context in contexts:
            prompt = opening(assignment, context)
            self._expect(_Turn(prompt.messages(), in_words=False))
            if assignment.toolbox.specs:
                self._expect(_Turn(_with_tools_in_words(prompt, assignment).messages(), in_words=True))

    def follow(self, calls: Iterable[CallEntry]) -> dict[int, tuple[Message, ...]]:
        """The prompts of those calls that can be proven."""
        proven: dict[int, tuple[Message, ...]] = {}
        for entry in calls:
            turn = self._expected.get(entry.request)
            if turn is None:
                continue
            proven[entry.seq] = turn.messages
            for more in self._reactions(turn, read_answer(entry)) if entry.kind != FAILURE else ():
                self._expect(turn._replace(messages=(*turn.messages, *more)))
        return proven

    def _expect(self, turn: _Turn) -> None:
        for request, messages in self._requests(turn):
            for identity in self._identities.all_of(request):
                self._expected.setdefault(identity, turn._replace(messages=messages))

    def _requests(self, turn: _Turn) -> Iterator[tuple[ChatRequest, tuple[Message, ...]]]:
        """The forms in which a turn may have been sent: with tools or a schema, without them, and as the last turn."""
        assignment, messages = self._assignment, turn.messages
        schema = assignment.schema.wire if assignment.schema else None
        if assignment.toolbox.specs:
            if not turn.in_words:
                yield ChatRequest(self._endpoint, messages, assignment.toolbox.specs), messages
            last = (*messages, Message("user", FINAL_ANSWER_NOW))
            yield ChatRequest(self._endpoint, last), last
        elif schema is not None:
            for form in {schema, relaxed(schema)}:
                yield ChatRequest(self._endpoint, messages, (), form), messages
        yield ChatRequest(self._endpoint, messages), messages

    def _reactions(self, turn: _Turn, answer: Completion) -> Iterator[tuple[Message, ...]]:
        """The messages that may follow an answer that calls tools: the answer and the recorded results."""
        if answer.tool_calls:
            texts = [self._results.texts(self._assignment, call.name, call.arguments) for call in answer.tool_calls]
            message = Message("assistant", answer.text, answer.tool_calls, carried=answer.carried)
            for results in islice(product(*texts), _MAX_COMBINATIONS):
                pairs = zip(answer.tool_calls, results, strict=True)
                yield message, *(Message("tool", text, tool_call_id=call.id) for call, text in pairs)
            return
        toolbox, schema = self._assignment.toolbox, self._assignment.schema
        reply = read_reply(
            answer.text, toolbox.resolve, schema.text if schema is not None else "", in_words=turn.in_words
        )
        if isinstance(reply, Actions):
            texts = [self._results.texts(self._assignment, call.tool, call.arguments) for call in reply.calls]
            for results in islice(product(*texts), _MAX_COMBINATIONS):
                yield turns(reply, list(results))


def _with_tools_in_words(prompt: Prompt, assignment: TaskAssignment) -> Prompt:
    """The prompt as `crewrun.crew.perform` sends it to a model that does not support tools."""
    explained = explain_tools(assignment.toolbox.specs)
    if prompt.system is None:
        return prompt._replace(before=f"{explained}\n\n{prompt.before}")
    return prompt._replace(system=f"{prompt.system}\n\n{explained}")
