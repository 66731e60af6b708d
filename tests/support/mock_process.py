"""`crewrun mock` as a real process, for every test that needs a provider."""

import json
import signal
import urllib.request
from contextlib import suppress
from subprocess import TimeoutExpired
from types import TracebackType
from typing import Any, Self

from support.forks import start
from support.paths import ROOT

# No proxy of the environment stands between a test and its own machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class MockProcess:
    """A running mock on a free port: `with MockProcess("--rpm", "60") as mock: ... mock.base_url ...`.

    `base_url` ends in `/v1`, `address` is `(host, port)`. Leaving the block stops it; `stdout`, after its first
    line, and `stderr` are filled by then.
    """

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self.base_url = ""
        self.address = ("", 0)
        self.stdout = ""
        self.stderr = ""
        self._stopped = False

    def __enter__(self) -> Self:
        self._process = start("mock", "--port", "0", *self._flags, cwd=ROOT)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the mock did not start: {self._process.communicate()[1]}")
        self.base_url = line.removeprefix("crewrun mock: listening on ").strip()
        host, port = self.base_url.removeprefix("http://").removesuffix("/v1").rsplit(":", 1)
        self.address = (host, int(port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, unless it has ended, and return its exit code. Kills what has not ended in 10 s."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        if not self._stopped:
            self._stopped = True
            with suppress(TimeoutExpired):
                self.stdout, self.stderr = self._process.communicate(timeout=10)
        return self._process.wait()

    def ledger(self, last: int | None = None) -> Any:
        """What `GET /ledger` says: `{"totals": ..., "requests": [...]}`."""
        return self._ledger("GET", "" if last is None else f"?last={last}")

    def clear(self) -> None:
        """Empty the ledger; every FAIL-ONCE fails once more."""
        self._ledger("DELETE", "")

    def wait_in_flight(self, n: int) -> Any:
        """Ask for the ledger until exactly `n` requests are in flight, and return it. Fails after 20,000 answers."""
        for _ in range(20_000):
            if self.ledger(last=0)["totals"]["in_flight"] == n:
                return self.ledger()
        raise AssertionError(f"never {n} in flight: {self.ledger(last=0)}")

    def advance(self, seconds: float) -> None:
        """Move the mock's clock forward."""
        self._send("POST", "/clock", {"advance_s": seconds})

    def job_count(self, path: str = "/v1/batches") -> int:
        """How many batch jobs it has made, on the wire that lists them at `path`."""
        count, after = 0, ""
        while True:
            page = self._send("GET", f"{path}?limit=100{after}")
            if isinstance(page, list):  # Together's
                return len(page)
            if "total" in page:  # Mistral's
                return int(page["total"])
            count += len(page.get("operations", page.get("data", ())))
            if token := page.get("nextPageToken"):  # Gemini's
                after = f"&pageToken={token}"
                continue
            if not page.get("has_more"):
                return count
            after = f"&after={page['last_id']}&after_id={page['last_id']}"

    def batch_faults(self) -> dict[str, Any]:
        """What goes wrong with batch jobs, by name; None is what does not."""
        faults: dict[str, Any] = self._send("GET", "/batch-faults")
        return faults

    def set_batch_faults(self, faults: dict[str, Any]) -> None:
        """Change what goes wrong with batch jobs."""
        self._send("PUT", "/batch-faults", faults)

    def _ledger(self, method: str, query: str) -> Any:
        return self._send(method, f"/ledger{query}")

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        url = self.base_url.removesuffix("/v1") + path
        data = None if body is None else json.dumps(body).encode()
        with _OPENER.open(urllib.request.Request(url, data, method=method), timeout=10) as reply:
            return json.load(reply)
