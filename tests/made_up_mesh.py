"""A made-up face mesh with mediapipe's triangles: its outline an ellipse, its inside a bulge."""

import numpy as np

from facealign.annotation.turned_mesh import CORNERS, surface


def made_up_mesh(centre=(100.0, 100.0), width=80.0):
    """(478, 3): a frontal face, x, y in pixels and z away from the viewer.

    Each corner inside lies in the mean of its neighbours (Tutte's embedding): no triangle is turned over.
    """
    whole = surface()
    face = whole.triangles[whole.layers == whole.layers.max()]
    pairs = np.unique(np.vstack([face[:, [0, 1]], face[:, [1, 2]], face[:, [2, 0]]]), axis=0)
    pairs = np.unique(np.vstack([pairs, pairs[:, ::-1]]), axis=0)
    degree = np.bincount(pairs[:, 0], minlength=CORNERS)
    weights = np.zeros((CORNERS, CORNERS))
    weights[tuple(pairs.T)] = 1 / degree[pairs[:, 0]]
    rim = whole.outline
    angle = -np.pi / 2 + 2 * np.pi * np.arange(len(rim)) / len(rim)  # from the top, clockwise
    flat = np.zeros((CORNERS, 2))
    flat[rim] = np.column_stack([np.cos(angle) / 2, 0.65 * np.sin(angle)])
    inner = np.setdiff1d(np.arange(CORNERS), rim)
    system = np.eye(len(inner)) - weights[np.ix_(inner, inner)]
    flat[inner] = np.linalg.solve(system, weights[np.ix_(inner, rim)] @ flat[rim])
    bulge = np.sqrt(np.maximum(1 - (flat[:, 0] / 0.5) ** 2 - (flat[:, 1] / 0.65) ** 2, 0))
    corners = np.column_stack([flat, -0.5 * bulge]) * width + (*centre, 0)
    return np.vstack([corners, corners[[33] * 5 + [263] * 5]])
