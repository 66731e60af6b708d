"""Mutation testing: put small faults into the code, one at a time, and see whether a test notices.

    python tests/mutation.py crewrun/limits crewrun/journal --sample 200
    python tests/mutation.py crewrun/batch/breaker.py --tests tests/unit

A first pass notes which functions each test enters, in commands too. Then each mutant is tried in a fork with the tests
that enter its function, the fastest first, up to the first that fails. What no test notices is printed, and the exit
code is 1; a mutant may be equivalent to the code, which only a reader can tell.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support.mutants import VARIABLE, Mutant, become, mutants_of, note_entered
from support.paths import ROOT

Entered = dict[str, list[tuple[float, str]]]  # by "path function": how long a test took, and its id


class Runner:
    """A plugin of pytest that runs the tests once, and then those that matter for each mutant."""

    def __init__(
        self, paths: Sequence[str], sample: int | None, seed: int, most_s: float, entered: Path | None
    ) -> None:
        self._paths = paths
        self._sample = sample
        self._seed = seed
        self._most_s = most_s
        self._map = entered
        self._failed = False
        self.survivors: list[Mutant] = []
        self.untested: list[Mutant] = []
        self.tried = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice a failure."""
        self._failed = self._failed or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of a plain run."""
        items = {item.nodeid: item for item in session.items}
        if self._map is not None and self._map.exists():
            entered: Entered = json.loads(self._map.read_text())
        else:
            entered = self._first_pass(session, list(items.values()))
            if self._map is not None:
                self._map.write_text(json.dumps(entered))
        mutants = [mutant for path in self._paths for mutant in mutants_of(path)]
        if self._sample is not None and self._sample < len(mutants):
            mutants = _drawn(mutants, self._sample, self._seed)
        for mutant in sorted(mutants):
            tests = sorted(entered.get(f"{mutant.path} {mutant.function}", []))
            self._try(session, mutant, [(took_s, items[name]) for took_s, name in tests if name in items])
        return True

    def _first_pass(self, session: pytest.Session, items: list[pytest.Item]) -> Entered:
        """Run all tests once; those that fail are left out."""
        entered: Entered = {}
        with tempfile.TemporaryDirectory() as folder:
            notes, found = Path(folder, "entered"), Path(folder, "found.json")

            def run() -> bool:
                os.environ[VARIABLE] = json.dumps({"paths": list(self._paths), "file": str(notes)})
                noted = note_entered(self._paths, notes)
                for item, following in zip(items, [*items[1:], None], strict=True):
                    noted.clear()
                    began = time.monotonic()
                    passed = self._passes(session, item, following)
                    took_s = time.monotonic() - began
                    for name in set(notes.read_text().splitlines()) if passed else ():
                        entered.setdefault(name, []).append((round(took_s, 3), item.nodeid))
                found.write_text(json.dumps(entered))
                return True

            if _in_a_fork(run, None) is None:
                raise SystemExit("the first pass came to no end")
            seen: Entered = json.loads(found.read_text())
            return seen

    def _try(self, session: pytest.Session, mutant: Mutant, tests: list[tuple[float, pytest.Item]]) -> None:
        """Run the tests that enter the mutant's function, for `most_s` seconds of those that they took without it."""
        chosen: list[pytest.Item] = []
        sum_s = 0.0
        for took_s, item in tests:
            if chosen and sum_s + took_s > self._most_s:
                break
            chosen.append(item)
            sum_s += took_s
        if not chosen:
            self.untested.append(mutant)
            return

        def run() -> bool:
            os.environ[VARIABLE] = json.dumps({"mutant": mutant})
            become(mutant)
            following = [*chosen[1:], None]
            return all(self._passes(session, item, then) for item, then in zip(chosen, following, strict=True))

        self.tried += 1
        if _in_a_fork(run, 10 + 5 * sum_s):
            self.survivors.append(mutant)
            print(f"survives {len(chosen)} tests: {mutant}", file=sys.stderr, flush=True)

    def _passes(self, session: pytest.Session, item: pytest.Item, following: pytest.Item | None) -> bool:
        self._failed = False
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return not self._failed


def _drawn(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """Those that a hash puts first: changes elsewhere in the code hardly change which ones they are."""

    def rank(mutant: Mutant) -> bytes:
        return blake2b(f"{seed} {mutant.name}".encode(), digest_size=8).digest()

    return sorted(mutants, key=rank)[:count]


def _in_a_fork(run: Callable[[], bool], limit_s: float | None) -> bool | None:
    """What `run` says in a process of its own; None when it did not end by itself, or not in time."""
    pid = os.fork()
    if pid == 0:
        code = 2
        with suppress(BaseException):
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            code = 0 if run() else 1
        os._exit(code)
    ends = None if limit_s is None else time.monotonic() + limit_s
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG if ends is not None else 0)
        if ended:
            break
        if ends is not None and time.monotonic() > ends:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what its tests have started
    code = os.waitstatus_to_exitcode(status)
    return {0: True, 1: False}.get(code)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", help="files or folders of crewrun")
    parser.add_argument(
        "--tests", nargs="+", default=["tests/unit", "tests/commands"], help="where tests are looked for"
    )
    parser.add_argument("--sample", type=int, help="try that many mutants, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=float, default=60.0, help="seconds of tests for one mutant at most")
    parser.add_argument("--map", type=Path, help="a file that keeps what the first pass found, and spares the next one")
    args = parser.parse_args()
    os.chdir(ROOT)
    paths = [
        file.relative_to(ROOT).as_posix()
        for path in args.paths
        for file in (sorted(Path(path).resolve().rglob("*.py")) if Path(path).is_dir() else [Path(path).resolve()])
    ]
    runner = Runner(paths, args.sample, args.seed, args.most, args.map)
    pytest.main(["-n0", "-s", "-q", "-p", "no:cacheprovider", *args.tests], plugins=[runner])
    noticed = runner.tried - len(runner.survivors)
    print(f"{noticed} of {runner.tried} mutants were noticed, {len(runner.untested)} more are entered by no test")
    for mutant in (*runner.survivors, *runner.untested):
        print(f"{'survives' if mutant in runner.survivors else 'untested'}: {mutant}")
    return 1 if runner.survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
