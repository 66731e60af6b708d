"""HTTP for bulk calls: one POST after another over kept connections, parsed by httptools.

`client` sends; `pool` keeps the connections of each origin; `connection` is one of them, `exchange` what happens on it;
`proxied` sends through proxies, with aiohttp.
"""
