"""`ask`: a question to a model without an agent, for `LLM.call`: one reply, or one round of tools.

`crew/perform.py` has the loop of turns with tools that an agent needs.
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
from crewrun.llm.custom.model import CallArguments, as_plain, given_call
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


class DirectQuestion(NamedTuple):
    """A question to a model. `functions` run the `tools`; a reply to a `schema` is validated."""

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
    ) -> "DirectQuestion":
        """The arguments of `LLM.call` as a question; local files of the messages are read.

        Raises TypeError for an argument that does not fit, InputInvalid for a file that cannot be read.
        """
        turns = (Message("user", messages),) if isinstance(messages, str) else as_messages(messages, "a model's call")
        schema = None
        if model is not None:
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                raise TypeError(f"response_model is a pydantic class, not {model!r}")
            schema = OutputSchema.of_model(model, "pydantic", "response_model")
            turns = (*turns[:-1], with_text(turns[-1], schema_prompt(schema.text)))
        specs = tuple(_as_spec(one, i) for i, one in enumerate(tools or ()))
        functions = functions or {}
        for spec in specs:
            if spec.name not in functions:
                near = suggest(spec.name, list(functions))
                raise TypeError(
                    f"tools: available_functions has nothing to run {spec.name!r}{near}; "
                    f"call with available_functions={{{spec.name!r}: function}}, or let an Agent use the tool"
                )
        return cls(turns, specs, functions, schema)


async def ask_model(
    llm: ModelFields,
    messages: str | Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    functions: _Functions | None,
    model: object,
) -> Any:
    """`LLM.acall` of a model that crewrun calls. `model` is the class of the reply, None for a text."""
    arguments = (messages, tools, functions, model)
    if may_read_files(messages):
        question = await concurrency.call(DirectQuestion.of, *arguments)
    else:
        question = DirectQuestion.of(*arguments)
    return await ask(llm, question)


async def ask(llm: ModelFields, question: DirectQuestion) -> Any:
    """The reply's text, or an instance of the schema's class; the result of a tool as text, if the reply asks for one.

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
        second = question._replace(messages=(*question.messages, Message("assistant", text), repair), tools=())
        return _read(_some(await _complete(gateway, llm, second, row_context)), question.schema)


async def ask_custom(llm: ModelFields, arguments: CallArguments) -> Any:
    """The result of a model of the user's own, called with the arguments of their code, as a call of the run.

    If the run replaces it by another model, that one is called. Raises what the model's code raises.
    """
    messages, *_ = (*arguments.args, arguments.kwargs.get("messages"))
    async with open_gateway() as gateway:
        if gateway.endpoint(llm).transport_name != "custom":
            return await _ask_instead(as_plain(llm), *arguments.args, **arguments.kwargs)
        turns = (Message("user", messages),) if isinstance(messages, str) else as_messages(messages, "a model's call")
        token = given_call.set(arguments)
        try:
            completion = await gateway.complete(llm, turns, new_row_context())
        except CustomModelFailed as failed:
            raise failed.__cause__ or failed from None
        finally:
            given_call.reset(token)
    return _as_returned(completion, arguments.kwargs.get("response_model"))


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
    """A `call` with these arguments, of the run's model."""
    return await ask_model(llm, messages, tools, available_functions, response_model or llm.reply_model)


def _as_returned(completion: Completion, model: type[BaseModel] | None) -> Any:
    """The result for the user's code: a text, an instance of `model`, or tool calls in OpenAI's format."""
    if completion.tool_calls:
        return message_on_wire(Message("assistant", "", completion.tool_calls))["tool_calls"]
    if completion.carried == IS_INSTANCE and model is not None:
        return model.model_validate_json(completion.text)
    return completion.text


async def _complete(
    gateway: Gateway, llm: ModelFields, question: DirectQuestion, row_context: RowContext
) -> Completion:
    # With tools the schema is only in the prompt: a reply that asks for a tool would not fit it.
    wire = question.schema.wire if question.schema is not None and not question.tools else None
    if wire is not None and not gateway.takes_schema(llm, wire):
        wire = None
    try:
        return await _complete_once(gateway, llm, question, row_context, wire)
    except SchemaRefused:
        return await _complete_once(gateway, llm, question, row_context, None)


async def _complete_once(
    gateway: Gateway, llm: ModelFields, question: DirectQuestion, row_context: RowContext, schema: ReplySchema | None
) -> Completion:
    if not has_hooks():
        return await gateway.complete(llm, question.messages, row_context, tools=question.tools, schema=schema)
    tools, site = question.tools, Site()  # not an agent's call, even if an agent's tool makes it
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


def _written_call(text: str, question: DirectQuestion) -> ToolCall | None:
    """The first tool call written in the reply's text, which the server did not recognise."""
    schema = question.schema.text if question.schema is not None else ""
    calls = find_calls(text, lambda name: _function_named(name, question.functions), schema)
    return ToolCall("", calls[0].name, calls[0].arguments) if calls else None


def _function_named(name: str, functions: _Functions) -> str | None:
    return next((one for one in (name.strip(), name.strip().rpartition(".")[2]) if one in functions), None)


async def _run(call: ToolCall, functions: _Functions) -> str:
    """The result of the first tool that the model asks for, as with CrewAI."""
    function = functions.get(call.name)
    if function is None:
        near = suggest(call.name, list(functions))
        raise OutputInvalid(f"the model asks for a tool {call.name!r}, which available_functions does not have{near}")
    try:
        arguments = decode_written(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        error = OutputInvalid(f"the model asks for tool {call.name!r} with arguments that are no JSON object")
        error.raw = call.arguments
        raise error
    # A lambda, since the tool's parameters may have the names of those of `concurrency.call`.
    return str(await concurrency.call(lambda: function(**arguments)))


def _as_spec(tool: Any, position: int) -> ToolSpec:
    """A tool in the format of OpenAI's chat completions, with or without the `function` around it."""
    fields = tool.get("function", tool) if isinstance(tool, Mapping) else {}
    name = fields.get("name") if isinstance(fields, Mapping) else None
    if not isinstance(name, str):
        raise TypeError(
            f"tools[{position}] is no mapping with `name`, `description` and `parameters` (a JSON Schema), as OpenAI's "
            "chat completions have them; an Agent takes tools of other kinds"
        )
    return ToolSpec(name, fields.get("description") or "", fields.get("parameters") or {"type": "object"})
