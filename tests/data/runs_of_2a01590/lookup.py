import os
import signal

from crewrun.tools import tool


@tool
def lookup(topic: str) -> str:
    """Look a topic up."""
    if os.environ.get("CRASH"):
        os.kill(os.getpid(), signal.SIGKILL)
    with open("lookups.txt", "a") as file:
        file.write(f"{topic}\n")
    return f"{topic} is well known"
