"""A page that runs wholly in the browser, built as a folder of static files."""
