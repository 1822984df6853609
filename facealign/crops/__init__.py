"""Crops of faces, as pure functions on arrays: by a bounding box, as published, and by landmarks."""
