"""Landmarks, boxes, affine maps and head pose, as pure functions on arrays."""
