"""The command line: `app`, and one file per command. Nothing else in the package imports it."""
