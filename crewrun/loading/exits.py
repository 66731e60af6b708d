"""What there is to say of the user's code that ends the process while it is loaded."""

import os
import traceback

from crewrun.loading.load import Stop
from crewrun.loading.user_code import place_of


def exit_of(failed: SystemExit) -> Stop:
    """The stop that `failed` is."""
    files = {os.path.basename(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(failed.__traceback__)}
    if "argparse.py" in files:
        what = "its own arguments, of which it has none here"
        way_out = "; give them defaults, or parse them under `if __name__ == '__main__':`"
    else:
        what = f"sys.exit({'' if failed.code is None else repr(failed.code)})"
        way_out = "; put that under `if __name__ == '__main__':`"
    return Stop(place_of(failed), what, "", way_out, has_ended=True)
