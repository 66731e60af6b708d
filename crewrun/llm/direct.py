"""`ask`: a question to a model without an agent, as `LLM.call` puts it: one reply, or one round of tools.

`crew/perform.py` takes the turns with tools until an agent has its answer.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import BaseModel

from crewrun.aio import concurrency
from crewrun.errors import CustomModelFailed, OutputInvalid, SchemaRefused, suggest
from crewrun.hooks.dispatch import has_hooks
from crewrun.hooks.scope import Site
from crewrun.llm.conversation import as_messages, may_read_files
from crewrun.llm.custom.model import Given, as_plain, given_call
from crewrun.llm.custom.replies import IS_INSTANCE
from crewrun.llm.gateway import Gateway
from crewrun.llm.hooked import complete_hooked
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.replies.json_values import decode_written
from crewrun.llm.replies.written_calls import find_calls
from crewrun.llm.schema import NotValid, OutputSchema, repair_prompt, schema_prompt
from crewrun.llm.shared_gateway import open_gateway
from crewrun.llm.transports.chat_json import message_on_wire
from crewrun.messages import Completion, Message, ReplySchema, ToolCall, ToolSpec, with_text
from crewrun.row_context import RowContext, new_row_context

_Functions = Mapping[str, Callable[..., Any]]


class Question(NamedTuple):
    """What a model is asked. `functions` run the `tools`; a reply to a `schema` is validated."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    functions: _Functions = MappingProxyType({})
    schema: OutputSchema | None = None

    @classmethod
    def of(
        cls,
        messages: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        functions: _Functions | None,
        model: object,
    ) -> "Question":
        """The arguments of `LLM.call` as a question; local files of the messages are read.

        Raises TypeError that says which of them does not fit, InputInvalid for a file that cannot be had.
        """
        asked = (Message("user", messages),) if isinstance(messages, str) else as_messages(messages, "a model's call")
        schema = None
        if model is not None:
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                raise TypeError(f"response_model is a pydantic class, not {model!r}")
            schema = OutputSchema.of_model(model, "pydantic", "response_model")
            asked = (*asked[:-1], with_text(asked[-1], schema_prompt(schema.text)))
        specs = tuple(_as_spec(one, i) for i, one in enumerate(tools or ()))
        functions = functions or {}
        for spec in specs:
            if spec.name not in functions:
                near = suggest(spec.name, list(functions))
                raise TypeError(
                    f"tools: available_functions has nothing to run {spec.name!r}{near}; "
                    f"call with available_functions={{{spec.name!r}: function}}, or let an Agent use the tool"
                )
        return cls(asked, specs, functions, schema)


async def ask_model(
    llm: ModelFields,
    messages: str | Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    functions: _Functions | None,
    model: object,
) -> Any:
    """`LLM.acall` of a model that crewrun calls: see there. `model` is the class of the reply, None for a text."""
    given = (messages, tools, functions, model)
    question = await concurrency.call(Question.of, *given) if may_read_files(messages) else Question.of(*given)
    return await ask(llm, question)


async def ask(llm: ModelFields, question: Question) -> Any:
    """The reply's text, or an instance of the schema's class; what a tool gave, as text, if the reply asks for one.

    Raises CallError, OutputInvalid for a reply that is empty or does not validate, and what a tool raises.
    """
    row_context = new_row_context()
    async with open_gateway() as gateway:
        completion = await _complete(gateway, llm, question, row_context)
        if completion.tool_calls and question.functions:
            return await _run(completion.tool_calls[0], question.functions)
        text = _some(completion)
        if question.functions and (written := _written_call(text, question)):
            return await _run(written, question.functions)
        if question.schema is None:
            return text
        try:
            return question.schema.read(text).instance
        except NotValid as invalid:
            repair = Message("user", repair_prompt(str(invalid), question.schema.text))
        again = question._replace(messages=(*question.messages, Message("assistant", text), repair), tools=())
        return _read(_some(await _complete(gateway, llm, again, row_context)), question.schema)


async def ask_custom(llm: ModelFields, given: Given) -> Any:
    """What a model of the user's own returns to the arguments that their code calls it with, as a call of the run.

    Where the run has another model in its place, that one is asked. Raises what the model's code raises.
    """
    messages, *_ = (*given.args, given.kwargs.get("messages"))
    async with open_gateway() as gateway:
        if gateway.endpoint(llm).transport_name != "custom":
            return await _ask_instead(as_plain(llm), *given.args, **given.kwargs)
        asked = (Message("user", messages),) if isinstance(messages, str) else as_messages(messages, "a model's call")
        token = given_call.set(given)
        try:
            completion = await gateway.complete(llm, asked, new_row_context())
        except CustomModelFailed as failed:
            raise failed.__cause__ or failed from None
        finally:
            given_call.reset(token)
    return _as_returned(completion, given.kwargs.get("response_model"))


async def _ask_instead(
    llm: ModelFields,
    messages: str | Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    callbacks: object = None,
    available_functions: _Functions | None = None,
    from_task: object = None,
    from_agent: object = None,
    response_model: type[BaseModel] | None = None,
) -> Any:
    """The arguments of a `call`, put to the run's model."""
    return await ask_model(llm, messages, tools, available_functions, response_model or llm.reply_model)


def _as_returned(completion: Completion, model: type[BaseModel] | None) -> Any:
    """What the user's code gets: the text, the instance that it was, or calls of tools in OpenAI's form."""
    if completion.tool_calls:
        return message_on_wire(Message("assistant", "", completion.tool_calls))["tool_calls"]
    if completion.carried == IS_INSTANCE and model is not None:
        return model.model_validate_json(completion.text)
    return completion.text


async def _complete(gateway: Gateway, llm: ModelFields, question: Question, row_context: RowContext) -> Completion:
    # With tools the schema stays in words: a reply that asks for one is no answer to it.
    wire = question.schema.wire if question.schema is not None and not question.tools else None
    if wire is not None and not gateway.takes_schema(llm, wire):
        wire = None
    try:
        return await _complete_once(gateway, llm, question, row_context, wire)
    except SchemaRefused:
        return await _complete_once(gateway, llm, question, row_context, None)


async def _complete_once(
    gateway: Gateway, llm: ModelFields, question: Question, row_context: RowContext, schema: ReplySchema | None
) -> Completion:
    if not has_hooks():
        return await gateway.complete(llm, question.messages, row_context, tools=question.tools, schema=schema)
    tools, site = question.tools, Site()  # it is no agent's call, whoever's tool makes it
    completion, _ = await complete_hooked(
        gateway, llm, question.messages, row_context, site=site, tools=tools, schema=schema
    )
    return completion


def _some(completion: Completion) -> str:
    if not completion.text.strip():
        raise OutputInvalid("the model's answer is empty", http_status=200)
    return completion.text


def _read(text: str, schema: OutputSchema) -> BaseModel | None:
    try:
        return schema.read(text).instance
    except NotValid as invalid:
        error = OutputInvalid(f"the answer does not validate, nor did its repair: {invalid}")
        error.raw = text
        raise error from None


def _written_call(text: str, question: Question) -> ToolCall | None:
    """The first tool that the reply's text asks for, where the server did not see that it does."""
    schema = question.schema.text if question.schema is not None else ""
    calls = find_calls(text, lambda name: _meant(name, question.functions), schema)
    return ToolCall("", calls[0].name, calls[0].arguments) if calls else None


def _meant(name: str, functions: _Functions) -> str | None:
    return next((one for one in (name.strip(), name.strip().rpartition(".")[2]) if one in functions), None)


async def _run(asked: ToolCall, functions: _Functions) -> str:
    """What the first tool that the model asks for gives, as CrewAI has it."""
    function = functions.get(asked.name)
    if function is None:
        near = suggest(asked.name, list(functions))
        raise OutputInvalid(f"the model asks for a tool {asked.name!r}, which available_functions does not have{near}")
    try:
        arguments = decode_written(asked.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        error = OutputInvalid(f"the model asks for tool {asked.name!r} with arguments that are no JSON object")
        error.raw = asked.arguments
        raise error
    # Bound by a function of no parameters, since the tool's own may have the name of one of `call`.
    return str(await concurrency.call(lambda: function(**arguments)))


def _as_spec(given: Any, position: int) -> ToolSpec:
    """A tool as OpenAI's chat completions have it, with or without the `function` around it."""
    fields = given.get("function", given) if isinstance(given, Mapping) else {}
    name = fields.get("name") if isinstance(fields, Mapping) else None
    if not isinstance(name, str):
        raise TypeError(
            f"tools[{position}] is no mapping with `name`, `description` and `parameters` (a JSON Schema), as OpenAI's "
            "chat completions have them; an Agent takes tools of other kinds"
        )
    return ToolSpec(name, fields.get("description") or "", fields.get("parameters") or {"type": "object"})
