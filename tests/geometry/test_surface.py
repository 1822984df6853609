"""Surfaces in depth against planes, spheres and cubes, whose views are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facealign.geometry.surface import carry, facing, outline, rotate
from tests.flat_grid import flat_grid

DOWN = np.array([0.0, 1, 0])
angles = st.floats(-80, 80)


def hemisphere(radius, columns=25):
    """The front of a sphere about the origin: a grid over it, pulled to the viewer."""
    side = 0.7 * radius
    vertices, triangles = flat_grid(-side, -side, side, side, columns)
    flat = vertices[:, :2]
    depth = -np.sqrt(radius**2 - (flat**2).sum(axis=1))
    return np.column_stack([flat, depth]), triangles


def test_a_flat_surface_turned_is_narrower_by_the_cosine():
    vertices, _ = flat_grid(0, 0, 8, 6)
    turned = rotate(vertices, DOWN, vertices.mean(axis=0), 60)
    assert np.ptp(turned[:, 0]) == pytest.approx(np.ptp(vertices[:, 0]) / 2)
    np.testing.assert_allclose(turned[:, 1], vertices[:, 1], atol=1e-12)


@given(angles, st.tuples(*[st.floats(-50, 50)] * 3))
def test_turning_back_gives_what_was(degrees, through):
    vertices, _ = hemisphere(10)
    there = rotate(vertices, DOWN, np.array(through), degrees)
    np.testing.assert_allclose(rotate(there, DOWN, np.array(through), -degrees), vertices, atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(there - through, axis=1), np.linalg.norm(vertices - through, axis=1)
    )


@given(st.floats(-40, 40))
def test_a_point_of_a_sphere_is_carried_to_where_it_turns(degrees):
    sphere, triangles = hemisphere(100, 61)
    turned = rotate(sphere, DOWN, np.zeros(3), degrees)
    point = np.array([20.0, -30, -np.sqrt(100**2 - 20**2 - 30**2)])
    longitude = np.arctan2(point[0], -point[2]) + np.radians(degrees)
    expected = np.hypot(point[0], point[2]) * np.sin(longitude), point[1]
    np.testing.assert_allclose(carry(point[None, :2], sphere, turned, triangles)[0], expected, atol=0.2)


@given(angles)
def test_carrying_between_planes_is_affine_even_outside(degrees):
    plane, triangles = flat_grid(0, 0, 3, 2, 4)
    turned = rotate(plane, DOWN, np.array([1.0, 0, 0]), degrees)
    points = np.array([[0.3, 0.9], [2.2, 1.7], [-1.0, 0.5], [9.0, 9.0]])
    expected = np.column_stack([1 + (points[:, 0] - 1) * np.cos(np.radians(degrees)), points[:, 1]])
    np.testing.assert_allclose(carry(points, plane, turned, triangles), expected, atol=1e-9)


def test_of_two_sheets_the_frontmost_carries():
    sheet, triangles = flat_grid(0, 0, 2, 2, 3)
    both = np.vstack([sheet + np.array([0, 0, 1]), sheet])  # the second one is nearer
    moved = both + np.repeat([[0.0, 5, 0], [7, 0, 0]], len(sheet), axis=0)
    layers = np.vstack([triangles, triangles + len(sheet)])
    np.testing.assert_allclose(carry(np.array([[1.2, 0.7]]), both, moved, layers), [[8.2, 0.7]])


def test_the_back_of_a_cube_faces_away():
    corners = np.array([[x, y, z] for z in (-1.0, 1) for y in (-1, 1) for x in (-1, 1)])
    front, back = [[0, 1, 3], [0, 3, 2]], [[4, 7, 5], [4, 6, 7]]
    right = [[1, 5, 7], [1, 7, 3]]
    triangles = np.array(front + back + right)
    assert facing(corners[:, :2], triangles).tolist() == [True, True, False, False, False, False]
    turned = rotate(corners, DOWN, np.zeros(3), -45)  # its right side comes into view
    assert facing(turned[:, :2], triangles).tolist() == [True, True, False, False, True, True]


def test_the_outline_of_a_grid_is_its_rim_in_order():
    vertices, triangles = flat_grid(0, 0, 3, 3, 4)
    rim = vertices[outline(triangles), :2]
    steps = np.roll(rim, -1, axis=0) - rim
    assert len(rim) == 12
    np.testing.assert_array_equal(np.abs(steps).sum(axis=1), 1)
    area = (rim[:, 0] * np.roll(rim[:, 1], -1) - rim[:, 1] * np.roll(rim[:, 0], -1)).sum() / 2
    assert area == 9  # clockwise on the screen, as the triangles


def test_the_longest_border_is_the_outline_and_a_closed_surface_has_none():
    _, triangles = flat_grid(0, 0, 5, 5)
    middle = np.isin(triangles, [14]).any(axis=1)  # a hole
    assert len(outline(triangles[~middle])) == 20
    with pytest.raises(ValueError, match="border"):
        outline(np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]))
