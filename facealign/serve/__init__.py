"""A page to try the aligner in a browser, and an HTTP API beside it."""
