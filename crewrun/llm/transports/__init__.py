"""The ways to a provider, one module each, and what they share: requests and replies as JSON, errors, bodies.

`base` is the protocol, `registry` opens the transport that an endpoint names.
"""
