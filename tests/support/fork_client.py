"""What a shell starts in place of `crewrun`: it hands its streams to `fork_server`, and ends as the fork does.

It imports little, since its start is what a test waits for. `forks.shell` is for tests.
"""

import json
import os
import resource
import sys
from socket import send_fds, socket


def main() -> None:
    """The first argument is the line to the server, the others are the command's."""
    line, *args = sys.argv[1:]
    read_told, told = os.pipe()
    command = {
        "args": args,
        "cwd": os.getcwd(),
        "env": dict(os.environ),
        "kill_at": None,
        "file_size": resource.getrlimit(resource.RLIMIT_FSIZE),  # the shell may have had `ulimit -f`
    }
    send_fds(socket(fileno=int(line)), [json.dumps(command).encode()], [0, 1, 2, told])
    os.close(told)
    with os.fdopen(read_told) as telling:
        _, end = telling
    code = int(end.split()[0])
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
