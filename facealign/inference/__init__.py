"""Inference: the faces of an image, with landmarks and pose."""
