"""Numbers that somebody else measured, read from tables in the place of a run."""
