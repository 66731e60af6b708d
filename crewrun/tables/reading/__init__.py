"""How tables are read: a row for each line, record or object, whatever the format."""
