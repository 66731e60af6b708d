"""What there is to say of the user's code that ends the process while it is loaded."""

import os
import traceback

from crewrun.loading.load import Stop
from crewrun.loading.user_code import place_of


def exit_of(failed: BaseException) -> Stop | None:
    """The stop that `failed` is: the end of the process, or arguments that are not there. None for anything else."""
    if wants_arguments(failed):
        way_out = "; give them defaults, or read them under `if __name__ == '__main__':`"
        what = "its own arguments, of which it has none here"
        is_final = not wants_options(failed)
        return Stop(place_of(failed), what, "", way_out, has_ended=True, is_final=is_final)
    if not isinstance(failed, SystemExit):
        return None
    what = f"sys.exit({'' if failed.code is None else repr(failed.code)})"
    way_out = "; put that under `if __name__ == '__main__':`"
    return Stop(place_of(failed), what, "", way_out, has_ended=True, is_final=True)


def wants_arguments(failed: BaseException) -> bool:
    """Whether the code that raised `failed` looked for arguments of its own command line."""
    if wants_options(failed):
        return True
    frames = traceback.extract_tb(failed.__traceback__)
    return isinstance(failed, IndexError) and bool(frames) and "argv" in (frames[-1].line or "")


def wants_options(failed: BaseException) -> bool:
    """Whether argparse ended the code that raised `failed`: a row answers it with its fields."""
    frames = traceback.extract_tb(failed.__traceback__)
    is_parser = any(os.path.basename(frame.filename) == "argparse.py" for frame in frames)
    return isinstance(failed, SystemExit) and failed.code == 2 and is_parser
