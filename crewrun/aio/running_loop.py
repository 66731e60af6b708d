"""`is_in_loop`: whether the code that asks runs in an event loop, of asyncio's or of another library's."""

import asyncio

import sniffio


def is_in_loop() -> bool:
    """Whether an event loop runs in this very thread, and not only in the thread that a `to_thread` call came from."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return getattr(sniffio.thread_local, "name", None) is not None
    return True
