"""Made-up annotated photos that can be read back: a dot of its own colour on every landmark."""

from itertools import product

import cv2
import numpy as np

# 68 colours of the dots, and colours of the ground that are at least 27 away from each in every channel.
DOTS = np.array(list(product((30, 85, 140, 195, 250), repeat=3)), np.uint8)[3:71]
GROUNDS = np.array(list(product((57, 112, 167, 222), repeat=3)), np.uint8)
NEAR = 27

# Which landmark each becomes in the mirror, as the 68-point markup is drawn: pairs by hand.
PAIRS = [
    *((i, 16 - i) for i in range(8)),  # contour
    *((17 + i, 26 - i) for i in range(5)),  # brows
    *((31, 35), (32, 34)),  # nostrils
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),  # outer lips
    *((60, 64), (61, 63), (65, 67)),  # inner lips
]
MIRRORED = np.arange(68)
for one, other in PAIRS:
    MIRRORED[one], MIRRORED[other] = other, one


def dotted_photo(rng, ground, spacing=24, height=330, width=340):
    """A photo (height, width, 3) and its landmarks (68, 2): about a grid, `spacing` pixels apart."""
    grid = np.array([(column, row) for row in range(8) for column in range(9)][:68], float)
    points = grid * spacing + rng.uniform(-1, 1, (68, 2)) + (60, 90) + rng.uniform(-15, 15, 2)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = GROUNDS[ground]
    for (x, y), colour in zip(points, DOTS, strict=True):
        # places in sixteenths of a pixel
        centre = (round(x * 16), round(y * 16))
        cv2.circle(image, centre, round(0.45 * spacing * 16), colour.tolist(), cv2.FILLED, shift=4)
    return image, points


def write_photo(folder, name, rng, ground, suffix=".png"):
    """Write a dotted photo and its .pts; returns the landmarks."""
    image, points = dotted_photo(rng, ground)
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}{suffix}"), image)
    lines = "\n".join(f"{x + 1:.6f} {y + 1:.6f}" for x, y in points)
    (folder / f"{name}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    return points


def ground_of(crop):
    """Index of the ground colour that a crop (h, w, 3) shows most of."""
    counts = (crop.reshape(-1, 1, 3) == GROUNDS).all(axis=-1).sum(axis=0)
    assert counts.max() > 100
    return int(counts.argmax())


def dots_at(crop, points):
    """Which dot a crop shows at each of the points (n, 2): 0..67, or -1 for none and places outside."""
    found = np.full(len(points), -1)
    for index, (x, y) in enumerate(points.round().astype(int)):
        if 0 <= x < crop.shape[1] and 0 <= y < crop.shape[0]:
            off = np.abs(DOTS.astype(int) - crop[y, x]).max(axis=1)
            if off.min() < NEAR:
                found[index] = off.argmin()
    return found
