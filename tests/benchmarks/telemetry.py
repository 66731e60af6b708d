"""What traces and metrics cost each row: the CPU time of a batch with them and without, in turn. See README.md.

The collector is a process of its own that reads what it is sent and decodes nothing.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from paired import CREW

COLLECTOR = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def main() -> None:
    """Print the CPU time and the time per row of both, and the median ratios of the pairs with their quartiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--flag", default="", help="another flag of the runs with telemetry")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("crew.yaml").write_text(CREW, encoding="utf-8")
        rows = (f'{{"topic": "topic {i}"}}\n' for i in range(options.rows))
        Path("in.jsonl").write_text("".join(rows), encoding="utf-8")
        collector = subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True)
        assert collector.stdout is not None
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.stdout.readline().strip()}"}
        flags = options.flag.split()
        pairs = []
        for i in range(options.pairs):
            first_on = bool(i % 2)
            one = measured(on, flags) if first_on else measured({}, [])
            other = measured({}, []) if first_on else measured(on, flags)
            pairs.append((one, other) if first_on else (other, one))
        collector.kill()
    for what, index in (("CPU", 0), ("wall", 1)):
        with_, without = ([pair[side][index] for pair in pairs] for side in (0, 1))
        per_row = [statistics.median(times) / options.rows * 1e6 for times in (with_, without)]
        low, median, high = statistics.quantiles([a / b for a, b in zip(with_, without, strict=True)], n=4)
        print(f"{what}: {per_row[0]:.0f} µs per row with telemetry, {per_row[1]:.0f} without;", end=" ")
        print(f"ratio {median:.3f} ({low:.3f} to {high:.3f}), {options.pairs} pairs of {options.rows:,} rows")


def measured(variables: dict[str, str], flags: list[str]) -> tuple[float, float]:
    """The CPU time of one batch as a whole process, and the seconds that its rows took, as its summary says."""
    command = [sys.executable, "-m", "crewrun", "batch", "in.jsonl", "-m", "offline", "--fresh", "-q", "-o", "o.jsonl"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "--summary", "s.json", *flags], env={**os.environ, **variables}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    import json

    wall_s = json.loads(Path("s.json").read_text(encoding="utf-8"))["duration_s"]
    for old in Path().glob("o.*"):
        subprocess.run(["rm", "-rf", str(old)], check=True)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s


if __name__ == "__main__":
    main()
