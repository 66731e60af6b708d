"""What `crewrun report` shows of a run: its data as values here, the page they are put into in `page`."""
