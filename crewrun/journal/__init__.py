"""`journal.sqlite` and `log.jsonl`: what a run was answered, written before it is published, and read back."""
