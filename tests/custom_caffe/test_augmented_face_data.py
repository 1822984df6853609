"""AugmentedFaceData: its samples against the library's warp, what it draws, in which order, and errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from numpy.typing import NDArray

from facealign.crops.augmentation import Augmentation, Jitter, draw_jitter, jitter_transform, moved
from facealign.crops.targets import decode_targets
from facealign.geometry.affine import block_average, compose, warp
from facealign.geometry.landmarks import MIRROR
from facealign.geometry.similarity import fit_similarity

Floats = NDArray[np.float64]
SIZE = (64, 64)
SETS = ["near", "far away", "near", "near", "far away", "near", "alone"]
"""The set of each face of the LMDB."""
GEOMETRY = "flip: 0.5 shift: 0.08 scale_min: 0.9 scale_max: 1.15 rotate_min: -30 rotate_max: 30 "
COLUMNS = [
    *("record", "flip", "shift_x", "shift_y", "scale", "angle", "noise_std"),
    *("gain_b", "gain_g", "gain_r", "contrast", "brightness", "grey", "blur"),
    *("left", "top", "right", "bottom", "colour_b", "colour_g", "colour_r"),
    *(f"{field}_{n}" for field in ("deform_x", "deform_y", "shade") for n in range(1, 16)),
]


class Face(NamedTuple):
    pixels: NDArray[np.uint8]
    square: Floats
    points: Floats


def face(index: int) -> Face:
    """A smooth picture, no two alike, with a face that it holds whole or, the last one, in part.

    Every second one's square is turned.
    """
    random = np.random.default_rng(index)
    height, width = random.integers(100, 180, 2).tolist()
    coarse = random.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    side = float(random.uniform(66, 140))  # from nearly as large as the crop to where it is averaged first
    centre = np.array([width, height]) / 2 + random.uniform(-4, 4, 2)
    if index == len(SETS) - 1:
        centre[0] = 10.0
    turn = np.radians(random.uniform(-180, 180)) * (index % 2)
    corner = side / np.sqrt(2) * np.array([np.cos(turn + np.pi / 4), np.sin(turn + np.pi / 4)])
    square = np.concatenate([centre - corner, centre + corner])
    return Face(np.asarray(pixels, np.uint8), square, centre + random.uniform(-0.4, 0.4, (68, 2)) * side)


FACES = [face(index) for index in range(len(SETS))]


def record(face: Face) -> bytes:
    height, width = face.pixels.shape[:2]
    return bytes(
        caffe_pb2.Datum(
            channels=3,
            height=height,
            width=width,
            data=face.pixels.transpose(2, 0, 1).tobytes(),
            float_data=[*face.square, *face.points[:, 0], *face.points[:, 1]],
        ).SerializeToString()
    )


def write(path: Path, values: Iterable[bytes], sets: Iterable[str]) -> Path:
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for index, (value, name) in enumerate(zip(values, sets, strict=True)):
            transaction.put(f"{index:09d} {name}".encode(), value)
    return path


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("faces") / "train_faces", map(record, FACES), SETS)


def layer(
    source: Path | str, settings: str = "", batch: int = 64, transform: str = "", drawn: bool = True
) -> str:
    third = 'top: "drawn"' if drawn else ""
    return (
        f'layer {{ name: "data" type: "AugmentedFaceData" top: "data" top: "landmark" '
        f"{third} transform_param {{ {transform} }} "
        f'augmented_face_data_param {{ source: "{source}" batch_size: {batch} {settings} }} }}'
    )


class Batch(NamedTuple):
    data: NDArray[np.float32]
    landmark: NDArray[np.float32]
    drawn: dict[str, Floats]


Sampled = Callable[..., Batch]


@pytest.fixture
def sampled(faces: Path, make_net: Callable[..., Any]) -> Sampled:
    """A function: the first `count` samples with some settings."""

    def sample(
        settings: str, count: int = 64, batch: int | None = None, phase: int = caffe.TRAIN, **more: str
    ) -> Batch:
        batch = batch or count
        net = make_net(layer(faces, settings, batch, **more), phase)
        parts: list[list[Any]] = [[], [], []]
        for _ in range(-(-count // batch)):
            net.forward()
            for part, name in zip(parts, ("data", "landmark", "drawn"), strict=True):
                part.append(net.blobs[name].data.copy())
        data, landmark, rows = (np.concatenate(part)[:count] for part in parts)
        assert rows.shape == (count, len(COLUMNS))
        return Batch(data, landmark, dict(zip(COLUMNS, rows.T.astype(float), strict=True)))

    return sample


def jitters(drawn: dict[str, Floats]) -> list[Jitter]:
    names = ("shift_x", "shift_y", "scale", "angle", "noise_std")
    return [
        Jitter(flip=bool(flip), **dict(zip(names, values, strict=True)))
        for flip, *values in zip(*(drawn[name].tolist() for name in ("flip", *names)), strict=True)
    ]


def map_of(face: Face, jitter: Jitter, size: tuple[int, int] = SIZE) -> Floats:
    """The affine (2, 3) from the loose crop to a varied one: the square's corners on the plain crop's."""
    height, width = size
    corners = np.array([(width - 1) / 2, (height - 1) / 2]) + max(size) / 2 * np.array([[-1.0], [1.0]])
    return compose(jitter_transform(jitter, size), fit_similarity(face.square.reshape(2, 2), corners))


def planes(image: NDArray[Any]) -> NDArray[np.float32]:
    return image.transpose(2, 0, 1).astype(np.float32)


def expected(face: Face, jitter: Jitter) -> tuple[NDArray[np.float32], Floats]:
    """The picture and the landmarks in its pixels, by OpenCV and the library's geometry."""
    affine = map_of(face, jitter)
    pixels, through = face.pixels, affine
    if 1 / np.sqrt(abs(np.linalg.det(affine[:, :2]))) >= 2:
        pixels, grid = block_average(pixels, 2)
        through = compose(affine, grid)
    return planes(warp(pixels, through, SIZE)), moved(face.points, affine, jitter)


def test_a_sample_is_the_warp_of_its_face(sampled: Sampled) -> None:
    batch = sampled("seed: 3 " + GEOMETRY, count=140)
    halved = 0
    for data, values, record, jitter in zip(
        batch.data, batch.landmark, batch.drawn["record"], jitters(batch.drawn), strict=True
    ):
        face = FACES[int(record)]
        picture, points = expected(face, jitter)
        # OpenCV before 5 rounds places to 1/32 of a pixel.
        difference = np.abs(data - picture)
        assert difference.max() <= 3
        assert difference.mean() < 0.5
        np.testing.assert_allclose(decode_targets(values, SIZE), points, atol=1e-4)
        halved += np.hypot(*(face.square[2:] - face.square[:2])) / np.sqrt(2) / 64 / jitter.scale >= 2
    assert 10 < halved < 130
    assert set(batch.drawn["flip"]) == {0, 1}


def bilinear(pixels: NDArray[np.uint8], places: Floats) -> Floats:
    """(3, height, width): a picture at `places` (height, width, 2), by the formula; black outside."""
    framed = np.pad(pixels.astype(float), ((150, 150), (150, 150), (0, 0)))
    corner = np.floor(places).astype(int)
    share = places - corner
    corner += 150
    exact = np.zeros((*places.shape[:2], 3))
    for down in (0, 1):
        for right in (0, 1):
            weight = np.where(right, share[..., 0], 1 - share[..., 0]) * np.where(
                down, share[..., 1], 1 - share[..., 1]
            )
            exact += weight[..., None] * framed[corner[..., 1] + down, corner[..., 0] + right]
    return exact.transpose(2, 0, 1)


def field(drawn: dict[str, Floats], name: str, n: int, points: Floats) -> Floats:
    """The smooth field `name` of sample n at `points` (..., 2) of a crop."""
    angles = np.pi * (points + 0.5) / SIZE[::-1]
    return np.sum(
        [
            drawn[f"{name}_{4 * i + j}"][n] * np.cos(i * angles[..., 0]) * np.cos(j * angles[..., 1])
            for i in range(4)
            for j in range(4)
            if i + j
        ],
        axis=0,
    )


def bend(drawn: dict[str, Floats], n: int, points: Floats) -> Floats:
    """How far from where they would be without it the crop's `points` (..., 2) look."""
    return np.stack([field(drawn, f"deform_{axis}", n, points) for axis in "xy"], axis=-1)


GRID = np.stack(np.mgrid[: SIZE[0], : SIZE[1]][::-1], axis=-1).astype(float)


def test_pixels_are_bilinear_to_the_rounding(sampled: Sampled) -> None:
    """Against the formula in double precision, with black outside."""
    batch = sampled("seed: 5 " + GEOMETRY, count=28)
    compared = 0
    for data, record, jitter in zip(batch.data, batch.drawn["record"], jitters(batch.drawn), strict=True):
        face = FACES[int(record)]
        affine = map_of(face, jitter)
        if 1 / np.sqrt(abs(np.linalg.det(affine[:, :2]))) >= 2:
            continue
        exact = bilinear(face.pixels, (GRID - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T)
        # Shares of neighbours are rounded to 1/2048: at most 255 / 4096 grey levels on either axis.
        assert np.abs(data - exact).max() < 0.5 + 2 * 255 / 4096
        compared += 1
    assert compared > 5


def test_a_deformed_crop(sampled: Sampled) -> None:
    """Where it looks is moved by the field, and landmarks are where their places are seen."""
    batch = sampled("seed: 5 " + GEOMETRY + "deform { probability: 0.8 low: 0.01 high: 0.04 }", count=60)
    compared = Counter[bool]()
    for n, (data, values, jitter) in enumerate(
        zip(batch.data, batch.landmark, jitters(batch.drawn), strict=True)
    ):
        face = FACES[int(batch.drawn["record"][n])]
        affine = map_of(face, jitter)
        seen = decode_targets(values, SIZE)
        moves = bend(batch.drawn, n, seen)
        np.testing.assert_allclose(seen + moves, moved(face.points, affine, jitter), atol=1e-4)
        if 1 / np.sqrt(abs(np.linalg.det(affine[:, :2]))) >= 2:
            continue
        places = GRID + bend(batch.drawn, n, GRID) - affine[:, 2]
        exact = bilinear(face.pixels, places @ np.linalg.inv(affine[:, :2]).T)
        assert np.abs(data - exact).max() < 0.5 + 2 * 255 / 4096
        compared[np.abs(moves).max() > 0.5] += 1
    assert compared[True] > 10
    assert compared[False] > 3


@pytest.mark.parametrize(("name", "side"), [("deform", 64), ("shade", 1)])
def test_fields_are_as_strong_as_they_are_asked_for(name: str, side: int, sampled: Sampled) -> None:
    settings = f"seed: 4 {name} {{ probability: 0.5 low: 0.03 high: 0.03 }}"
    found = sampled(settings, 3000, batch=100).drawn
    for part in ("deform_x", "deform_y") if name == "deform" else ("shade",):
        squares = np.array([np.mean(field(found, part, n, GRID[::4, ::4]) ** 2) for n in range(3000)])
        assert np.mean(squares > 0) == pytest.approx(0.5, abs=0.03)
        assert np.sqrt(squares[squares > 0].mean()) / side == pytest.approx(0.03, rel=0.03)
    if name == "deform":
        assert np.corrcoef(found["deform_x_4"], found["deform_y_4"])[0, 1] == pytest.approx(0, abs=0.06)


def test_fields_leave_what_else_is_drawn_as_it_was(sampled: Sampled) -> None:
    settings = "seed: 7 " + WITHOUT_FIELDS
    plain = sampled(settings)
    both = sampled(settings + only(deform="low: 0.01 high: 0.02", shade="low: 0.1 high: 0.3"))
    for name in COLUMNS[:21]:
        np.testing.assert_array_equal(plain.drawn[name], both.drawn[name], err_msg=name)
    assert all((plain.drawn[name] == 0).all() for name in COLUMNS[21:])
    assert all((both.drawn[name] != 0).all() for name in COLUMNS[21:])


def test_a_flip_changes_the_places_of_left_and_right(sampled: Sampled) -> None:
    plain, flipped = sampled("seed: 3", count=14), sampled("seed: 3 flip: 1", count=14)
    np.testing.assert_allclose(flipped.data, plain.data[..., ::-1], atol=1)
    before, after = decode_targets(plain.landmark, SIZE), decode_targets(flipped.landmark, SIZE)
    np.testing.assert_allclose(after[..., 0], 63 - before[:, MIRROR, 0], atol=1e-4)
    np.testing.assert_allclose(after[..., 1], before[:, MIRROR, 1], atol=1e-4)


def apart(one: Floats, other: Floats) -> float:
    """How far two samples' distribution functions lie apart, in units of what 1 in 100 like pairs exceed."""
    both = np.sort(np.concatenate([one, other]))
    gap = np.abs(
        np.searchsorted(np.sort(one), both, side="right") / len(one)
        - np.searchsorted(np.sort(other), both, side="right") / len(other)
    )
    return float(gap.max() / (1.63 * np.sqrt(1 / len(one) + 1 / len(other))))


def test_it_draws_from_the_distributions_of_the_library(sampled: Sampled) -> None:
    count = 5000
    small = "seed: 1 height: 16 width: 16 noise_std_min: 0.5 noise_std_max: 6 "
    found = sampled(small + GEOMETRY, count, batch=100).drawn
    drawn = draw_jitter(Augmentation(noise_std=(0.5, 6)), np.random.default_rng(1), count)
    for name in ("shift_x", "shift_y", "scale", "angle", "noise_std"):
        theirs = getattr(drawn, name)
        assert apart(found[name], theirs) < 1, name
        # The test can tell: a range that is a tenth wider is another one.
        assert apart(found[name], theirs.mean() + 1.1 * (theirs - theirs.mean())) > 1, name
    assert found["flip"].mean() == pytest.approx(0.5, abs=0.02)
    names = ("flip", "shift_x", "shift_y", "scale", "angle", "noise_std")
    relations = np.corrcoef([found[name] for name in names])
    assert np.abs(relations - np.eye(len(names))).max() < 0.05


def test_noise(sampled: Sampled) -> None:
    settings = "seed: 2 " + GEOMETRY
    clean = sampled(settings, 30)
    noisy = sampled(settings + "noise_std_min: 2 noise_std_max: 8", 30)
    for name in ("flip", "shift_x", "angle", "record"):
        np.testing.assert_array_equal(clean.drawn[name], noisy.drawn[name])
    seen = []
    for before, after, std in zip(clean.data, noisy.data, noisy.drawn["noise_std"], strict=True):
        inside = (before > 40) & (before < 215)  # where nothing is cut off
        noise = (after - before)[inside]
        assert noise.std() == pytest.approx(np.sqrt(std**2 + 1 / 12), rel=0.05)
        assert abs(noise.mean()) < 5 * std / np.sqrt(noise.size)
        seen.append((after - before)[:, :20, :20].ravel() / std)
        assert (after == np.rint(after)).all()
        assert (after.min(), after.max()) >= (0, 0)
        assert after.max() <= 255
    assert np.abs(np.corrcoef(seen) - np.eye(len(seen))).max() < 0.15
    pooled = np.concatenate(seen)
    assert np.mean(np.abs(pooled) < 1) == pytest.approx(0.683, abs=0.06)
    assert np.mean(pooled**4) / np.mean(pooled**2) ** 2 == pytest.approx(3, abs=0.3)


def grey_levels(values: NDArray[Any]) -> NDArray[Any]:
    return np.clip(values, 0, 255)


def only(**changes: str) -> str:
    return " ".join(f"{name} {{ probability: 1 {value} }}" for name, value in changes.items())


@pytest.mark.parametrize(
    "name", ["shade", "channel_gain", "contrast", "brightness", "grey", "blur", "occlusion"]
)
def test_each_change_of_looks(name: str, sampled: Sampled) -> None:
    ranges = {
        "shade": (0.2, 0.5),
        "channel_gain": (0.7, 1.3),
        "contrast": (0.5, 1.5),
        "brightness": (-40, 40),
        "grey": (0, 1),
        "blur": (0.5, 2),
        "occlusion": (0.1, 0.5),
    }
    low, high = ranges[name]
    plain = sampled("seed: 4 " + GEOMETRY, 20)
    changed = sampled("seed: 4 " + GEOMETRY + only(**{name: f"low: {low} high: {high}"}), 20)
    np.testing.assert_array_equal(plain.landmark, changed.landmark)
    for n, (before, after) in enumerate(zip(plain.data, changed.data, strict=True)):
        drawn = {column: values[n] for column, values in changed.drawn.items()}
        wanted = before.astype(float)
        if name == "shade":
            wanted = before * np.exp(field(changed.drawn, "shade", n, GRID))
        elif name == "channel_gain":
            gains = [drawn["gain_b"], drawn["gain_g"], drawn["gain_r"]]
            assert len(set(gains)) == 3
            wanted = before * np.reshape(gains, (3, 1, 1))
        elif name == "contrast":
            wanted = before.mean() + drawn["contrast"] * (before - before.mean())
        elif name == "brightness":
            wanted = before + drawn["brightness"]
        elif name == "grey":
            wanted = np.tile(np.tensordot([0.114, 0.587, 0.299], before, 1), (3, 1, 1))
        elif name == "blur":
            wanted = np.stack(
                [
                    cv2.GaussianBlur(plane, (0, 0), drawn["blur"], borderType=cv2.BORDER_REPLICATE)
                    for plane in before
                ]
            )
        else:
            left, top, right, bottom = (int(drawn[side]) for side in ("left", "top", "right", "bottom"))
            assert 0 <= left < right <= 64
            assert 0 <= top < bottom <= 64
            assert 6 <= min(right - left, bottom - top) <= max(right - left, bottom - top) <= 32
            for channel, colour in enumerate("bgr"):
                wanted[channel, top:bottom, left:right] = drawn[f"colour_{colour}"]
        assert np.abs(after - grey_levels(wanted)).max() < 0.51
        assert not np.array_equal(before, after)


def test_changes_come_as_often_and_as_strong_as_they_are_asked_for(sampled: Sampled) -> None:
    settings = (
        "seed: 4 channel_gain { probability: 0.3 low: 0.7 high: 1.3 } "
        "contrast { probability: 0.5 low: 0.8 high: 1.6 } brightness { probability: 0.2 low: -30 high: 10 } "
        "grey { probability: 0.1 } blur { probability: 0.4 low: 0.3 high: 0.6 } "
        "occlusion { probability: 0.25 low: 0.1 high: 0.3 }"
    )
    found = sampled(settings, 3000, batch=100).drawn
    wanted = {
        "gain_b": (0.3, 1, 0.7, 1.3),
        "gain_g": (0.3, 1, 0.7, 1.3),
        "gain_r": (0.3, 1, 0.7, 1.3),
        "contrast": (0.5, 1, 0.8, 1.6),
        "brightness": (0.2, 0, -30, 10),
        "blur": (0.4, 0, 0.3, 0.6),
    }
    for name, (probability, neutral, low, high) in wanted.items():
        strengths = found[name][found[name] != neutral]
        assert len(strengths) / 3000 == pytest.approx(probability, abs=0.03), name
        assert apart(strengths, np.linspace(low, high, 3000)) < 1, name
    assert found["grey"].mean() == pytest.approx(0.1, abs=0.02)
    occluded = found["right"] > 0
    assert occluded.mean() == pytest.approx(0.25, abs=0.03)
    sides = (found["right"] - found["left"])[occluded]
    assert set(sides) == set(range(6, 20))
    # All over the picture: the room left of it, a share of what there is.
    assert apart(found["left"][occluded] / (64 - sides), np.linspace(0, 1, 3000)) < 1


def test_mean_and_scale(sampled: Sampled) -> None:
    plain = sampled("seed: 3 " + GEOMETRY, 8).data
    one = sampled("seed: 3 " + GEOMETRY, 8, transform="mean_value: 127.5 scale: 0.0078125").data
    np.testing.assert_allclose(one, (plain - 127.5) * 0.0078125, rtol=1e-6)
    three = sampled("seed: 3 " + GEOMETRY, 8, transform="mean_value: 1 mean_value: 2 mean_value: 3").data
    np.testing.assert_allclose(three, plain - np.reshape([1, 2, 3], (3, 1, 1)), rtol=1e-6)


def test_the_test_phase_shows_the_plain_crops_in_order(sampled: Sampled) -> None:
    settings = (
        GEOMETRY + "noise_std_max: 9 " + only(contrast="low: 2 high: 3") + ' set_weight { name: "alone" }'
    )
    batch = sampled(settings, 2 * len(FACES), batch=5, phase=caffe.TEST)
    for n, (data, values) in enumerate(zip(batch.data, batch.landmark, strict=True)):
        picture, points = expected(FACES[n % len(FACES)], Jitter())
        assert np.abs(data - picture).max() <= 3
        np.testing.assert_allclose(decode_targets(values, SIZE), points, atol=1e-4)


def test_other_sizes(faces: Path, make_net: Callable[..., Any]) -> None:
    net = make_net(layer(faces, "seed: 1 height: 70 width: 60 " + GEOMETRY, 20))
    net.forward()
    assert net.blobs["data"].data.shape == (20, 3, 70, 60)
    drawn = dict(zip(COLUMNS, net.blobs["drawn"].data.T.astype(float), strict=True))
    for values, record, jitter in zip(
        net.blobs["landmark"].data, drawn["record"], jitters(drawn), strict=True
    ):
        face = FACES[int(record)]
        points = moved(face.points, map_of(face, jitter, (70, 60)), jitter)
        np.testing.assert_allclose(decode_targets(values, (70, 60)), points, atol=1e-4)


def test_each_face_comes_once_a_round(sampled: Sampled) -> None:
    rounds = sampled("seed: 1", 20 * len(FACES), batch=9).drawn["record"].reshape(20, -1)
    for order in rounds:
        assert sorted(order) == list(range(len(FACES)))
    assert len({tuple(order) for order in rounds.tolist()}) > 15
    # Each face is as likely in each place: 20 rounds are few, but none stays where it is.
    assert all(len(set(place)) > 3 for place in rounds.T.tolist())


WEIGHTS = 'set_weight { name: "alone" weight: 3 } set_weight { name: "*" weight: 1 } '


def test_sets_are_drawn_by_their_weights(sampled: Sampled) -> None:
    def shares(settings: str) -> list[float]:
        found = Counter(sampled("seed: 1 height: 16 width: 16 " + settings, 2500, batch=100).drawn["record"])
        return [found[index] / 2500 for index in range(len(FACES))]

    # Of `near` there are four, of `far away` two, one is alone.
    assert shares(WEIGHTS) == pytest.approx([0.25 / 6] * 6 + [0.75], abs=0.035)
    both = 'set_weight { name: "alone" name: "far away" weight: 1 } set_weight { name: "near" weight: 3 }'
    near, third = 0.75 / 4, 0.25 / 3
    assert shares(both) == pytest.approx([near, third, near, near, third, near, third], abs=0.035)
    none = 'set_weight { name: "near" weight: 0 } set_weight { name: "far away" weight: 0.5 }'
    assert shares(none) == pytest.approx([0, 0.5, 0, 0, 0.5, 0, 0], abs=0.035)
    assert shares(none)[0] == 0


WITHOUT_FIELDS = (
    GEOMETRY
    + "noise_std_max: 6 channel_gain { probability: 0.5 low: 0.7 high: 1.3 } grey { probability: 0.2 } "
    + "blur { probability: 0.5 low: 0.3 high: 1 } occlusion { probability: 0.5 low: 0.1 high: 0.3 } "
)
EVERYTHING = (
    WITHOUT_FIELDS
    + "deform { probability: 0.5 low: 0 high: 0.03 } shade { probability: 0.5 low: 0.1 high: 0.5 } "
)


@pytest.mark.parametrize("weights", ["", WEIGHTS])
def test_a_seed_gives_the_same_bytes_by_any_threads(
    weights: str, sampled: Sampled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def samples(threads: str, seed: int = 7) -> bytes:
        monkeypatch.setenv("CAFFE_IMAGE_THREADS", threads)
        batch = sampled(f"seed: {seed} " + EVERYTHING + weights, 60, batch=10)
        return batch.data.tobytes() + batch.landmark.tobytes()

    first = samples("1")
    for threads in ("2", "5", "99"):
        assert samples(threads) == first
    assert samples("1", seed=8) != first
    assert samples("1", seed=7 + 2**32) != first


@pytest.mark.parametrize("weights", ["", WEIGHTS])
def test_a_later_start_goes_on_with_the_same_samples(weights: str, sampled: Sampled) -> None:
    settings = "seed: 7 " + EVERYTHING + weights
    whole = sampled(settings, 50, batch=10)
    for start in (10, 33):
        rest = sampled(settings + f"first_sample: {start}", 50 - start, batch=1)
        np.testing.assert_array_equal(rest.data, whole.data[start:])
        np.testing.assert_array_equal(rest.landmark, whole.landmark[start:])


def test_without_a_seed_it_is_caffe_s(faces: Path, make_net: Callable[..., Any]) -> None:
    def records(seed: int) -> list[float]:
        net = make_net(layer(faces, GEOMETRY), caffe.TRAIN, seed)
        net.forward()
        return list(map(float, net.blobs["landmark"].data.ravel()))

    assert records(1) == records(1)
    assert records(1) != records(2)


def test_two_tops_are_the_same_without_the_third(
    faces: Path, sampled: Sampled, make_net: Callable[..., Any]
) -> None:
    three = sampled("seed: 7 " + EVERYTHING)
    net = make_net(layer(faces, "seed: 7 " + EVERYTHING, drawn=False))
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, three.data)
    np.testing.assert_array_equal(net.blobs["landmark"].data, three.landmark)


def refusals(cases: Sequence[tuple[str, str]], run_python: Callable[..., Any]) -> None:
    """Caffe fails on each net of the cases (net, message) and says why."""
    done = run_python(
        f"""
import os, sys, caffe
for number, text in enumerate({[text for text, _ in cases]!r}):
    open("n", "w").write(text)
    print("case", number, file=sys.stderr, flush=True)
    child = os.fork()
    if child == 0:
        caffe.Net("n", caffe.TRAIN).forward()
        os._exit(0)
    print("ended by", os.waitpid(child, 0)[1], file=sys.stderr, flush=True)
"""
    )
    assert done.returncode == 0
    reports = done.stderr.split("case ")[1:]
    for (text, message), report in zip(cases, reports, strict=True):
        assert message in report, text
        assert "ended by 0" not in report


def test_settings_that_make_no_sense_are_named(faces: Path, run_python: Callable[..., Any]) -> None:
    named = 'name: "near" name: "alone" name: "far away"'
    settings = {
        "flip: 1.5": "flip is 1.5",
        "scale_min: 1.2": "scale_min and scale_max is 1.2 to 1",
        "rotate_max: 181": "rotate_min and rotate_max is 0 to 181",
        "noise_std_min: -1": "noise_std_min and noise_std_max is -1",
        "contrast { probability: 2 low: 1 high: 2 }": "contrast is 2",
        "contrast { probability: 0.5 }": "low and high of contrast",
        "blur { probability: 0.5 low: 2 high: 1 }": "blur is 2 to 1",
        "occlusion { probability: 1 low: 0 high: 1.1 }": "occlusion is 0 to 1.1",
        "deform { probability: 1 low: 0 high: 0.06 }": "deform is 0 to 0.06, expected a range within 0",
        "shade { probability: 1 low: -1 high: 1 }": "shade is -1 to 1",
        'set_weight { name: "far" }': "has no set far; there are alone, far away, near",
        'set_weight { name: "near" weight: -1 }': "a set_weight is -1",
        'set_weight { name: "near" weight: 0 }': "all sets are 0",
        'set_weight { name: "near" } set_weight { name: "near" }': "the set near has two weights",
        f'set_weight {{ {named} }} set_weight {{ name: "*" }}': "none is left",
        "set_weight { weight: 1 }": "without a name",
    }
    refusals(
        [
            (layer(faces, batch=0), "batch_size must be positive"),
            # They would part landmarks and picture.
            (layer(faces, transform="mirror: true"), "mean_value and scale only"),
            (layer(faces, transform="crop_size: 60"), "mean_value and scale only"),
            *((layer(faces, text), message) for text, message in settings.items()),
        ],
        run_python,
    )


def test_what_cannot_be_read_is_named(faces: Path, tmp_path: Path, run_python: Callable[..., Any]) -> None:
    whole = (faces / "data.mdb").read_bytes()
    short = tmp_path / "short"
    short.mkdir()
    (short / "data.mdb").write_bytes(whole[: len(whole) // 2])
    flat = caffe_pb2.Datum(channels=3, height=64, width=64, data=bytes(3 * 64 * 64)).SerializeToString()
    broken = {
        flat: "is not a picture of 3 channels with 140 numbers",
        b"\xff\xff": "is no Datum",
        record(FACES[0]._replace(square=np.array([9.0, 9, 9, 9]))): "has an empty square",
        record(FACES[0]._replace(square=np.full(4, np.nan))): "has an empty square",
    }
    cases = [
        (layer(tmp_path / "none"), f"cannot open the LMDB {tmp_path}/none: No such file"),
        (layer(short), f"{short}/data.mdb is cut short"),
        (layer(write(tmp_path / "empty", [], [])), f"{tmp_path}/empty is empty"),
    ]
    for number, (value, message) in enumerate(broken.items()):
        first = write(tmp_path / f"first{number}", [value], ["bad"])
        later = write(tmp_path / f"later{number}", [record(FACES[0]), value], ["good", "bad"])
        cases.append((layer(first), f"first{number}, the face 000000000 bad: {message}"))
        cases.append((layer(later), f"later{number}, the face 000000001 bad: {message}"))
    refusals(cases, run_python)
