"""The command line: `app` and one file per command. Nothing here is imported by the rest of the package."""
