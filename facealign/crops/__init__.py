"""Crops of faces, as pure functions on arrays: by a box, as published, and by landmarks."""
