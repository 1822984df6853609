"""One short program per step of the way from photos to numbers."""
