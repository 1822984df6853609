"""From an image to faces with landmarks and pose."""
