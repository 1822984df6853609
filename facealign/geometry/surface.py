"""A surface of triangles in depth: its outline, its rotation about a line, points that move along with it.

Vertices are x, y in pixels and z in the same unit, away from the viewer; the view is along z (weak
perspective), so x and y of a vertex are where it appears. Triangles (t, 3) index vertices; those that face
the viewer go round clockwise on the screen.
"""

import cv2
import numpy as np

from facealign.arrays import BoolArray, FloatArray, IntArray


def rotate(vertices: FloatArray, axis: FloatArray, through: FloatArray, degrees: float) -> FloatArray:
    """Vertices (..., 3) rotated about a line.

    axis: (3,), of length 1, the line's direction; through: (3,), a point of it. With the axis down (0, 1, 0),
    a positive angle moves what is nearest to the viewer to the right.

    >>> rotate(np.array([[0.0, 0, -1]]), np.array([0.0, 1, 0]), np.zeros(3), 90).round(6) + 0.0
    array([[1., 0., 0.]])
    """
    return (vertices - through) @ rotation_matrix(axis, degrees).T + through


def rotation_matrix(axis: FloatArray, degrees: float) -> FloatArray:
    """Matrix (3, 3) of the rotation by `rotate`.

    >>> rotation_matrix(np.array([0.0, 1, 0]), 180).round(6) + 0.0
    array([[-1.,  0.,  0.],
           [ 0.,  1.,  0.],
           [ 0.,  0., -1.]])
    """
    return np.asarray(cv2.Rodrigues(np.asarray(axis) * -np.radians(degrees))[0], dtype=np.float64)


def outline(triangles: IntArray) -> IntArray:
    """Vertices (k,) of a surface's longest border, in order, in the direction of its triangles.

    Raises ValueError for a surface without a border.

    >>> outline(np.array([[0, 1, 2], [0, 2, 3]]))
    array([0, 1, 2, 3])
    """
    edges = {
        (int(a), int(b))
        for triangle in triangles
        for a, b in zip(triangle, np.roll(triangle, -1), strict=True)
    }
    following = {a: b for a, b in edges if (b, a) not in edges}
    loops = []
    while following:
        loop = [min(following)]
        while loop[-1] in following:
            loop.append(following.pop(loop[-1]))
        loops.append(loop[:-1])
    if not loops:
        raise ValueError("the surface has no border")
    return np.array(max(loops, key=len))


def facing(points: FloatArray, triangles: IntArray) -> BoolArray:
    """Which triangles (t,) face the viewer, given where the vertices (n, 2) appear; none that is edge-on.

    >>> facing(np.array([[0.0, 0], [1, 0], [0, 1]]), np.array([[0, 1, 2], [0, 2, 1]]))
    array([ True, False])
    """
    first, second, third = np.moveaxis(points[triangles], 1, 0)
    across, along = second - first, third - first
    turn: BoolArray = across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0] > 1e-9
    return turn


def carry(points: FloatArray, before: FloatArray, after: FloatArray, triangles: IntArray) -> FloatArray:
    """Points (k, 2) of a view of a surface, in another view of it, where its vertices have moved.

    before, after: (n, 3), its vertices in both. A point belongs to the frontmost triangle that faces the
    viewer there; one that lies in none, to that which it is least far out of, in the triangle's own measure.

    >>> corners = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])
    >>> carry(np.array([[1.0, 2]]), corners, corners * [2, 1, 1] + [5, 0, 0], np.array([[0, 1, 2]]))
    array([[7., 2.]])
    """
    seen = triangles[facing(before[:, :2], triangles)]
    corners = np.concatenate([before[seen][..., :2], np.ones((len(seen), 3, 1))], axis=2)
    # Barycentric coordinates (k, t, 3): weights of a triangle's corners whose mean is the point.
    weights = np.einsum(
        "kc,tcw->ktw", np.column_stack([points, np.ones(len(points))]), np.linalg.inv(corners)
    )
    inside = weights.min(axis=2)
    depth = np.einsum("ktw,tw->kt", weights, before[seen][..., 2])
    frontmost = np.where(inside > -1e-9, depth, np.inf).argmin(axis=1)
    within = (inside > -1e-9).any(axis=1)
    chosen = np.where(within, frontmost, inside.argmax(axis=1))
    carried: FloatArray = np.einsum(
        "kw,kwc->kc", weights[np.arange(len(points)), chosen], after[seen[chosen]][..., :2]
    )
    return carried
