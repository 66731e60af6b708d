"""`SlotWindow`: how much of a limit per minute all processes of an account have used, in slots of half a second.

A process counts each of its own requests (`windows`); between processes that would be a long list to read and write
for every lease, and a slot more or less of a minute is 0.8 % at most.
"""

from math import floor
from typing import Any

from crewrun.limits.quotas import CATCH_UP_S
from crewrun.limits.windows import WINDOW_S

SLOT_S = 0.5
# What was sent at the end of a slot leaves the window a minute later, what was sent at its start half a second after
# that: on the average the window is as long as those in `windows`.
_MINUTE_S = 60.0


class SlotWindow:
    """A limit of `per_min`, None as long as none is known, and what was used of it. As in `quotas`, half a minute's
    worth may go at once and the rest evenly. Amounts are requests or tokens; times are of a clock that all processes
    have in common.
    """

    __slots__ = ("_amounts", "_next_at", "per_min")

    def __init__(self, per_min: int | None = None) -> None:
        self.per_min = per_min
        self._amounts: dict[int, float] = {}  # by the number of the slot
        self._next_at = 0.0

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SlotWindow":
        """What `to_json` made."""
        window = cls(values["per_min"])
        window._amounts = dict(values["slots"])
        window._next_at = values["next_at"]
        return window

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {"per_min": self.per_min, "slots": list(self._amounts.items()), "next_at": self._next_at}

    def clear(self) -> None:
        """Forget what was used, as after a restart of the machine, whose clock starts again."""
        self._amounts, self._next_at = {}, 0.0

    def used(self, at: float) -> float:
        """What still counts at `at`, with what is taken for later."""
        oldest = floor((at - _MINUTE_S) / SLOT_S)
        return sum(amount for slot, amount in self._amounts.items() if slot >= oldest)

    def earliest(self, amount: float, at: float) -> float:
        """The earliest time from `at` on at which `amount` more fit; more than the limit needs an empty window."""
        if self.per_min is None:
            return at
        if 2 * self.used(at) >= self.per_min:
            at = max(at, self._next_at)
        excess = self.used(at) + min(amount, self.per_min) - self.per_min
        if excess > 0:
            oldest = floor((at - _MINUTE_S) / SLOT_S)
            for slot in sorted(slot for slot in self._amounts if slot >= oldest):
                excess -= self._amounts[slot]
                if excess <= 0:
                    return max(at, (slot + 1) * SLOT_S + _MINUTE_S)
        return at

    def take(self, amount: float, at: float) -> None:
        """Use `amount` at `at`."""
        if self.per_min is not None:
            gap_s = self._gap_s(amount, self.per_min)
            start = max(self._next_at, at - CATCH_UP_S) if 2 * self.used(at) >= self.per_min else at
            self._next_at = start + gap_s
        self.count(amount, at)

    def give_back(self, amount: float, at: float, now: float) -> None:
        """`amount` that was taken for `at` is not used."""
        self.count(-amount, at)
        if self.per_min is not None and at > now:
            self._next_at = max(now, self._next_at - self._gap_s(amount, self.per_min))

    def count(self, amount: float, at: float) -> None:
        """Count `amount` at `at`, which was not taken before it was used; less than 0 if less was used than taken."""
        slot = floor(at / SLOT_S)
        self._amounts[slot] = self._amounts.get(slot, 0.0) + amount

    def correct(self, amount: float, at: float, now: float) -> None:
        """What was taken at `at` turned out to be `amount` more, or less."""
        self.count(amount, at)
        if self.per_min is None:
            return
        gap_s, latest = WINDOW_S * amount / self.per_min, now + WINDOW_S
        if gap_s < 0 or self._next_at < latest:
            self._next_at = min(self._next_at + gap_s, max(latest, self._next_at))

    def prune(self, now: float) -> None:
        """Drop what has left the window."""
        oldest = floor((now - _MINUTE_S) / SLOT_S) - 1
        if any(slot < oldest for slot in self._amounts):
            self._amounts = {slot: amount for slot, amount in self._amounts.items() if slot >= oldest}

    def _gap_s(self, amount: float, per_min: int) -> float:
        return WINDOW_S * min(amount, per_min) / per_min
