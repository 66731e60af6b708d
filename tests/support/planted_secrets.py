"""A crew with secrets in all places where users have theirs, and a server that quotes them in all ways.

A row says which secret is quoted, how, and in what kind of reply: `QUOTE bearer/whole/message`.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from support.command import write_rows
from support.wire_server import Asked, Reply, WireServer, completion, tool_call

# None has a shape that is known: nothing but that they are the run's can tell them.
PLANTED = {
    "key of the environment": "Zq7Wmt-environ-4Kd0Pxb",
    "key in the file": "Yb3Kfile.literal/88+Tg==",
    "variable of any name": "Xw9Vvariable_of_any_name_55",
    "header": "Wd2Hheader-value-Rt61Ln",
    "bearer": "Vc5Bbearer.token-Jm20Qz",
    "basic password": "Ug8Abasic-password-Hs77",
    "password in the address": "Tf1Paddress-password-Fk93",
    "password of the proxy": "Sr4Xproxy-password-Dw28",
    "nested parameter": "Rn6Nnested-token-Bz44Yc",
    "additional parameter": "Qm0Mdeep-secret-Np19Vd",
    "variable of a tool": "Pk3Ttool-variable-Lc82Xs",
    "literal in a tool": "Oj7Lliteral-in-code-Gb50Wr",
    "certificate": 'Ni2Cline one\nline "two" & <three>',
}
CREW = f"""\
llm:
  model: openai/m
  api_key: {PLANTED["key in the file"]}
  extra_headers:
    api-key: {PLANTED["header"]}
    X-Session: "Bearer {PLANTED["bearer"]}"
    X-Old-Session: Basic {b64encode(f"user:{PLANTED['basic password']}".encode()).decode()}
  additional_params:
    auth: {{user: me, session: {{token: "{PLANTED["nested parameter"]}"}}}}
    signing_secret_key: {PLANTED["additional parameter"]}
    tls_private_key: {json.dumps(PLANTED["certificate"])}
agents:
  writer: {{role: Writer, goal: Write, backstory: Old, tools: ["tools:look_up"]}}
  other: {{role: Other, goal: Write, backstory: Old, llm: {{model: openai/m, api_key: "${{SOME_SETTING}}"}}}}
tasks:
  draft: {{agent: writer, description: "Write about {{topic}}", expected_output: One line}}
  never: {{agent: other, description: "Go on about {{topic}}", expected_output: One line}}
"""
TOOLS = f"""\
import json
from pathlib import Path
from crewrun.errors import ToolFailed
from crewrun.tools import ToolFailure, tool

class Client:
    def __init__(self, api_key): self.api_key = api_key

client = Client(api_key="{PLANTED["literal in a tool"]}")

@tool
def look_up(word: str) -> str:
    \"\"\"Look a word up.\"\"\"
    name, way, kind = word.split("/")
    text = json.loads(Path(__file__).with_name("quotations.json").read_text())[f"{{name}}/{{way}}"]
    if kind == "tool reports":
        return ToolFailure(text)
    raise (ToolFailed if kind == "tool gives up" else RuntimeError)(text)
"""


def shown_in_part(secret: str) -> str:
    return f"{secret[:4]}...{secret[-4:]}"


QUOTED: Mapping[str, Callable[[str], str]] = {
    "whole": lambda secret: secret,
    "beginning": lambda secret: secret[:10],
    "end": lambda secret: secret[-12:],
    "cut with dots": lambda secret: secret[:11] + "…",
    "in part": shown_in_part,
    "base64": lambda secret: b64encode(f"me:{secret}".encode()).decode(),
    "in a url": lambda secret: "https://x.test/?k=" + quote(secret, safe=""),
    "upper": lambda secret: secret.upper(),
}


def with_header(name: str) -> Callable[[str], Reply]:
    return lambda text: Reply(400, b"{}", {name: " ".join(text.split())})


def asking_for_the_tool(word: str) -> Reply:
    return Reply(200, completion(None, "tool_calls", tool_calls=[tool_call(json.dumps({"word": word}), id="call_1")]))


REPLIES: Mapping[str, Callable[[str], Reply]] = {
    "message": lambda text: Reply(400, {"error": {"message": f"no such key: {text}", "code": None}}),
    "text": lambda text: Reply(400, {"error": text}),
    "plain": lambda text: Reply(400, f"refused {text}".encode()),
    "html": lambda text: Reply(400, f"<html><body>{text}</body></html>".encode()),
    "code": lambda text: Reply(400, {"error": {"message": "bad", "code": text, "type": text, "param": text}}),
    "other json": lambda text: Reply(400, {"request": {"headers": {"x": text}}}),
    "location": lambda text: Reply(307, b"", {"Location": "/" + quote(text, safe="=:/")}),
    "header": with_header("x-amzn-errortype"),
    "in a 200": lambda text: Reply(200, {"error": {"code": 400, "message": text}}),
    "generation": lambda text: Reply(
        400, {"error": {"code": "content_filter", "message": text, "failed_generation": text}}
    ),
    "finish": lambda text: Reply(200, completion("fine", f"odd {text}")),
    "garbage": lambda text: Reply(200, f"<{text}>".encode()),
}


def quoting(asked: Asked) -> Reply | None:
    """The reply that the row asks for."""
    said = "\n".join(str(message.get("content")) for message in asked.body["messages"])
    wanted = re.search(r"QUOTE ([\w ]+)/([\w ]+)/([\w ]+)", said)
    if wanted is None:
        return None
    text = QUOTED[wanted[2]](PLANTED[wanted[1]])
    if wanted[3].startswith("tool"):
        return Reply(200, completion("done")) if asked.has_results else asking_for_the_tool("/".join(wanted.groups()))
    return REPLIES[wanted[3]](text)


def environment(server: WireServer) -> dict[str, str]:
    return {
        "OPENAI_API_KEY": PLANTED["key of the environment"],
        "SOME_SETTING": PLANTED["variable of any name"],
        "DEALS_TOKEN": PLANTED["variable of a tool"],
        "OPENAI_BASE_URL": server.base_url.replace("://", f"://me:{PLANTED['password in the address']}@"),
        "HTTPS_PROXY": f"http://me:{PLANTED['password of the proxy']}@127.0.0.1:9",
    }


def plant(folder: Path, rows: list[str]) -> None:
    (folder / "crew.yaml").write_text(CREW)
    (folder / "tools.py").write_text(TOOLS)
    quotations = {f"{name}/{way}": QUOTED[way](PLANTED[name]) for name in PLANTED for way in QUOTED}
    (folder / "quotations.json").write_text(json.dumps(quotations))
    write_rows(folder / "in.jsonl", [{"topic": f"topic {number} {row}"} for number, row in enumerate(rows)])


def traces(text: str) -> list[str]:
    """What of the planted secrets is in a text."""
    found = []
    for name, secret in PLANTED.items():
        for form in (secret, *(quoted(secret) for quoted in QUOTED.values()), json.dumps(secret)[1:-1]):
            needle = form.removeprefix("https://x.test/?k=").rstrip("…")
            inner = needle[4:-4] if len(needle) > 30 else needle  # what base64 has of the characters beside it
            if inner in text or inner.lower() in text:
                found.append(f"{name}: {inner}")
    return found


def leaks(folder: Path) -> dict[str, list[str]]:
    """What of the planted secrets is in files below a folder which the user has not written."""
    own = {"crew.yaml", "tools.py", "quotations.json", "in.jsonl"}
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in own and path.suffix != ".pyc")
    found = {str(path.relative_to(folder)): traces(path.read_bytes().decode("utf-8", "replace")) for path in files}
    return {name: kinds for name, kinds in found.items() if kinds}


def every_quotation() -> list[str]:
    """A row for each secret in each way, the kinds of replies in turn, and whole in each kind of reply."""
    kinds = [*REPLIES, "tool", "tool reports", "tool gives up"]
    rows = [f"QUOTE {name}/whole/{kind}" for name in PLANTED for kind in kinds]
    ways = [(name, way) for name in PLANTED for way in QUOTED]
    return rows + [f"QUOTE {name}/{way}/{kinds[i % len(kinds)]}" for i, (name, way) in enumerate(ways)]
