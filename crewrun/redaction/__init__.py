"""Secrets: which values are secrets, the forms in which a text can hold them, and the texts without them."""
