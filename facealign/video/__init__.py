"""Video: frames in and out, faces followed from frame to frame, landmarks smoothed over time."""
