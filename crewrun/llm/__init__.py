"""Talking to models: what users name (`model`), the one door (`gateway`) and the ways out (`*_transport`)."""
