"""`Calls`: answers requests, live ones and lines of batch jobs, by the same faults and into the same ledger.

`faults` and `rate_limits` decide which requests fail, `answers` what to answer, a `Wire` what that looks like. `server`
and `batch_jobs` send the replies.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio

from crewrun.llm.offline_model.fake_model import FakeAnswer
from crewrun.mock.answers import answer
from crewrun.mock.chat import Chat
from crewrun.mock.clock import MockClock
from crewrun.mock.embeddings import embeddings, read_texts
from crewrun.mock.faults import Fault, find_fault
from crewrun.mock.ledger import Entry, Ledger
from crewrun.mock.openai_errors import openai_refusal
from crewrun.mock.prompt_cache import NO_USE, CacheUse, PromptCache, with_cache
from crewrun.mock.rate_limits import MockLimits
from crewrun.mock.replies import (
    EVENTS,
    MockReply,
    Refusal,
    Serial,
    Usage,
    count_completion,
    count_prompt,
    half,
    refusal_for,
)
from crewrun.mock.request_body import body_digest, check_model, read_object, request_digest
from crewrun.mock.settings import Settings
from crewrun.mock.wire import Wire

_GARBAGE = b"<html><body>FAIL-GARBAGE: this is not JSON</body></html>"
_ONLY_IN_JOBS = ("lost", "expired")
Peer = tuple[str, int]
_ReplyTo = Callable[[Entry, dict[str, Any]], Awaitable[MockReply]]


class Calls:
    """Answers requests. `ledger` records them, and `limits` are those of live calls."""

    def __init__(self, settings: Settings, clock: MockClock) -> None:
        self._settings = settings
        self._clock = clock
        self._failed_once: set[int] = set()
        self._cache = PromptCache(clock) if settings.prompt_cache else None
        self.ledger = Ledger()
        self.limits = MockLimits(settings.rpm, settings.tpm, clock.monotonic_s, has_headers=settings.limit_headers)
        # One each, so that --jitter and --flex-full do not change which requests fail with a --seed.
        self._fail_dice = random.Random(settings.seed)  # noqa: S311  # for tests, not for secrets
        self._jitter_dice = random.Random(settings.seed)  # noqa: S311
        self._flex_dice = random.Random(settings.seed)  # noqa: S311

    def clear(self) -> None:
        """Start a new ledger, with nothing cached. Requests in flight end in the old one, so the new one counts only
        later requests.
        """
        self.ledger = Ledger()
        self._cache = PromptCache(self._clock) if self._settings.prompt_cache else None
        self._failed_once.clear()

    async def chat(self, wire: Wire, body: bytes, peer: Peer) -> MockReply:
        """The reply to a live request for an answer of a model."""
        return await self._live(body, peer, wire.refusal, lambda entry, request: self._answer(wire, entry, request))

    async def embeddings(self, body: bytes, peer: Peer) -> MockReply:
        """As `chat`, without faults and limits."""
        return await self._live(body, peer, openai_refusal, self._embed)

    def line(self, wire: Wire | None, request: dict[str, Any], custom_id: str, job: str) -> MockReply:
        """The reply for a line of a batch job, at once; without a wire it asks for embeddings.

        Limits and delays concern live calls only. A line that hangs, is lost or expires must not get here.
        """
        body = _dumped(request)
        entry = self.ledger.begin(body, request_digest(request), None)
        entry.custom_id, entry.job, entry.provider = custom_id, job, wire.provider if wire else "openai"
        reply = self._line_reply(wire, entry, request)
        entry.tier = "batch"
        self._end(self.ledger, entry, reply)
        return reply

    async def _live(
        self, body: bytes, peer: Peer, refuse: Callable[[Refusal], MockReply], reply_to: _ReplyTo
    ) -> MockReply:
        ledger = self.ledger
        try:
            request = read_object(body)
            digest = request_digest(request)
        except (ValueError, RecursionError) as error:
            entry = ledger.begin(body, body_digest(body), peer)
            return self._end(ledger, entry, refuse(Refusal(400, str(error))))
        entry = ledger.begin(body, digest, peer)
        try:
            reply = await reply_to(entry, request)
        except (ValueError, RecursionError) as error:
            reply = refuse(Refusal(400, str(error)))
        except asyncio.CancelledError:
            ledger.end(entry, "hung up")
            raise
        return self._end(ledger, entry, reply)

    def _end(self, ledger: Ledger, entry: Entry, reply: MockReply) -> MockReply:
        if reply.answer is not None:
            entry.billed = True
            entry.reply = reply.answer.text
            entry.tool_calls = tuple(call.name for call in reply.answer.calls)
        entry.usage = reply.usage
        ledger.end(entry, "cut" if reply.cut else reply.status)
        return reply

    async def _embed(self, entry: Entry, request: dict[str, Any]) -> MockReply:
        check_model(request)
        texts = read_texts(request)
        await self._delay()
        entry.model = texts.model
        return embeddings(texts)

    async def _answer(self, wire: Wire, entry: Entry, request: dict[str, Any]) -> MockReply:
        chat = self._read(wire, entry, request)
        entry.tier = chat.tier
        tokens = self._tokens(chat, entry) if self.limits.counts_tokens else 0
        admission = self.limits.admit(tokens, self._clock.monotonic_s)
        headers = admission.headers
        if admission.refused_by:
            entry.fault, entry.rate_limited = admission.refused_by, True
            return wire.refusal(Refusal(429, admission.message, "rate", headers))
        if unsupported := self._unsupported(chat):
            entry.fault, message = unsupported
            return wire.refusal(Refusal(400, message, headers=headers))
        fault = self._live_fault(chat, entry.digest)
        entry.fault = fault.name if fault else None
        cache_use = self._look_up(wire, chat, request)
        await self._delay()
        if fault and fault.kind == "hang":
            await anyio.sleep_forever()
        return self._compose(wire, chat, entry, fault, headers, cache_use)

    def _line_reply(self, wire: Wire | None, entry: Entry, request: dict[str, Any]) -> MockReply:
        refuse = wire.refusal if wire else openai_refusal
        try:
            if wire is None:
                check_model(request)
                texts = read_texts(request)
                entry.model = texts.model
                return embeddings(texts)
            chat = self._read(wire, entry, request)._replace(tier="batch")
            if chat.stream:
                raise ValueError("stream is not supported in batch jobs")
        except (ValueError, RecursionError) as error:
            return refuse(Refusal(400, str(error)))
        if unsupported := self._unsupported(chat):
            entry.fault, message = unsupported
            return refuse(Refusal(400, message))
        fault = self._fault(chat, entry.digest)
        entry.fault = fault.name if fault else None
        return self._compose(wire, chat, entry, fault, {}, self._look_up(wire, chat, request))

    def _look_up(self, wire: Wire, chat: Chat, request: dict[str, Any]) -> CacheUse:
        """What a request reads from the prompt cache and writes to it. What others are about to write, it misses."""
        if self._cache is None:
            return NO_USE
        return self._cache.look_up(wire.provider, chat.chars, request, wire.blocks(request))

    def _read(self, wire: Wire, entry: Entry, request: dict[str, Any]) -> Chat:
        check_model(request)
        chat = wire.read(request)
        entry.model, entry.provider = chat.model, wire.provider
        entry.tools = tuple(tool.name for tool in chat.tools)
        return chat

    def _fake_answer(self, chat: Chat, entry: Entry) -> FakeAnswer:
        fixed = self._settings.reply
        return answer(chat, entry.digest >> 32) if fixed is None else FakeAnswer(fixed)

    def _tokens(self, chat: Chat, entry: Entry) -> int:
        """The tokens of the request and its answer; unlike with a real model, they are known beforehand."""
        return count_prompt(chat) + count_completion(self._fake_answer(chat, entry))

    def _unsupported(self, chat: Chat) -> tuple[str, str] | None:
        """The flag that makes the mock refuse this request, and the message of a server without the feature."""
        if chat.tools and not self._settings.tools:
            return "--tools off", f"{chat.model} does not support tools"
        if chat.wants_json and not self._settings.schemas:
            return "--schemas off", f"{chat.model} does not support this response_format"
        return None

    def _live_fault(self, chat: Chat, digest: int) -> Fault | None:
        fault = self._fault(chat, digest)
        if fault is None and chat.tier == "flex" and self._settings.flex:
            return self._settings.flex.draw(self._flex_dice)
        return fault

    def _fault(self, chat: Chat, digest: int) -> Fault | None:
        at_random = self._settings.fail.draw(self._fail_dice) if self._settings.fail else None
        by_word = find_fault(chat.steering)
        if by_word is None or by_word.kind in _ONLY_IN_JOBS or (by_word.kind == "capacity" and chat.tier != "flex"):
            return at_random
        if by_word.kind == "once":
            if digest in self._failed_once:
                return at_random
            self._failed_once.add(digest)
        return by_word

    async def _delay(self) -> None:
        delay_s = self._settings.latency_s
        if self._settings.jitter_s:
            delay_s += self._jitter_dice.uniform(0, self._settings.jitter_s)
        if delay_s:
            await anyio.sleep(delay_s)

    def _compose(
        self,
        wire: Wire,
        chat: Chat,
        entry: Entry,
        fault: Fault | None,
        headers: Mapping[str, str],
        cache_use: CacheUse,
    ) -> MockReply:
        kind = fault.kind if fault else None
        if fault and kind in ("status", "once", "quota", "capacity"):
            return wire.refusal(refusal_for(fault, headers))
        fake_answer = self._fake_answer(chat, entry)
        if kind == "empty":
            fake_answer = FakeAnswer("")
        elif kind == "length":
            fake_answer = half(fake_answer)
        usage = with_cache(Usage(count_prompt(chat), count_completion(fake_answer)), cache_use)
        if self._cache is not None and cache_use.beginnings:
            self._cache.answered(cache_use)
        body = wire.completion(
            chat, Serial(entry.number, int(entry.at_s)), fake_answer, usage, cut_off=kind == "length"
        )
        content = _GARBAGE if kind == "garbage" else b"" if chat.stream else _dumped(body)
        reply = MockReply(200, content, headers, fake_answer, usage, kind == "cut")
        return self._streamed(wire, chat, body, reply) if chat.stream else reply

    def _streamed(self, wire: Wire, chat: Chat, body: dict[str, Any], reply: MockReply) -> MockReply:
        pieces = (reply.body,) if reply.body else tuple(wire.events(chat, body))
        return reply._replace(body=b"", pieces=pieces, content_type=EVENTS)


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()
