"""litellm itself: imported here and nowhere else, kept quiet, and its HTTP clients closed."""

import inspect
import logging
import os
import sys
import warnings
from typing import Any

from crewrun.library_warnings import tolerant
from crewrun.llm.transports.litellm.wire import keep_replies


@tolerant
def load_litellm() -> Any:
    """Import litellm and keep it quiet: no telemetry, no output, no callbacks, no retries.

    Takes seconds the first time; later calls only set the same values again.
    """
    # Without the first, the import fetches a price list from GitHub. Without the second it reads ./.env, but crewrun
    # decides which file a run's variables come from. Without the third it downloads images, for providers that take no
    # URLs, from any address in a row's text, this machine's own network included.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    os.environ.setdefault("MAX_IMAGE_URL_DOWNLOAD_SIZE_MB", "0")
    import litellm
    from litellm.litellm_core_utils.prompt_templates import image_handling
    from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    if os.environ["MAX_IMAGE_URL_DOWNLOAD_SIZE_MB"] == "0":  # it was imported before the variable was set
        image_handling.MAX_IMAGE_URL_DOWNLOAD_SIZE_MB = 0

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.num_retries = 0
    for hooks in ("callbacks", "input_callback", "success_callback", "failure_callback"):
        setattr(litellm, hooks, [])
        setattr(litellm, f"_async_{hooks}", [])
    # Its handler prints to stdout, where the results go. What it says about a failed call is in the row's error.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        if "LITELLM_LOG" not in os.environ:
            logger.setLevel(logging.CRITICAL)
    # Cancelling a send while litellm prepares it in its thread leaves behind the coroutine that the thread made.
    warnings.filterwarnings("ignore", r"coroutine '\w+\.[^']*completion[^']*' was never awaited", RuntimeWarning)
    AsyncHTTPHandler.single_connection_post_request = _no_second_attempt
    keep_replies(LiteLLMAiohttpTransport)
    return litellm


async def _no_second_attempt(*_: Any, **__: Any) -> Any:
    """Replaces litellm's resend after a broken connection, which has no switch.

    `AsyncHTTPHandler.post` calls it from `except (RemoteProtocolError, ConnectError)`; the provider may have read, and
    billed, the first request.
    """
    raise sys.exception() or RuntimeError("litellm resends outside an except clause")


async def close_clients(litellm: Any) -> None:
    """Close the HTTP clients of the running loop and drop them from litellm's cache.

    litellm's `close_litellm_async_clients` is not used: it also closes those of other loops, which may be at work in
    other threads, and leaves closed OpenAI clients in the cache, where a later loop at the same address finds them.
    """
    cache = litellm.in_memory_llm_clients_cache
    # litellm decides how a key names its loop: by the loop's id in older versions, by its own number in newer ones.
    suffix = cache.update_cache_key_with_event_loop("")
    keys = [key for key in cache.cache_dict if str(key).endswith(suffix)]
    clients = [cache.cache_dict.pop(key) for key in keys]
    # Reading the attribute would create the client.
    clients.append(vars(litellm).get("module_level_aclient"))
    for client in clients:
        close = getattr(client, "close", None)
        if callable(close) and inspect.isawaitable(closing := close()):
            await closing
