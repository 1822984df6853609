"""Files: read with clear errors, written whole or not at all; images, plots, Markdown."""
