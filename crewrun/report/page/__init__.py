"""The page of a report: one HTML file that opens without a server, a network or a library.

`document` composes it of the scripts and the style sheet in this folder, with the data apart from all markup. The
scripts are plain modules, which editors and linters understand; a browser gets them as one.
"""

from crewrun.report.page.document import write_page

__all__ = ["write_page"]
