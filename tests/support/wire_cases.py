"""What providers really send, case by case, with what a row must come to.

Statuses, codes and forms follow providers' documents and what was seen of their servers; the wordings are our own
examples of each kind, several of them for a kind, so that nothing is read by one wording alone. Sources by kind:
https://platform.openai.com/docs/guides/error-codes, https://docs.anthropic.com/en/api/errors,
https://ai.google.dev/gemini-api/docs/troubleshooting, https://console.groq.com/docs/errors,
https://openrouter.ai/docs/api-reference/errors, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from support.wire_server import ROW, TOOL, Reply, Script, Shape, completion, tool_call

Crew = Literal["plain", "tools", "words", "schema"]
# How many requests a row of each crew takes when nothing happens.
USUAL = {"plain": 1, "tools": 2, "words": 2, "schema": 1}
OK = f"ok: {ROW}"


@dataclass(frozen=True, slots=True)
class Case:
    """A row's replies and its end, with `--retries 1`.

    `category` is the failed row's, several with `|` between them where more than one is right, None for a row that
    succeeds; with it comes exit code 3. `attempts` are the requests with the row's text, `or_more` where further ones
    are right too. `probes` is how many requests without it there may be at most. `output` is the text of the answer.
    `words` are what the tool was called with, in any order; None is not looked at. `field` is something that the row's
    task says.
    """

    id: str
    script: Script
    crew: Crew = "plain"
    category: str | None = None
    attempts: int = 1
    or_more: bool = False
    probes: int = 0
    output: str = OK
    words: tuple[str, ...] | None = None
    field: tuple[str, Any] | None = None

    @property
    def code(self) -> int:
        """The exit code of a run whose other rows all succeed."""
        return 0 if self.category is None else 3

    @property
    def decides_alone(self) -> bool:
        """Whether nothing about the endpoint has to be found out for it, so that other cases may run beside it."""
        return self.probes == 0


def error(status: int, message: Any, code: Any = None, kind: Any = None, **headers: str) -> Reply:
    """A refusal as OpenAI words it."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Reply(status, body, _named(headers))


def raw(status: int, body: Any, **headers: str) -> Reply:
    """Any other body."""
    return Reply(status, body, _named(headers))


def html(status: int, title: str, **headers: str) -> Reply:
    """A page of a proxy or a firewall."""
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Reply(status, page.encode(), {"Content-Type": "text/html", **_named(headers)})


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


# What becomes of a row


def answered(name: str, *replies: Reply, **more: Any) -> Case:
    """One request more for each reply but the last, which is the answer."""
    return Case(name, Script(replies), attempts=more.pop("attempts", len(replies)), **more)


def passes(name: str, *replies: Reply, **more: Any) -> Case:
    """Each of the replies is followed by another attempt; the one after them is answered."""
    crew: Crew = more.get("crew", "plain")
    shape: Shape = more.pop("shape", "any")
    return Case(name, Script(replies, shape=shape), attempts=USUAL[crew] + len(replies), **more)


def alone(name: str, category: str, reply: Reply, **more: Any) -> Case:
    """The row fails at once, and nobody has to find out anything."""
    shape: Shape = more.pop("shape", "any")
    return Case(name, Script((reply,), lasts=True, shape=shape), category=category, **more)


def in_vain(name: str, category: str, reply: Reply, **more: Any) -> Case:
    """The row is tried again as often as --retries says, and fails. A probe may tell whether anybody is there."""
    more = {"attempts": 2, "or_more": True, "probes": 1 if category.startswith(("server", "network")) else 0} | more
    return Case(name, Script((reply,), lasts=True), category=category, **more)


def doubted(name: str, category: str, reply: Reply, **more: Any) -> Case:
    """It may be about everybody: a probe tells, the row is tried once more for a 401, 403 or 404, and fails alone."""
    attempts = 2 if reply.status in (401, 403, 404) else 1
    more = {"attempts": attempts, "probes": 1} | more
    shape: Shape = more.pop("shape", "any")
    return Case(name, Script((reply,), lasts=True, shape=shape), category=category, **more)


# 1. How a reply ends

WHOLE = (None, "stop", "STOP", "eos", "EOS_TOKEN", "end_turn", "stop_sequence", "tool_calls", "function_call", "Stop")
CUT_OFF = ("length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length")
FILTERED = ("content_filter", "SAFETY", "safety", "sensitive", "RECITATION", "PROHIBITED_CONTENT", "blocklist")
FAILED = (
    *("error", "ERROR", "server_error", "abort", "cancelled", "canceled", "load", "overloaded", "network_error"),
    *("insufficient_system_resource", "MALFORMED_FUNCTION_CALL", "timeout", "internal_error", "upstream_error"),
)


def _word(reason: str | None) -> str:
    return str(reason).lower().replace("_", "-") + ("-upper" if str(reason).isupper() else "")


FINISHES = [
    *(answered(f"ends-{i}-{_word(why)}", Reply(body=completion(OK, why))) for i, why in enumerate(WHOLE)),
    *(answered(f"ends-{_word(why)}", Reply(body=completion(OK, why)), field=("truncated", True)) for why in CUT_OFF),
    *(alone(f"ends-{_word(why)}", "content_filter", Reply(body=completion("I can", why))) for why in FILTERED),
    *(alone(f"ends-{_word(why)}-empty", "content_filter", Reply(body=completion("", why))) for why in FILTERED[:3]),
    alone("refusal", "content_filter", Reply(body=completion(None, refusal="I cannot help with that."))),
    alone("refusal-beside-text", "content_filter", Reply(body=completion("", refusal="Not this one, sorry."))),
    *(passes(f"ends-{_word(why)}", Reply(body=completion("half of an ans", why))) for why in FAILED),
    passes("ends-error-empty", Reply(body=completion(None, "error"))),
    in_vain("ends-error-always", "server", Reply(body=completion("half of an ans", "error"))),
    answered("ends-unknown", Reply(body=completion(OK, "rounded_off"))),
    passes(
        "ends-error-tool-call",
        Reply(body=completion(None, "error", tool_calls=[tool_call('{"word": "partial"}', id="c1")])),
        crew="tools",
        words=(ROW,),
    ),
    passes(
        "ends-malformed-function-call",
        Reply(body=completion("print(look_up(", "MALFORMED_FUNCTION_CALL")),
        crew="tools",
        words=(ROW,),
    ),
]


def inside(inner: Any, **outer: Any) -> Reply:
    """A 200 with an error in it."""
    return Reply(200, {"error": inner, **outer})


def in_choice(inner: Any, text: Any = "half of an ans", finish_reason: Any = "error") -> Reply:
    """A 200 with an error in its choice."""
    body = completion(text, finish_reason)
    body["choices"][0]["error"] = inner
    return Reply(200, body)


_UPSTREAM = {"code": 502, "message": "The provider behind this gateway broke off"}
_WHOLE_BODY = completion(OK)

ERRORS_IN_A_200 = [
    passes("in-200-502", inside(_UPSTREAM)),
    passes("in-200-502-null-choices", inside(_UPSTREAM, choices=None)),
    passes("in-200-502-no-choices", inside(_UPSTREAM, choices=[])),
    passes("in-200-502-text", inside({"code": "502", "message": "Bad gateway"})),
    passes("in-200-503-array", Reply(body=[{"error": {"code": 503, "message": "Busy", "status": "UNAVAILABLE"}}])),
    passes("in-200-429", inside({"code": 429, "message": "Slow down, please"})),
    passes("in-200-429-null-choices", inside({"code": 429, "message": "Too many requests"}, choices=None)),
    passes("in-200-rate-code", inside({"code": "rate_limit_exceeded", "message": "Requests per minute used up"})),
    passes("in-200-type-overloaded", inside({"type": "overloaded_error", "message": "Overloaded"})),
    passes("in-200-string", inside("the model has crashed")),
    passes("in-200-beside-choices", Reply(body=completion("half of an") | {"error": _UPSTREAM})),
    passes("in-choice-502", in_choice(_UPSTREAM)),
    passes("in-choice-429", in_choice({"code": 429, "message": "Upstream is rate limited"}, "")),
    passes("in-choice-stop", in_choice({"code": 504, "message": "Upstream timed out"}, "half of", "stop")),
    passes("in-choice-null-message", Reply(body=completion("") | {"choices": [{"index": 0, "error": _UPSTREAM}]})),
    passes("in-200-message-null", Reply(body=completion("") | {"choices": [{"index": 0, "message": None}]})),
    passes("in-200-choice-null", Reply(body=completion("") | {"choices": [None]})),
    passes("in-200-no-choice-at-all", Reply(body=completion("") | {"choices": []})),
    passes("in-200-nothing", Reply(body={})),
    passes("in-200-null", Reply(body=b"null")),
    alone("in-200-400", "bad_request", inside({"code": 400, "message": "top_p must be at most 1"})),
    alone("in-200-400-empty-choices", "bad_request", inside({"code": 400, "message": "bad value"}, choices=[])),
    alone("in-choice-400", "bad_request", in_choice({"code": 400, "message": "unknown field 'seeds'"}, None)),
    alone(
        "in-200-moderation",
        "content_filter",
        inside({"code": 403, "message": "Flagged", "metadata": {"reasons": ["violence"], "flagged_input": "topic"}}),
    ),
    alone(
        "in-200-context",
        "context_length",
        inside({"code": 400, "message": "This endpoint's maximum context length is 8192 tokens; you sent 9000"}),
    ),
    doubted("in-200-402", "quota", inside({"code": 402, "message": "This key has no credits left"})),
    doubted("in-200-401", "auth", inside({"code": 401, "message": "No such user"}), attempts=2),
    answered("in-200-error-null", Reply(body=_WHOLE_BODY | {"error": None})),
    answered("in-200-error-empty", Reply(body=_WHOLE_BODY | {"error": {}})),
    answered("in-200-error-blank", Reply(body=_WHOLE_BODY | {"error": ""})),
    answered("in-201", Reply(201, _WHOLE_BODY)),
    answered("in-202", Reply(202, _WHOLE_BODY)),
    answered("in-203", Reply(203, _WHOLE_BODY)),
]


def _sse(text: str) -> bytes:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\ndata: [DONE]\n\n".encode()


GARBAGE = [
    passes("garbage-html", html(200, "Please log in")),
    passes("garbage-empty", Reply(200, b"")),
    passes("garbage-text", Reply(200, b"OK")),
    passes("garbage-number", Reply(200, b"17")),
    passes("garbage-half-json", Reply(200, json.dumps(_WHOLE_BODY).encode()[:90])),
    passes("garbage-not-gzip", Reply(200, b"this is not compressed", {"Content-Encoding": "gzip"})),
    passes(
        "garbage-half-gzip",
        Reply(200, gzip.compress(json.dumps(_WHOLE_BODY).encode())[:60], {"Content-Encoding": "gzip"}),
    ),
    passes("garbage-stream", Reply(200, _sse("ok"), {"Content-Type": "text/event-stream"})),
    passes("garbage-204", Reply(204, b"")),
    passes("broken-cut", Reply(body=_WHOLE_BODY, manner="cut")),
    passes("broken-reset", Reply(manner="reset")),
    passes("broken-closed", Reply(manner="closed")),
    answered("slow-body", Reply(body=_WHOLE_BODY, manner="slow")),
    in_vain("garbage-always", "server", Reply(200, b"<html>Under construction</html>")),
    in_vain("broken-always", "network|server", Reply(body=_WHOLE_BODY, manner="cut")),
]

EMPTY = [
    passes("empty-once", Reply(body=completion(""))),
    passes("empty-null", Reply(body=completion(None))),
    passes("empty-blank", Reply(body=completion(" \n\t "))),
    passes("empty-parts", Reply(body=completion([]))),
    passes("empty-after-thinking", Reply(body=completion("<think>Nothing comes to mind.</think>\n\n"))),
    passes("empty-unclosed-thinking", Reply(body=completion("<think>Let me see, and see, and"))),
    in_vain("empty-always", "output_invalid", Reply(body=completion("")), or_more=False),
    alone("empty-length", "output_invalid", Reply(body=completion("", "length"))),
    alone("empty-length-null", "output_invalid", Reply(body=completion(None, "max_tokens"))),
]

# 1. Reasoning


def thought(name: str, text: str, crew: Crew = "plain", **more: Any) -> Case:
    """A reply with a draft in it, which is not the answer."""
    return answered(f"draft-{name}", Reply(body=completion(text)), crew=crew, **more)


# Mistral's form.
_PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "A draft."}]}, {"type": "text", "text": OK}]

REASONING = [
    thought("think", f"<think>\nA draft: no.\n</think>\n\n{OK}"),
    thought("thinking", f"<thinking>A draft.</thinking>{OK}"),
    thought("reasoning", f"<reasoning>\n\nA draft.\n</reasoning>\n{OK}"),
    thought("upper", f"<THINK>A draft.</THINK>\n{OK}"),
    thought("after-blank", f"\n\n  <think>A draft.</think>\n{OK}"),
    thought("empty", f"<think>\n\n</think>\n\n{OK}"),
    thought("only-closed", f"The user wants a topic. A draft.\n</think>\n\n{OK}"),
    thought("only-closed-thinking", f"A draft.</thinking>\n{OK}"),
    thought("nested", f"<think>A <think>draft</think> of one.</think>{OK}"),
    thought("with-attribute", f'<think lang="en">A draft.</think>{OK}'),
    thought("twice", f"<think>A draft.</think>\n<think>Another.</think>\n{OK}"),
    thought("long", f"<think>{'A draft. ' * 20000}</think>\n{OK}"),
    thought("names-the-tag-later", f"{OK}, as in <think> and </b>", output=f"{OK}, as in <think> and </b>"),
    answered("draft-reasoning-content", Reply(body=completion(OK, reasoning_content="A draft."))),
    answered("draft-reasoning-field", Reply(body=completion(OK, reasoning="A draft.", reasoning_details=[]))),
    answered("draft-parts", Reply(body=completion(_PARTS))),
    passes("draft-reasoning-alone", Reply(body=completion("", reasoning_content="A draft."))),
    thought("json-before-json", f'<think>{{"title": "draft"}}</think>\n{{"title": "{OK}"}}', "schema"),
    thought("json-only-closed", f'{{"title": "draft"}} or so\n</think>{{"title": "{OK}"}}', "schema"),
    thought(
        "action",
        f'<think>\nAction: {TOOL}\nAction Input: {{"word": "draft"}}\n</think>\nThought: I know\nFinal Answer: {OK}',
        "words",
        words=(),
    ),
    thought("final", f"<think>\nFinal Answer: draft\n</think>\nThought: I know\nFinal Answer: {OK}", "words", words=()),
    thought("final-only-closed", f"Final Answer: draft\n</think>\nFinal Answer: {OK}", "words", words=()),
    thought(
        "final-then-action",
        f'<think>Final Answer: draft</think>\nThought: look\nAction: {TOOL}\nAction Input: {{"word": "{ROW}"}}',
        "words",
        attempts=2,
        words=(ROW,),
    ),
]

_JSON = f'{{"title": "{OK}"}}'


def structured(name: str, text: str) -> Case:
    """A reply that has the row's JSON somewhere."""
    return answered(f"json-{name}", Reply(body=completion(text)), crew="schema")


JSON = [
    structured("fenced", f"```json\n{_JSON}\n```"),
    structured("fence-unclosed", f"```json\n{_JSON}"),
    structured("fence-no-language", f"Here:\n```\n{_JSON}\n```\nAnything else?"),
    structured("after-braces", f"For {{topic}} and [1, 2] I say: {_JSON}"),
    structured("after-draft", f'First {{"title": "draft"}}, or rather\n{_JSON}'),
    structured("after-example", f'```json\n{{"title": "draft"}}\n```\nBetter:\n```json\n{_JSON}\n```'),
    structured("before-other", f'{_JSON}\n\nMeta: {{"confidence": 0.9}}'),
    structured("before-brackets", f"{_JSON}\n\nSources: [1], [2]"),
    structured("pretty", json.dumps({"title": OK}, indent=2)),
]

# 1. Tool calls


def calling(name: str, *calls: dict[str, Any], words: Sequence[str] = (), turns: int = 1, **more: Any) -> Case:
    """Turns with these calls; `words` are what the tool is called with."""
    reply = Reply(body=completion(None, "tool_calls", tool_calls=list(calls)))
    script = Script((reply,) * turns)
    return Case(f"call-{name}", script, "tools", attempts=turns + 1, words=tuple(words), **more)


def _word_of(word: str) -> str:
    return json.dumps({"word": word})


TOOL_CALLS = [
    calling("id-empty", tool_call(_word_of("a"), id=""), words=["a"]),
    calling("id-null", tool_call(_word_of("a"), id=None), words=["a"]),
    calling("id-absent", tool_call(_word_of("a")), words=["a"]),
    calling("ids-absent", tool_call(_word_of("a")), tool_call(_word_of("b")), words=["a", "b"]),
    calling("ids-empty", tool_call(_word_of("a"), id=""), tool_call(_word_of("b"), id=""), words=["a", "b"]),
    calling(
        "ids-alike", tool_call(_word_of("a"), id="call_0"), tool_call(_word_of("b"), id="call_0"), words=["a", "b"]
    ),
    calling("id-again", tool_call(_word_of("a"), id="call_0"), turns=2, words=["a", "a"]),
    calling("id-absent-again", tool_call(_word_of("a")), turns=3, words=["a", "a", "a"]),
    calling("id-number", tool_call(_word_of("a"), id=7), words=["a"]),
    calling("arguments-object", tool_call({"word": "a"}, id="c1"), words=["a"]),
    calling("arguments-empty", tool_call("", id="c1")),
    calling("arguments-null", tool_call(None, id="c1")),
    calling("arguments-twice", tool_call(json.dumps(_word_of("a")), id="c1"), words=["a"]),
    calling("arguments-fenced", tool_call(f"```json\n{_word_of('a')}\n```", id="c1"), words=["a"]),
    calling("arguments-fenced-plain", tool_call(f"```\n{_word_of('a')}\n```", id="c1"), words=["a"]),
    calling("arguments-cut", tool_call('{"word": "a', id="c1")),
    calling("beside-stop", tool_call(_word_of("a"), id="c1"), words=["a"]),
    Case(
        "call-ends-stop",
        Script((Reply(body=completion(None, "stop", tool_calls=[tool_call(_word_of("a"), id="c1")])),)),
        "tools",
        attempts=2,
        words=("a",),
    ),
    Case(
        "call-older-form",
        Script((Reply(body=completion(None, "function_call", function_call=tool_call(_word_of("a"))["function"])),)),
        "tools",
        attempts=2,
        words=("a",),
    ),
]

_CALL = f'{{"name": "{TOOL}", "arguments": {{"word": "{ROW}"}}}}'
# A call that is visibly one, in a reply's text.
CALLS_IN_TEXT = {
    "tagged": f"<tool_call>\n{_CALL}\n</tool_call>",
    "tagged-one-line": f"I look it up. <tool_call>{_CALL}</tool_call>",
    "tagged-unclosed": f"<tool_call>\n{_CALL}",
    "bare": _CALL,
    "fenced": f"```json\n{_CALL}\n```",
    "function-call-tag": f"<function_call>{_CALL}</function_call>",
    "bracketed": f"[TOOL_CALLS] [{_CALL}]",
    "python-tag": f"<|python_tag|>{_CALL.replace('arguments', 'parameters')}",
    "wrapped": json.dumps({"tool_calls": [tool_call(json.dumps({"word": ROW}), id="c1")]}),
    "xml": f"<tool_call>\n<function={TOOL}>\n<parameter=word>\n{ROW}\n</parameter>\n</function>\n</tool_call>",
    "invoke": f'<invoke name="{TOOL}"><parameter name="word">{ROW}</parameter></invoke>',
    "react": f'Thought: look\nAction: {TOOL}\nAction Input: {{"word": "{ROW}"}}',
}

TEXT_PROTOCOL = [
    *(
        Case(f"text-{name}", Script((Reply(body=completion(text)),)), "tools", attempts=2, or_more=True)
        for name, text in CALLS_IN_TEXT.items()
    ),
    *(
        Case(f"words-{name}", Script((Reply(body=completion(text)),)), "words", attempts=2, or_more=True)
        for name, text in CALLS_IN_TEXT.items()
        if not name.startswith("tagged")
    ),
    *(
        Case(f"words-{name}", Script((Reply(body=completion(text)),)), "words", attempts=2, words=(ROW,))
        for name, text in CALLS_IN_TEXT.items()
        if name.startswith("tagged")
    ),
    Case(
        "words-one-line",
        Script((Reply(body=completion(f"Thought: look. Action: {TOOL} Action Input: {_word_of(ROW)}")),)),
        "words",
        attempts=2,
        words=(ROW,),
    ),
    answered(
        "words-final-one-line", Reply(body=completion(f"I have it now. Final Answer: {OK}")), crew="words", words=()
    ),
    answered(
        "words-final-bold", Reply(body=completion(f"Thought: yes.\n\n**Final Answer:** {OK}")), crew="words", words=()
    ),
    answered("words-no-form", Reply(body=completion(OK)), crew="words", words=()),
]

PART_A = [*FINISHES, *ERRORS_IN_A_200, *GARBAGE, *EMPTY, *REASONING, *JSON, *TOOL_CALLS, *TEXT_PROTOCOL]

# 2. Refusals


def google(status: int, message: str, name: str, *details: dict[str, Any], array: bool = True) -> Reply:
    """As Gemini's OpenAI address has it: an array around it."""
    body = {"error": {"code": status, "message": message, "status": name, "details": list(details)}}
    return Reply(status, [body] if array else body)


def _delay(seconds: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": seconds}


def _quota_of(window: str) -> dict[str, Any]:
    violation = {"quotaId": f"GenerateRequests{window}PerProjectPerModel-FreeTier", "quotaValue": "15"}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


_PLAN = "You exceeded your current quota, please check your plan and billing details."
_GROQ = (
    "Rate limit reached for model `m` in organization `org_1` on tokens per minute (TPM): Limit 6000, Used 5900, "
    "Requested 300. Please try again in 200ms. Need more tokens? Upgrade at https://groq.example/settings/billing"
)
_AZURE = "Requests have exceeded the call rate limit of your current pricing tier. Please retry after 0 seconds."
_ANTHROPIC_RATE = "This request would exceed your organization's rate limit of 40,000 input tokens per minute."
_INNER = google(429, _PLAN, "RESOURCE_EXHAUSTED", _delay("0.2s"))
_PROXY = f"litellm.RateLimitError: geminiException - {json.dumps(_INNER.body)}"

# Limits that pass: the words about money say nothing.
RATES: dict[str, Reply] = {
    "groq": error(429, _GROQ, "rate_limit_exceeded", "tokens"),
    "groq-no-code": error(429, _GROQ),
    "groq-retry-after": error(429, _GROQ, "rate_limit_exceeded", "tokens", retry_after="0"),
    "openai": error(
        429, "Rate limit reached for requests. Limit: 3 / min. Visit billing.", "rate_limit_exceeded", "requests"
    ),
    "gemini": google(429, _PLAN, "RESOURCE_EXHAUSTED", _quota_of("PerMinute"), _delay("0.2s")),
    "gemini-no-array": google(429, _PLAN, "RESOURCE_EXHAUSTED", _quota_of("PerMinute"), _delay("0s"), array=False),
    "gemini-minute": google(429, _PLAN, "RESOURCE_EXHAUSTED", _quota_of("PerMinute")),
    "proxy": error(429, _PROXY, "429", "throttling_error"),
    "proxy-none": error(429, _PROXY, None, "None"),
    "azure": error(429, _AZURE, "429"),
    "anthropic": raw(429, {"type": "error", "error": {"type": "rate_limit_error", "message": _ANTHROPIC_RATE}}),
    "plain": raw(429, b"Too Many Requests", Content_Type="text/plain"),
    "html": html(429, "429 Too Many Requests"),
    "empty": raw(429, b""),
    "string": raw(429, {"error": "Slow down: your plan allows 5 requests a second"}),
    "header-only": error(429, "Quota used up, see your plan", retry_after="0"),
    "header-ms": error(429, "Your quota is used up, see billing", retry_after_ms="50"),
    "requests-per-second": error(429, "Requests rate limit exceeded (per second). Upgrade your plan to get more."),
    "epoch": error(429, "Slow down", retry_after="1790000000"),
    "epoch-ms": error(429, "Slow down", retry_after="1790000000000"),
    "negative": error(429, "Slow down", retry_after="-5"),
    "words": error(429, "Slow down", retry_after="soon"),
    "fraction": error(429, "Slow down", retry_after="0.05"),
    "past-date": error(429, "Slow down", retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "trial": error(429, "You use a trial key, which is limited to 10 calls / minute."),
    "too-many-tokens": error(
        429,
        "Tokens per minute limit exceeded - too many tokens processed.",
        "token_quota_exceeded",
        "too_many_tokens_error",
    ),
    "bedrock": error(429, "Too many tokens, please wait before trying again.", "ThrottlingException"),
    "tier": error(429, "Capacity of this service tier exceeded.", 3505, "service_tier_capacity_exceeded"),
    "free-plan": error(429, "Free plan: one request every second. Buy credits for more", "rate_limit_exceeded"),
    "flex": error(429, "Resource unavailable, no capacity for flex requests", "resource_unavailable"),
    "overloaded": error(429, "The engine is currently overloaded, please try again later", "engine_overloaded"),
}

# An empty account: everybody's, or so it seems.
EMPTY_ACCOUNTS: dict[str, Reply] = {
    "402": error(402, "Insufficient balance"),
    "402-html": html(402, "Payment Required"),
    "402-string": raw(402, {"error": "Please add credits"}),
    "openai": error(429, _PLAN, "insufficient_quota", "insufficient_quota"),
    "anthropic": raw(
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the API. Please go to Plans & Billing.",
            },
        },
    ),
    "gemini-day": google(429, _PLAN, "RESOURCE_EXHAUSTED", _quota_of("PerDay")),
    "xai": raw(429, {"code": "insufficient_quota", "error": "Your team has used all its credits"}),
    "moonshot": error(
        429, "Your account has no balance", "exceeded_current_quota_error", "exceeded_current_quota_error"
    ),
    "hard-limit": error(400, "Billing hard limit has been reached", "billing_hard_limit_reached"),
    "afford": error(402, "This needs more credits, or fewer max_tokens: you can only afford 10", 402),
}

REFUSED_KEYS: dict[str, Reply] = {
    "openai": error(401, "Incorrect API key provided: sk-abc***.", "invalid_api_key", "invalid_request_error"),
    "uncoded": error(401, "Unauthorized"),
    "html": html(401, "Authorization Required"),
    "empty": raw(401, b""),
    "403": error(403, "You have no permission for this", "forbidden"),
    "403-region": error(403, "Country, region, or territory not supported", "unsupported_country_region_territory"),
    "403-firewall": html(403, "Request blocked"),
    "403-waf-string": raw(403, b"Access denied | example.com used a security service to restrict access (1020)"),
    "gemini": google(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
}

GONE_MODELS: dict[str, Reply] = {
    "openai": error(404, "The model `m` does not exist or you do not have access to it.", "model_not_found"),
    "plain": raw(404, b"404 page not found"),
    "fastapi": raw(404, {"detail": "Not Found"}),
    "ollama": error(404, "model 'm' not found, try pulling it first", None, "api_error"),
    "html": html(404, "Not Found"),
    "proxy-400": error(400, "Invalid model name passed in model=m. See /v1/models", 400),
    "retired": error(400, "The model `m` has been retired", "model_decommissioned"),
}

FLAGGED: dict[str, Reply] = {
    "openrouter": raw(
        403,
        {
            "error": {
                "code": 403,
                "message": "m requires moderation. Your input was flagged",
                "metadata": {"reasons": ["harassment"], "flagged_input": "topic", "provider_name": "x"},
            }
        },
    ),
    "azure": error(400, "The response was filtered due to the prompt triggering a policy", "content_filter"),
    "azure-inner": raw(
        400,
        {
            "error": {
                "message": "The prompt was stopped by a rule.",
                "code": None,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            }
        },
    ),
    "openai-invalid-prompt": error(400, "This prompt may violate our usage policy.", "invalid_prompt"),
    "openai-policy": error(400, "Your request was rejected by our safety system.", "content_policy_violation"),
    "moderation-403": error(403, "Rejected by moderation: self-harm"),
    "moderation-400": error(400, "Content failed the moderation check", "moderation_blocked"),
    "alibaba": error(400, "Input data may contain inappropriate content.", "data_inspection_failed"),
    "anthropic": error(400, "Output blocked by content filtering policy", None, "invalid_request_error"),
    "xai": error(403, "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"),
    "guardrail": error(400, "Blocked by a guardrail: harmful content", "content_filter"),
    "proxy": error(400, "litellm.ContentPolicyViolationError: AzureException - the filter was triggered", "400"),
}

FAILED_GENERATIONS: dict[str, Reply] = {
    "tool-use": raw(
        400,
        {
            "error": {
                "message": "Failed to call a function. Please adjust your prompt.",
                "type": "invalid_request_error",
                "code": "tool_use_failed",
                "failed_generation": "<function=look_up>{word: x}</function>",
            }
        },
    ),
    "json-validate": raw(
        400,
        {
            "error": {
                "message": "Failed to generate JSON. Please adjust your prompt.",
                "type": "invalid_request_error",
                "code": "json_validate_failed",
                "failed_generation": '{"title": ',
            }
        },
    ),
    "no-code": raw(
        400,
        {"error": {"message": "Tool call validation failed: parameters", "failed_generation": "{}"}},
    ),
    "schema-mismatch": raw(
        400,
        {"error": {"message": "Generated JSON does not match response_format", "failed_generation": "{}"}},
    ),
}

# The request is wrong, whoever sends it: that row's failure.
BAD_REQUESTS: dict[str, Reply] = {
    "parameter": error(
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "unsupported_parameter",
        "invalid_request_error",
    ),
    "value": error(400, "Unsupported value: 'temperature' does not support 0.2 with this model.", "unsupported_value"),
    "plain": error(400, "Bad request"),
    "vllm": raw(400, {"object": "error", "message": "top_p must be in (0, 1]", "type": "BadRequestError", "code": 400}),
    "array": raw(400, [{"error": {"code": 400, "message": "Unknown name", "status": "INVALID_ARGUMENT"}}]),
    "string": raw(400, {"error": "seed has to be a number"}),
    "html": html(400, "Bad Request"),
    "fastapi": raw(422, {"detail": [{"loc": ["body", "messages", 0], "msg": "field required", "type": "missing"}]}),
    "message": raw(400, {"message": "invalid request: unknown field", "request_id": "r1"}),
    "errors": raw(400, {"errors": [{"message": "messages is malformed", "code": 7000}]}),
    "empty": raw(400, b""),
    "405": error(405, "Method not allowed"),
    "415": error(415, "Unsupported media type"),
    "user-too-long": error(400, "Invalid 'user': at most 64 characters, got 80."),
    "no-such-tool": error(400, "tool_choice: the function 'other' does not exist"),
    "moderation-parameter": error(400, "Unknown parameter: 'moderation'.", "unknown_parameter"),
    "array-too-long": error(
        400,
        "Invalid 'stop': array too long. Expected an array with maximum length 4, but got 5.",
        "array_above_max_length",
    ),
}

# Passing failures of the server.
TRANSIENT: dict[str, Reply] = {
    **{str(status): error(status, f"status {status}") for status in (408, 409, 424, 425, 498, 499, 500, 502, 503)},
    **{str(status): error(status, f"status {status}") for status in (504, 520, 522, 524, 529)},
    "groq-flex": error(498, "Flex tier capacity exceeded", "capacity_exceeded"),
    "anthropic": raw(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    "llama-cpp": raw(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    "tgi": raw(424, {"error": "Request failed during generation: Server error", "error_type": "generation"}),
    "html-502": html(502, "502 Bad Gateway"),
    "array-500": raw(500, [{"error": {"code": 500, "message": "Internal", "status": "INTERNAL"}}]),
    "empty-500": raw(500, b""),
    # Go's words for a time limit, which sound like a prompt that is too long.
    "go-deadline": error(500, "Post http://runner/completion: context deadline exceeded"),
    "go-deadline-504": error(504, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
    "go-canceled": error(500, "context canceled"),
    "connections": error(503, "maximum number of connections exceeded, try again"),
    "retry-after": error(503, "Busy", retry_after="0"),
    "key-service": error(500, "the cache of invalid_api_key answers could not be reached"),
    "model-service": error(503, "The model `m` does not exist on this replica yet"),
    "retries": error(502, "maximum number of retries exceeded by the gateway"),
    "billing-service": error(500, "billing service unavailable"),
}

# 3. Too long a prompt

TOO_LONG: dict[str, Reply] = {
    "openai": error(400, "Your messages resulted in 9001 tokens.", "context_length_exceeded"),
    "vllm-old": raw(
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "vllm": error(400, "The decoder prompt (length 9001) is longer than the maximum model length of 4096.", 400),
    "llama-cpp": raw(
        400,
        {
            "error": {
                "code": 400,
                "message": "request (15174 tokens) exceeds the available context size (1024 tokens)",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 15174,
                "n_ctx": 1024,
            }
        },
    ),
    "sglang": error(400, "The input (9001 tokens) is longer than the model's context length (4096 tokens)."),
    "xai": raw(
        400, {"code": "400", "error": "This model's maximum prompt length is 131072 but the request contains 140000."}
    ),
    "gemini": google(
        400,
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
        "INVALID_ARGUMENT",
    ),
    "lm-studio": raw(
        400, {"error": "The model is loaded with context length of only 4096, which is not enough for it"}
    ),
    "mistral": raw(
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        },
    ),
    "anthropic": raw(
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"},
        },
    ),
    "cohere": raw(400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4096"}),
    "tgi": raw(
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 and 100",
            "error_type": "validation",
        },
    ),
    "ollama": error(500, "the input length exceeds the context length", None, "api_error"),
    "413": error(413, "Prompt too long"),
    "bedrock": error(400, "Input is too long for requested model.", "ValidationException"),
    "together": error(422, "`inputs` tokens plus `max_new_tokens` must be at most 8193. Given: 9000 `inputs` tokens"),
    "fireworks": error(400, "The prompt is too long: 140000, model maximum context length: 131071"),
    "openrouter": error(
        400, "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens"
    ),
    "deepseek": error(
        400, "This model's maximum context length is 65536 tokens; yours has 70000", "invalid_request_error"
    ),
    "own-1": error(400, "Your prompt of 5000 tokens is longer than what this model takes (4096)"),
    "own-2": error(422, "context window exceeded"),
    "own-3": raw(413, {"detail": "input tokens exceed the configured maximum of 8000"}),
    "own-4": error(500, "prompt exceeds max_model_len"),
    "proxy": error(
        400, "litellm.ContextWindowExceededError: OpenAIException - Your messages resulted in 9001 tokens", "400"
    ),
}
# The same of the whole request, in bytes.
TOO_LARGE: dict[str, Reply] = {
    "413-nginx": html(413, "413 Request Entity Too Large"),
    "413-anthropic": raw(
        413,
        {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}},
    ),
}


def _cases(prefix: str, replies: dict[str, Reply]) -> Iterable[tuple[str, Reply]]:
    return ((f"{prefix}-{name}", reply) for name, reply in replies.items())


PASSING_RATES = [passes(name, reply) for name, reply in _cases("rate", RATES)]
LASTING_RATES = [
    in_vain("rate-always-groq", "rate_limit", RATES["groq"]),
    in_vain("rate-always-gemini", "rate_limit", RATES["gemini"]),
]
DOUBTED = [
    *(doubted(name, "quota", reply) for name, reply in _cases("account", EMPTY_ACCOUNTS)),
    *(doubted(name, "auth", reply, or_more=True) for name, reply in _cases("key", REFUSED_KEYS)),
    *(doubted(name, "model_not_found", reply) for name, reply in _cases("model", GONE_MODELS)),
    doubted("wait-two-hours", "rate_limit", error(429, "Slow down", retry_after="7200")),
    doubted("wait-a-day", "rate_limit", error(429, "Slow down", "rate_limit_exceeded", retry_after="86400")),
    doubted("wait-hours-503", "server", error(503, "Maintenance", retry_after="7200")),
]
ALONE = [
    *(alone(name, "content_filter", reply) for name, reply in _cases("flagged", FLAGGED)),
    *(alone(name, "bad_request", reply) for name, reply in _cases("bad", BAD_REQUESTS)),
    *(alone(name, "context_length", reply) for name, reply in _cases("long", TOO_LONG)),
    *(alone(name, "context_length|bad_request", reply) for name, reply in _cases("body", TOO_LARGE)),
    alone(
        "too-large-alone",
        "bad_request|context_length|rate_limit",
        error(
            413,
            "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000",
            "rate_limit_exceeded",
        ),
    ),
    alone(
        "max-tokens-too-large",
        "bad_request|context_length",
        error(
            400, "max_tokens is too large: 100000. This model supports at most 16384 completion tokens", "invalid_value"
        ),
    ),
]
PASSING = [
    *(passes(name, reply) for name, reply in _cases("down", TRANSIENT)),
    *(passes(name, reply) for name, reply in _cases("generation", FAILED_GENERATIONS)),
    *(passes(f"{name}-tools", reply, crew="tools") for name, reply in _cases("generation", FAILED_GENERATIONS)),
    *(passes(f"{name}-schema", reply, crew="schema") for name, reply in _cases("generation", FAILED_GENERATIONS)),
    passes("key-once", REFUSED_KEYS["uncoded"], probes=1),
    passes("key-once-firewall", REFUSED_KEYS["403-firewall"], probes=1),
    passes("model-once", GONE_MODELS["plain"], probes=1),
]
IN_VAIN = [
    in_vain("down-always-500", "server", error(500, "The server had an error")),
    in_vain("down-always-503", "server", html(503, "Service Unavailable")),
    in_vain("down-always-529", "server", TRANSIENT["anthropic"]),
    in_vain("down-always-504", "server|timeout", TRANSIENT["go-deadline-504"]),
    in_vain("down-always-424", "server", TRANSIENT["tgi"]),
    in_vain("broken-always-reset", "network", Reply(manner="reset")),
    in_vain("generation-always", "output_invalid", FAILED_GENERATIONS["tool-use"], or_more=False),
    in_vain("generation-always-tools", "output_invalid", FAILED_GENERATIONS["tool-use"], crew="tools", or_more=False),
    in_vain(
        "generation-always-schema", "output_invalid", FAILED_GENERATIONS["json-validate"], crew="schema", or_more=False
    ),
]

NO_TOOLS: dict[str, Reply] = {
    "ollama": error(400, "registry.example/library/m does not support tools", None, "api_error"),
    "vllm": raw(
        400,
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "openrouter": error(404, "No endpoints found that support tool use.", 404),
    "own": error(422, "Function calling is not available for this model"),
    "parameter": error(400, "Unrecognized request argument supplied: tools", None, "invalid_request_error"),
}
NO_SCHEMA: dict[str, Reply] = {
    "openai": error(
        400,
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        None,
        "invalid_request_error",
    ),
    "deepseek": error(400, "This response_format type is unavailable now", "invalid_request_error"),
    "invalid": error(
        400, "Invalid schema for response_format 'answer': 'allOf' is not permitted.", "invalid_json_schema"
    ),
    "own": error(422, "structured output is not available here"),
    "grammar": error(400, "json_schema: could not be compiled into a grammar"),
}

WITH_TOOLS = [
    *(
        doubted(f"no-tools-{name}", "bad_request|model_not_found", reply, crew="tools", attempts=1, or_more=True)
        for name, reply in NO_TOOLS.items()
    ),
    # A parameter whose name has the word tool in it is another matter.
    doubted(
        "parallel-tool-calls",
        "bad_request",
        error(
            400,
            "Unsupported parameter: 'parallel_tool_calls' is not supported with this model.",
            "unsupported_parameter",
        ),
        crew="tools",
        or_more=True,
    ),
    alone(
        "tool-word-in-text",
        "content_filter",
        error(400, "The prompt about tools was flagged", "content_filter"),
        crew="tools",
    ),
    alone(
        "tool-too-long",
        "context_length",
        error(400, "prompt with tools is too long: 9000 tokens > 8000 maximum"),
        crew="tools",
    ),
]
WITH_SCHEMA = [
    *(
        doubted(f"no-schema-{name}", "bad_request", reply, crew="schema", attempts=2, or_more=True)
        for name, reply in NO_SCHEMA.items()
    ),
    # Strict for nobody: the same without it is answered.
    *(
        Case(f"not-strict-{name}", Script((reply,), lasts=True, shape="strict"), "schema", attempts=2, probes=1)
        for name, reply in NO_SCHEMA.items()
    ),
]

# After the first turn of an agent with tools.
LATER = [
    passes("later-rate", RATES["groq"], crew="tools", shape="results", words=(ROW,)),
    passes("later-down", TRANSIENT["503"], crew="tools", shape="results", words=(ROW,)),
    passes("later-generation", FAILED_GENERATIONS["tool-use"], crew="tools", shape="results", words=(ROW,)),
    passes("later-ends-error", Reply(body=completion("half", "error")), crew="tools", shape="results", words=(ROW,)),
    passes("later-empty", Reply(body=completion("")), crew="tools", shape="results", words=(ROW,)),
    alone("later-flagged", "content_filter", FLAGGED["azure"], crew="tools", shape="results", attempts=2),
    alone("later-long", "context_length", TOO_LONG["vllm"], crew="tools", shape="results", attempts=2),
    alone("later-bad", "bad_request", BAD_REQUESTS["plain"], crew="tools", shape="results", attempts=2),
    doubted("later-firewall", "auth", REFUSED_KEYS["403-firewall"], crew="tools", shape="results", attempts=3),
    doubted("later-account", "quota", EMPTY_ACCOUNTS["402"], crew="tools", shape="results", attempts=2),
    doubted("later-no-tools", "bad_request", NO_TOOLS["own"], crew="tools", shape="results", attempts=2, or_more=True),
]

PART_B = [
    *PASSING_RATES,
    *LASTING_RATES,
    *DOUBTED,
    *ALONE,
    *PASSING,
    *IN_VAIN,
    *WITH_TOOLS,
    *WITH_SCHEMA,
    *LATER,
]

CASES: dict[str, Case] = {case.id: case for case in (*PART_A, *PART_B)}
SCRIPTS: dict[str, Script] = {name: case.script for name, case in CASES.items()}
assert len(CASES) == len(PART_A) + len(PART_B), "two cases have one id"
