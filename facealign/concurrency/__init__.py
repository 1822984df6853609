"""Work distributed over processes and threads."""
