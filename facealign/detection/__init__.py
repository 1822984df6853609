"""MTCNN face detection."""
