"""Annotated photos: scanning, reading and splitting them, and their boxes by a face detector."""
