"""A headless Chromium, driven by the DevTools protocol over its pipe: no driver, no port, no library.

Protocol: https://chromedevtools.github.io/devtools-protocol/; with `--remote-debugging-pipe`, file descriptors 3 and 4
carry messages that end with a zero byte.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "chromium-headless-shell",
)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--js-flags=--expose-gc",
    "--remote-debugging-pipe",
)
_TIMEOUT_S = 60
_KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    "ArrowDown": (40, ""),
    "ArrowUp": (38, ""),
    "End": (35, ""),
    "ArrowLeft": (37, ""),
    "ArrowRight": (39, ""),
    "Home": (36, ""),
    "PageDown": (34, ""),
    "PageUp": (33, ""),
}


def program() -> str | None:
    """The browser to test with: CREWRUN_TEST_BROWSER, or the first that is installed."""
    return os.environ.get("CREWRUN_TEST_BROWSER") or next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One browser process. `with Browser() as browser: tab = browser.open(path)`."""

    def __init__(self) -> None:
        self.events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._number = 0
        self._unread = b""

    def __enter__(self) -> "Browser":
        self._home = tempfile.mkdtemp(prefix="browser-")
        read_end, self._write_fd = _pipe()
        self._read_fd, write_end = _pipe()
        actions = [(os.POSIX_SPAWN_DUP2, read_end, 3), (os.POSIX_SPAWN_DUP2, write_end, 4)]
        actions += [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]  # type: ignore[misc]  # both are file actions
        argv = [str(program()), *_FLAGS, f"--user-data-dir={self._home}", "about:blank"]
        env = {"HOME": self._home, "TMPDIR": self._home, "PATH": os.environ["PATH"], "TZ": "UTC", "LANG": "C.UTF-8"}
        self._pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setpgroup=0)
        os.close(read_end)
        os.close(write_end)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._read_fd)
        os.close(self._write_fd)
        shutil.rmtree(self._home, ignore_errors=True)

    def open(
        self, page: Path, fragment: str = "", *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> "Tab":
        """A page in a tab of its own, loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.send(f"{domain}.enable")
        tab.send("Performance.enable", timeDomain="threadTicks")
        tab.resize(width, height)
        tab.set_dark(dark)
        tab.load(page, fragment)
        return tab

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        self._number += 1
        message = {
            "id": self._number,
            "method": method,
            "params": params,
            **({"sessionId": session} if session else {}),
        }
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._write_fd, rest) :]
        number = self._number
        while True:
            reply = self._receive()
            if reply.get("id") == number:
                assert "error" not in reply, (method, reply["error"])
                result: dict[str, Any] = reply["result"]
                return result

    def wait_event(self, session: str, method: str) -> None:
        """Wait until the session has had an event since the last time."""
        while not any(event["method"] == method for event in self.events[session]):
            self._receive()

    def _receive(self) -> dict[str, Any]:
        until = time.monotonic() + _TIMEOUT_S
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read_fd], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._read_fd, 1 << 20)
            assert piece, "the browser has ended"
            self._unread += piece
        text, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events[message.get("sessionId", "")].append(message)
        return message


class Tab:
    """One page."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.browser, self.target, self.session = browser, target, session
        self.page = Path()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol."""
        return self.browser.send(method, self.session, **params)

    def load(self, page: Path, fragment: str = "") -> None:
        """Open a file, and wait until all of it is parsed."""
        self.page = page
        self.browser.events[self.session].clear()
        self.send("Page.navigate", url=page.as_uri() + fragment)
        self.browser.wait_event(self.session, "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited where it is a promise."""
        done = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression holds, looked at before every frame."""
        self.run(
            "new Promise((done, fail) => { const end = performance.now() + 30000; const look = () => { "
            f"if ({condition}) done(true); else if (performance.now() > end) fail(new Error('not within 30 s')); "
            "else setTimeout(look, 4); }; look(); })"
        )

    def text(self, selector: str) -> str:
        """The text of the first element that a selector finds, as it is rendered."""
        found: str = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return found

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements."""
        found: list[str] = self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)")
        return found

    def click(self, selector: str) -> None:
        """Click in the middle of an element, with the mouse."""
        box = self.run(
            "(e => { e.scrollIntoView({block: 'center', behavior: 'instant'}); const b = e.getBoundingClientRect(); "
            f"return [b.x + b.width / 2, b.y + b.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key by its name, or a character."""
        code, text = _KEYS[key] if key in _KEYS else (ord(key.upper()), key)
        how = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **how)
        self.send("Input.dispatchKeyEvent", type="keyUp", **how)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def resize(self, width: int, height: int) -> None:
        """The size of the window in pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def set_dark(self, dark: bool) -> None:
        """What the system prefers. Nothing moves, so that a click meets what it is meant for."""
        preferences = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in preferences.items()]
        self.send("Emulation.setEmulatedMedia", features=features)

    def picture(self, to: Path, selector: str | None = None) -> None:
        """Write a picture of the window, or of an element."""
        params: dict[str, Any] = {}
        if selector:
            box = self.run(
                "(e => { const b = e.getBoundingClientRect(); "
                "return [b.x + scrollX, b.y + scrollY, b.width, b.height]; })"
                f"(document.querySelector({json.dumps(selector)}))"
            )
            clip = dict(zip(("x", "y", "width", "height"), box, strict=True))
            params = {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True}
        to.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png", **params)["data"]))

    def pdf(self, to: Path) -> None:
        """Print the page."""
        to.write_bytes(base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"]))

    @property
    def cpu_s(self) -> float:
        """How long the page's own thread has worked so far: the same on a busy machine."""
        metrics = {one["name"]: one["value"] for one in self.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    @property
    def problems(self) -> list[str]:
        """Errors on the console, exceptions, and what the browser logged, violated policies among it."""
        self.run("1")  # what happened before has been reported by now
        found = []
        for event in self.browser.events[self.session]:
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"].get("exception", params).get("description", params)))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(str([arg.get("value", arg.get("description")) for arg in params["args"]]))
        return found

    @property
    def requests(self) -> list[str]:
        """What the page asked the network for, itself left out."""
        sent = [
            e["params"]["request"]["url"]
            for e in self.browser.events[self.session]
            if e["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in sent if url.partition("#")[0] != self.page.as_uri()]

    def close(self) -> None:
        """Close the tab."""
        self.browser.send("Target.closeTarget", targetId=self.target)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are clear of the descriptors that the browser gets."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
