"""Files written whole or not at all, images, plots, Markdown."""
