"""Every provider that does not speak OpenAI's protocol, called through litellm.

`transport` sends one request. `requests` makes the keywords of litellm's call, `replies` reads its answer, `errors`
maps its exceptions, `wire` keeps the HTTP reply as the provider sent it, and `library` imports litellm and keeps it
quiet.
"""
