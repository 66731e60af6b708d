"""The users' files of rows: a row for each line, record or object. How they are read and written."""
