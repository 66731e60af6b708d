"""Commands that look at a run without changing it: status, show, verify, export, merge, gc."""
