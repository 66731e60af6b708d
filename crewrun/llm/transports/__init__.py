"""The transports, one module each, and what they share: requests and replies as JSON, errors, bodies.

`base` has the protocol, and `registry` opens the transport that an endpoint names.
"""
