"""Annotated photos: found, read, split, and the boxes that a detector gives them."""
