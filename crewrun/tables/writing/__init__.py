"""How tables of results are written, in any format."""
