"""Makes `docs/terminal.svg`, the picture in the README, from a real run in a pseudo-terminal.

    python docs/make_pictures.py

It runs `crewrun batch` on made-up tickets against `crewrun mock`, so it costs nothing. The picture shows the screen in
the middle of the run and at its end, as it was: renew it when the live display or the summary changes, and look at it.
"""

import csv
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyte
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS, LINES = 112, 30
ROWS, MIDDLE = 2000, 0.55  # a run of some seconds, and how much of it has passed in the first screen
COMMAND = "crewrun batch tickets.csv -j 100 --budget 1"
PICTURE = Path(__file__).with_name("terminal.svg")
CREW = """\
agents:
  clerk: {role: Support clerk, goal: Sort tickets, backstory: You have read ten thousand of them.}
tasks:
  label:
    agent: clerk
    description: "Which department is this for? {subject}: {body}"
    expected_output: The department in one word
llm: {model: gpt-4.1-mini, max_tokens: 20}
"""
# Muted colours that are legible on the window's dark ground; the window has the same ground on a light page.
THEME = TerminalTheme(
    background=(22, 27, 34),
    foreground=(201, 209, 217),
    normal=[
        *((72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65)),
        *((121, 192, 255), (210, 168, 255), (86, 212, 221), (201, 209, 217)),
    ],
    bright=[
        *((110, 118, 129), (255, 161, 152), (126, 231, 135), (242, 204, 96)),
        *((165, 214, 255), (226, 197, 255), (179, 240, 255), (240, 246, 252)),
    ],
)
# Rich's own format without its web font, which a picture may not load.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
  <style>
    .{unique_id}-matrix {{
      font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
      font-size: {char_height}px; line-height: {line_height}px;
    }}
    {styles}
  </style>
  <defs>
    {lines}
  </defs>
  <rect fill="#161b22" width="100%" height="100%" rx="8"/>
  <g transform="translate({terminal_x}, {terminal_y})">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
  </g>
</svg>
"""


def main() -> None:
    """Run, choose two screens, write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder))
        words = [*crewrun(), "mock", "--port", "0", "--latency", "0.35"]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as mock:  # noqa: S603
            address = next(
                match[0] for line in mock.stderr or () if (match := re.search(r"http://[\d.:]+(/v1)?", line))
            )
            env = {"OPENAI_BASE_URL": address, "OPENAI_API_KEY": "any", "TERM": "xterm-256color"}
            screens = list(record(Path(folder), env))
            mock.terminate()
    began, ended = screens[0][0], screens[-1][0]
    middle = next(screen for at, screen in screens if at - began >= MIDDLE * (ended - began))
    draw(middle, screens[-1][1])


def crewrun() -> list[str]:
    """The command of this environment."""
    return [sys.executable, "-m", "crewrun"]


def write_inputs(folder: Path) -> None:
    """A crew and its table. One ticket has no body, and two make the mock cut off its answer."""
    (folder / "crew.yaml").write_text(CREW, encoding="utf-8")
    words = {1100: "FAIL-LENGTH", 1101: "FAIL-LENGTH"}
    with (folder / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "subject", "body"])
        tickets = [[7000 + n, f"Ticket {n}", words.get(n, "Please help.")] for n in range(ROWS)]
        del tickets[700][2]
        table.writerows(tickets)


def record(folder: Path, env: dict[str, str]) -> Iterator[tuple[float, list[Text]]]:
    """Each screen of the run with its time."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    words = [*crewrun(), *COMMAND.split()[1:]]
    env = os.environ | env
    with subprocess.Popen(words, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs):  # noqa: S603
        os.close(theirs)
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # Linux says so when the other end is closed
                break
            if not piece:
                break
            stream.feed(piece)
            yield time.monotonic(), copy(screen)
    os.close(ours)


def copy(screen: pyte.Screen) -> list[Text]:
    """The lines of the screen with their styles, without the empty ones at the end."""
    lines = []
    for number in range(LINES):
        line = Text()
        for column in range(COLUMNS):
            char = screen.buffer[number][column]
            style = [name for name in ("bold", "italics", "underscore", "reverse") if getattr(char, name)]
            words = [{"italics": "italic", "underscore": "underline"}.get(name, name) for name in style]
            line.append(char.data, " ".join([*words, _colour(char.fg)]).strip())
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


def _colour(name: str) -> str:
    """Pyte's name of a colour in Rich's words."""
    if name == "default":
        return ""
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    return name.replace("brown", "yellow").replace("bright", "bright_")


def draw(middle: list[Text], end: list[Text]) -> None:
    """Write the two screens, the second below the first, each under the command or a remark."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w", encoding="utf-8"), highlight=False)  # noqa: SIM115
    console.print(Text.assemble(("$ ", "green"), (COMMAND, "bold")))
    for line in middle:
        console.print(line)
    console.print()
    console.print(Text("# … and at the end:", "bright_black"))
    for line in [*end, Text()]:  # the ground reaches below the last line
        console.print(line)
    svg = console.export_svg(theme=THEME, code_format=FORMAT, unique_id="crewrun")
    PICTURE.write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE), encoding="utf-8")


if __name__ == "__main__":
    main()
