"""`filled`: a server with the values of the environment variables that its `env` and `headers` refer to."""

import os
from collections.abc import Mapping
from dataclasses import replace

from crewrun.llm.variables import Variables
from crewrun.mcp.server import McpServer
from crewrun.redaction.redactor import learn


def filled(server: McpServer, env: Mapping[str, str] = os.environ) -> McpServer:
    """`server` without references, as it is opened. Its values are redacted from now on.

    Raises UsageError for a variable that is not set.
    """
    variables = Variables(env, "it needs a variable")  # after "MCP server 'x' cannot be used: "
    values = {name: variables.fill(dict(getattr(server, name)), name) for name in ("env", "headers")}
    learn(variables.values)
    return replace(server, **values)
