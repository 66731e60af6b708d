"""`SharedLimits`: the part of one rate limiter in the limits of its account, which other processes share.

What it may send it leases from the account's state, a tenth of a second's worth at a time: it takes the next free
place, first come, first served, and waits for its time. It holds nothing while it waits, so a process that is stopped
holds up nobody. What it learns (limits that replies state, refusals, waits that the provider asks for) goes into the
state, and what others have learned comes back with the next lease. As long as no limit is known, it looks four times a
second.

How many requests are in flight is not shared, only where it begins: a refusal for too many at once costs nothing, and
each process that backs off leaves room for the others, as TCP connections do (`concurrency_limit`).
"""

import os
import random
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import floor
from pathlib import Path
from typing import TypeVar

from crewrun.limits.account import Account, limits_folder
from crewrun.limits.shared_file import FileBusy, SharedFile, SharingFailed
from crewrun.limits.shared_state import LEASE_S, Lease, SharedHold, SharedState
from crewrun.limits.slot_window import SLOT_S
from crewrun.wording import duration

T = TypeVar("T")
# Others hold the file for a tenth of a millisecond, longer if they are taken off the CPU in between. One that has it
# for longer than _STUCK_S has been stopped; until it goes on, this process does without.
_BUSY_S = 0.003
_STUCK_S = 0.25
# As long as no limit is known.
_LOOK_S = 0.25
# While the file is busy; more refusals than that say nothing new.
_MOST_CHANGES = 1000
# How often it is written down that the stated limits still are as they were.
_CONFIRMED_S = 60.0
_PROCESS_NAMESPACE = Path("/proc/self/ns/pid")


class SharedLimits:
    """The account's limits for one rate limiter. `warn` gets, once, why the limits cannot be shared; they then hold for
    this process alone.

    Attributes:
        state: the account's, as it was read last.
        at_once: how many requests of this process have been in flight.
        remembered: what was known when it began, in words; None if that was nothing.
    """

    def __init__(self, account: Account, warn: Callable[[str], object], folder: Path | None = None) -> None:
        self._account = account
        self._warn = warn
        self._file: SharedFile | None = None
        self._name = secrets.token_hex(6)
        self._process = f"{_namespace()}:{os.getpid()}"
        self.state = SharedState(account.model, account.host)
        self._has_begun = False
        self._lease: Lease | None = None
        self._looks_at = self._looked_at = 0.0
        self._busy_since: float | None = None
        # What is to be written with the next visit.
        self._changes: deque[Callable[[SharedState], object]] = deque(maxlen=_MOST_CHANGES)
        self._uncounted = [0, 0]  # requests and tokens that went without a lease
        self._corrections: dict[int, int] = {}  # tokens, by the number of the slot
        self._let_through: list[float] = []
        self.at_once = 0
        self.remembered: str | None = None
        try:
            self._file = SharedFile((folder or limits_folder()) / f"{account.name}.json")
        except RuntimeError as homeless:
            self._give_up(str(homeless))

    def others(self, now: float) -> int:
        """How many other processes take part."""
        return max(0, self.state.present(now) - 1)

    def begin(self, now: float) -> int:
        """Begin to take part. Returns how many requests in flight to start with, 0 if nothing is remembered."""
        with suppress(FileBusy):
            self._visit(now, lambda state: None)
        return self.at_once

    def earliest(self, tokens: int, most: int, now: float) -> tuple[float, SharedHold | None]:
        """When a request of `tokens` may go, with what holds it up. The place is taken for a while, also for up to
        `most` requests like it.
        """
        lease = self._lease
        is_usable = lease is not None and lease.fits(tokens, now) and lease.at >= self.state.blocked_until
        if lease is not None and is_usable and (now < lease.at or self._looked_at >= max(lease.at, now - LEASE_S)):
            return lease.at, lease.hold
        if not self.state.is_limiting and now < self._looks_at:
            return now, None

        def next_lease(state: SharedState) -> Lease | None:
            self._looks_at = now + _LOOK_S
            if lease is not None and is_usable and lease.at >= state.blocked_until:
                return lease  # its time has come, and nobody was asked to wait since it was taken
            self._return_lease(state, now)
            if state.is_limiting:
                self._lease = state.lease(self._name, tokens, most, now)
            return self._lease

        try:
            lease = self._visit(now, next_lease)
        except FileBusy:
            return now + _BUSY_S * random.uniform(0.5, 1.5), "rate"  # noqa: S311  (not in step with the others)
        return (now, None) if lease is None else (lease.at, lease.hold)

    def take(self, tokens: int, now: float) -> float:
        """A request of an estimated `tokens` goes out. Returns when that was decided, as what was learned since then is
        no matter of it.
        """
        lease = self._lease
        if lease is None:
            self._uncounted[0] += 1
            self._uncounted[1] += tokens
            return now
        lease.requests -= 1
        lease.tokens -= tokens
        return lease.taken_at

    def settle(self, tokens: int, at: float) -> None:
        """A request that went out at `at` used `tokens` more than estimated."""
        slot = floor(at / SLOT_S)
        self._corrections[slot] = self._corrections.get(slot, 0) + tokens

    def succeeded(self, at: float) -> None:
        """The provider let the request through that was decided on at `at`."""
        self._let_through.append(at)

    def refused(self, at: float, now: float, *, in_vain: bool) -> None:
        """The provider refused the request that was decided on at `at`; `in_vain` while it lets nothing through."""
        if at > self.state.estimator.judged:
            self._change(now, lambda state: state.estimator.refused(at, now, state.sent, now, in_vain=in_vain))

    def block(self, until: float, now: float) -> None:
        """The provider asked to wait until then."""

        def change(state: SharedState) -> None:
            state.blocked_until = max(state.blocked_until, until)

        self._change(now, change)

    def tell(self, requests: int | None, tokens: int | None, at: float, now: float) -> None:
        """The reply to a request that was decided on at `at` states limits."""
        state, on = self.state, time.time()
        is_known = requests in (None, state.requests.per_min) and tokens in (None, state.tokens.per_min)
        if is_known and 0 <= on - state.told_on < _CONFIRMED_S:
            return
        self._change(now, lambda state: state.tell(requests, tokens, at, now, on))

    def untell(self, now: float) -> None:
        """The provider no longer states limits."""

        def change(state: SharedState) -> None:
            state.requests.per_min = state.tokens.per_min = None

        self._change(now, change)

    def close(self, now: float) -> None:
        """Give back what is leased, and take part no longer."""

        def sign_off(state: SharedState) -> None:
            self._return_lease(state, now)
            state.processes.pop(self._name, None)

        self._change(now, sign_off)
        if self._file is not None:
            self._file.close()

    def _change(self, now: float, change: Callable[[SharedState], object]) -> None:
        """Make a change of the state, later if another process has it."""
        self._changes.append(change)
        with suppress(FileBusy):
            self._visit(now, lambda state: None)

    def _visit(self, now: float, act: Callable[[SharedState], T]) -> T:
        """`act` on the state, once it has all that this process has done since its last visit. Raises FileBusy."""
        if self._file is not None:
            try:
                with self._file.state() as state:
                    self._busy_since = None
                    self.state = state
                    self._looked_at = now
                    self._report(now)
                    return act(state)
            except FileBusy:
                self._bear_busy(now)
            except SharingFailed as failed:
                self._give_up(str(failed))
        self._report(now)
        return act(self.state)

    def _bear_busy(self, now: float) -> None:
        """Another process has the file. If that has been stopped, this one takes its share as it was last, and
        writes nothing. Else raises FileBusy.
        """
        if self._busy_since is None:
            self._busy_since = now
        if now - self._busy_since < _STUCK_S:
            raise FileBusy
        if not self.state.is_a_share:
            self.state.divide(now)

    def _report(self, now: float) -> None:
        """Write down what this process has done since its last visit."""
        state, on = self.state, time.time()
        if self._name not in state.processes:
            self._join(state, now, on)
        state.reclaim(_is_gone, now)
        state.meet(self._name, self._process, self.at_once, now, on)
        requests, tokens = self._uncounted
        state.count(requests, tokens, now)
        for slot, difference in self._corrections.items():
            state.tokens.correct(difference, slot * SLOT_S, now)
        for at in self._let_through:
            state.estimator.succeeded(at)
        for change in self._changes:
            change(state)
        self._uncounted = [0, 0]
        self._corrections.clear()
        self._let_through.clear()
        self._changes.clear()
        state.prune(now)

    def _join(self, state: SharedState, now: float, on: float) -> None:
        """Begin to take part: at first, after a minute without calls, and in a file that was deleted and made again, or
        that another machine has used, whose clock is not this one's.
        """
        state.model, state.host = self._account.model, self._account.host
        at_once = state.begin(now, on)
        if self._has_begun:
            return
        self._has_begun = True
        self.at_once = at_once
        if limits := state.limits_in_words:
            present = state.present(now)
            when = f"shared by {present + 1} processes" if present else f"as {duration(on - state.used_on)} ago"
            self.remembered = f"{self._account.model}: starts at {limits}, {when}"

    def _return_lease(self, state: SharedState, now: float) -> None:
        """Give back what is left of the lease."""
        if self._lease is not None:
            state.give_back(self._lease.at, self._lease.requests, self._lease.tokens, now)
            self._lease = None

    def _give_up(self, why: str) -> None:
        """The limits hold for this process alone from now on."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._warn(f"limits of {self._account.model} are not shared with other processes: {why}")


def _namespace() -> str:
    """Where this process's number means something."""
    try:
        return os.readlink(_PROCESS_NAMESPACE)
    except OSError:
        return ""


def _is_gone(process: str) -> bool:
    """Whether a process has ended, as far as that can be told from here."""
    namespace, _, pid = process.rpartition(":")
    if namespace != _namespace():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
