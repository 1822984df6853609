"""FaceAligner: one batch, two engines, and a model description that is obeyed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from facealign.crops.model_spec import ModelSpec
from facealign.crops.square import crop_face
from facealign.crops.targets import encode_targets
from facealign.detection.mtcnn import MtcnnDetector, MtcnnSettings
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks, overlap
from facealign.geometry.landmarks import MIRROR, mirror_points
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.landmark_network import LandmarkNetwork, network_input
from tests.random_weights import write_model

FACE = np.array([170.0, 65.0, 275.0, 190.0])
"""About where the astronaut's face is."""


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def aligner(weights):
    return FaceAligner.open(weights.with_suffix(".onnx"), "onnx", detector=False)


def with_spec(aligner, **changes):
    """The same network, described otherwise."""
    return FaceAligner(None, aligner.engine, dataclasses.replace(aligner.spec, **changes))


def some_boxes(n, rng):
    corner = rng.uniform(0, 300, (n, 2))
    return np.hstack([corner, corner + rng.uniform(60, 200, (n, 2))])


def test_a_batch_gives_what_single_faces_give(aligner, photo):
    boxes = some_boxes(7, np.random.default_rng(0))
    together = aligner.landmarks_in(photo, boxes)
    assert together.shape == (7, 68, 2)
    assert together.dtype == np.float64
    alone = np.concatenate([aligner.landmarks_in(photo, box[None]) for box in boxes])
    np.testing.assert_allclose(together, alone, atol=1e-3)
    assert np.abs(np.diff(together, axis=0)).max() > 10


def test_all_faces_go_through_the_network_at_once(aligner, photo):
    sizes = []

    class Counting:
        def forward(self, inputs):
            sizes.append(inputs["data"].shape)
            return aligner.engine.forward(inputs)

    counting = FaceAligner(None, Counting(), aligner.spec)
    counting.landmarks_in(photo, some_boxes(5, np.random.default_rng(1)))
    assert sizes == [(5, 3, 64, 64)]
    assert counting.landmarks_in(photo, np.empty((0, 4))).shape == (0, 68, 2)
    assert len(sizes) == 1


def test_the_engines_agree_to_a_thousandth_of_a_pixel(weights, photo):
    boxes = np.vstack([FACE, some_boxes(3, np.random.default_rng(2))])
    by_engine = [
        FaceAligner.open(weights.with_suffix(suffix), kind, detector=False).landmarks_in(photo, boxes)
        for kind, suffix in (("caffe", ".caffemodel"), ("onnx", ".onnx"))
    ]
    np.testing.assert_allclose(by_engine[0], by_engine[1], atol=1e-3)


def test_landmarks_are_the_network_s_numbers_in_the_pixels_of_the_image(aligner, photo):
    """Against the arithmetic by hand, for a square box, where the crop is exact."""
    box = np.array([150.0, 60.0, 250.0, 160.0])
    aligner = with_spec(aligner, box_scale=1.2, box_shift=(0.0, 0.05))
    crop, _ = crop_face(photo, box, aligner.spec)
    blob = ((crop.astype(np.float64) - 127.5) / 128).transpose(2, 0, 1)[None].astype(np.float32)
    values = aligner.engine.forward({"data": blob})["fc4"].reshape(136).astype(np.float64)
    in_crop = np.column_stack([values[:68], values[68:]]) * 64 - 1
    side, centre = 120.0, np.array([199.5, 114.5]) + 0.5
    # Pixel centres lie half a pixel from the edges, in the crop and in the image.
    by_hand = (in_crop + 0.5) / 64 * side + (centre - side / 2) - 0.5
    ours = aligner.landmarks_in(photo, box[None])[0]
    assert np.abs(ours - by_hand).max() < 1.0 + 1e-6
    # Whatever the border's convention, scale and shape are exact.
    np.testing.assert_allclose(ours - ours.mean(0), by_hand - by_hand.mean(0), atol=1e-6)


@pytest.mark.parametrize("crop", ["square", "published"])
def test_flip_averages_with_the_mirrored_crop_s_answer(aligner, photo, crop):
    """A face in the middle of a picture that is its own mirror image has a symmetric answer."""
    half = photo[:, :222]
    symmetric = np.concatenate([half, half[:, ::-1]], axis=1)  # 444 wide, its axis at 221.5
    box = np.array([161.5, 65.0, 281.5, 185.0])
    spec = dataclasses.replace(aligner.spec, crop=crop, box_shift=(0.0, 0.09))
    plain = FaceAligner(None, aligner.engine, spec).landmarks_in(symmetric, box[None])[0]
    averaged = FaceAligner(None, aligner.engine, spec, flip=True).landmarks_in(symmetric, box[None])[0]
    swapped = averaged[MIRROR]
    if crop == "square":
        np.testing.assert_allclose(swapped, averaged * (-1, 1) + (443, 0), atol=1e-2)
        mirrored = (plain * (-1, 1) + (443, 0))[MIRROR]
        np.testing.assert_allclose(averaged, (plain + mirrored) / 2, atol=1e-2)
    assert np.abs(plain[MIRROR] - (plain * (-1, 1) + (443, 0))).max() > 1
    assert np.abs(averaged - plain).max() > 0.5


class Fair:
    """A network that tells a mirrored face where it is mirrored, but for being `off` pixels to the right."""

    def __init__(self, off=0.0):
        self.off = off

    def forward(self, inputs):
        # Left half brighter: the face as it is; right half brighter: mirrored.
        data, truth = inputs["data"], np.linspace(5, 58, 136).reshape(68, 2)
        left = data[..., :32].mean(axis=(1, 2, 3)) > data[..., 32:].mean(axis=(1, 2, 3))
        answers = np.where(left[:, None, None], truth, mirror_points(truth, 64))
        return {"fc4": encode_targets(answers + np.array([self.off, 0]), (64, 64))}


@pytest.fixture
def lit(photo):
    """A picture whose left half is bright, and a box in its middle."""
    picture = np.zeros_like(photo)
    picture[:, :222] = 200
    return picture, np.array([161.5, 65.0, 281.5, 185.0])


def test_flip_leaves_a_network_alone_that_answers_the_same_to_the_mirror_image(aligner, lit):
    """Of any picture: the answer is that on the crop, mirrored where the crop is, so their mean is it."""
    picture, box = lit
    results = [
        FaceAligner(None, Fair(), aligner.spec, flip=flip).landmarks_in(picture, box[None])
        for flip in (False, True)
    ]
    np.testing.assert_allclose(results[0], results[1], atol=1e-4)


def test_flip_keeps_what_the_annotation_is_off_to_one_side(aligner, lit):
    """Put back, the answer to the mirror image is off to the other side: the mean would be off to neither."""
    (picture, box), off = lit, 0.4
    crop, _ = crop_face(picture, box, aligner.spec)
    bias = LandmarkNetwork(Fair(off), aligner.spec).mirror_bias([crop, crop[:, ::-1].copy()])
    assert bias == pytest.approx(off, abs=1e-5)
    spec = dataclasses.replace(aligner.spec, mirror_bias=bias)
    results = [
        FaceAligner(None, Fair(off), spec, flip=flip).landmarks_in(picture, box[None])
        for flip in (False, True)
    ]
    np.testing.assert_allclose(results[0], results[1], atol=1e-4)


def test_origin_is_obeyed(aligner, photo):
    box = np.array([150.0, 60.0, 250.0, 160.0])
    one, zero = (with_spec(aligner, origin=origin).landmarks_in(photo, box[None]) for origin in (1, 0))
    np.testing.assert_allclose(zero - one, aligner.spec.box_scale * 100 / 64, atol=1e-9)


def test_mean_is_obeyed(aligner, photo):
    dim = np.clip(photo, 0, 200)
    expected = aligner.landmarks_in(dim, FACE[None])
    brighter = with_spec(aligner, mean=aligner.spec.mean + 40).landmarks_in(dim + np.uint8(40), FACE[None])
    np.testing.assert_allclose(brighter, expected, atol=1e-3)
    assert np.abs(with_spec(aligner, mean=0.0).landmarks_in(dim, FACE[None]) - expected).max() > 0.1


def test_channels_are_obeyed(aligner, photo):
    swapped = np.ascontiguousarray(photo[:, :, ::-1])
    expected = aligner.landmarks_in(photo, FACE[None])
    rgb = with_spec(aligner, channels="RGB")
    np.testing.assert_allclose(rgb.landmarks_in(swapped, FACE[None]), expected, atol=1e-6)
    assert np.abs(rgb.landmarks_in(photo, FACE[None]) - expected).max() > 0.01


def test_box_scale_and_shift_are_obeyed(aligner, photo):
    box = np.array([150.0, 60.0, 250.0, 160.0])
    plain = with_spec(aligner, box_scale=1.0, box_shift=(0.0, 0.0))
    wide = np.array([125.0, 35.0, 275.0, 185.0])
    np.testing.assert_allclose(
        with_spec(plain, box_scale=1.5).landmarks_in(photo, box[None]),
        plain.landmarks_in(photo, wide[None]),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        with_spec(plain, box_shift=(0.1, -0.2)).landmarks_in(photo, box[None]),
        plain.landmarks_in(photo, (box + np.array([10, -20, 10, -20]))[None]),
        atol=1e-6,
    )


def test_the_description_travels_in_the_files(tmp_path, photo):
    """Written into the caffemodel's JSON and the ONNX file's metadata, then obeyed by both."""
    changes = {"mean": 100.0, "scale": 0.01, "box_scale": 1.5, "box_shift": (0.1, 0.0), "origin": 0}
    path = write_model(tmp_path, **changes)
    plain = write_model(tmp_path, "plain")
    results = []
    for kind, suffix in (("caffe", ".caffemodel"), ("onnx", ".onnx")):
        opened = FaceAligner.open(path.with_suffix(suffix), kind, detector=False)
        for name, value in changes.items():
            assert getattr(opened.spec, name) == value
        results.append(opened.landmarks_in(photo, FACE[None]))
    np.testing.assert_allclose(results[0], results[1], atol=1e-3)
    other = FaceAligner.open(plain.with_suffix(".onnx"), "onnx", detector=False)
    assert np.abs(other.landmarks_in(photo, FACE[None]) - results[1]).max() > 1


def test_network_input_by_hand():
    crop = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    made = network_input(crop, ModelSpec(mean=4.0, scale=0.5, channels="BGR"))
    assert made.shape == (3, 2, 3)
    assert made.dtype == np.float32
    assert made[1, 0, 2] == (crop[0, 2, 1] - 4.0) * 0.5
    swapped = network_input(crop, ModelSpec(mean=4.0, scale=0.5, channels="RGB"))
    np.testing.assert_array_equal(swapped, made[::-1])


def test_given_boxes_have_no_score_and_a_pose(aligner, photo):
    (face,) = aligner.align(photo, [FACE])
    assert face.score is None
    np.testing.assert_array_equal(face.box, FACE)
    assert np.isfinite([face.pose.yaw, face.pose.pitch, face.pose.roll]).all()


def test_a_face_at_the_border_and_beyond_is_aligned(aligner, photo):
    boxes = np.array([[-60.0, -40.0, 60.0, 80.0], [480.0, 470.0, 600.0, 620.0]])
    assert np.isfinite(aligner.landmarks_in(photo, boxes)).all()


def test_published_arithmetic_stays_near_the_clean_crop(aligner, weights, photo):
    """The two crops differ by roundings and in how they widen the box: a few pixels, not a face."""
    published = FaceAligner.open(weights.with_suffix(".onnx"), "onnx", detector=False, published=True)
    assert published.spec.crop == "published"
    box = np.array([150.0, 60.0, 260.0, 170.0])
    boxes = np.vstack([box, some_boxes(2, np.random.default_rng(5))])
    together = published.landmarks_in(photo, boxes)
    np.testing.assert_allclose(together[0], published.landmarks_in(photo, box[None])[0], atol=1e-3)
    clean = with_spec(aligner, box_scale=1.1, box_shift=(0.0, 0.05)).landmarks_in(photo, box[None])
    assert np.linalg.norm(together[0] - clean[0], axis=1).mean() < 0.15 * 110


@pytest.mark.parametrize(
    "box", [[10, 10, 10, 50], [10, 50, 60, 20], [np.nan, 0, 10, 10], [0, 0, np.inf, 10]], ids=str
)
def test_a_box_without_area_is_refused(aligner, photo, box):
    with pytest.raises(FaceAlignError, match="box"):
        aligner.landmarks_in(photo, np.array([box], dtype=float))


def test_another_markup_is_refused(aligner):
    with pytest.raises(FaceAlignError, match="98"):
        with_spec(aligner, landmarks=98)
    with pytest.raises(FaceAlignError, match="interleaved"):
        with_spec(aligner, landmark_order="interleaved")


def test_outputs_that_do_not_fit_are_named(aligner, photo):
    with pytest.raises(FaceAlignError, match="fc9"):
        with_spec(aligner, output_name="fc9").landmarks_in(photo, FACE[None])


@pytest.mark.parametrize("kind", ["onnx", "caffe"])
def test_every_face_of_a_photo_is_aligned_in_the_box_that_is_found(kind, weights, photo):
    found = FaceAligner.open(weights, kind)
    two = np.hstack([photo, photo[::2, ::2].repeat(2, axis=0)])
    faces = found.detect_and_align(two)
    detections = MtcnnDetector.open(kind).detect(two)
    assert [face.score for face in faces] == [one.score for one in detections]
    assert len(faces) == 2
    assert overlap(faces[0].box, faces[1].box) == 0
    for face, one in zip(faces, detections, strict=True):
        np.testing.assert_allclose(face.box, one.box, atol=1e-6)
        np.testing.assert_allclose(
            face.landmarks, found.landmarks_in(two, one.box[None])[0], rtol=0, atol=1e-3
        )
        assert face.pose is not None


def test_a_photo_without_a_face_has_none(weights):
    found = FaceAligner.open(weights, "onnx")
    assert found.detect_and_align(np.full((100, 150, 3), 127, np.uint8)) == []
    assert found.align(np.zeros((100, 150, 3), np.uint8), []) == []


def test_settings_of_the_detector_are_obeyed(weights, photo):
    strict = MtcnnSettings(thresholds=(0.6, 0.7, 1.0))
    assert FaceAligner.open(weights, "onnx", mtcnn=strict).detect_and_align(photo) == []


class Answering:
    """An engine that gives the same numbers for every face."""

    def __init__(self, values):
        self.values = values

    def forward(self, inputs):
        return {"fc4": np.tile(self.values, (len(inputs["data"]), 1)).astype(np.float32)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.where(np.arange(136) == 7, np.nan, 0.5), "not finite"),
        (np.full(196, 0.5), "196 numbers"),
        (np.full(68, 0.5), "68 numbers"),
    ],
    ids=["not_a_number", "too_many", "too_few"],
)
def test_outputs_that_are_no_landmarks_are_refused(values, message, aligner, photo):
    with pytest.raises(FaceAlignError, match=message):
        FaceAligner(None, Answering(values), aligner.spec).landmarks_in(photo, FACE[None])


def test_landmarks_of_a_known_answer(aligner, photo):
    """The centre of the crop is the centre of the box: 0-based pixel 31.5 of 64, 32.5 from 1."""
    plain = dataclasses.replace(aligner.spec, box_scale=1.3, box_shift=(0.0, 0.0), origin=1)
    fixed = FaceAligner(None, Answering(np.full(136, 32.5 / 64)), plain)
    boxes = np.array([[150.0, 60.0, 250.0, 160.0], [100.0, 100.0, 180.0, 220.0]])
    points = fixed.landmarks_in(photo, boxes)
    for index, centre in enumerate(((200, 110), (140, 160))):
        np.testing.assert_allclose(points[index], np.tile(centre, (68, 1)), atol=1e-6)


def test_the_published_crop_is_of_64_pixels(aligner):
    with pytest.raises(FaceAlignError, match="takes 70x60 pixels, but the published crop is 64x64"):
        with_spec(aligner, crop="published", input_height=70, input_width=60)


def test_align_without_a_detector_is_refused(aligner, photo):
    with pytest.raises(FaceAlignError, match="detector"):
        aligner.detect_and_align(photo)


def test_missing_weights_are_named(tmp_path):
    for name in ("none.onnx", "none.caffemodel", "none"):
        with pytest.raises(FaceAlignError, match=rf"/{name}: (no such file|.*expected)"):
            FaceAligner.open(Path(tmp_path / name), "auto", detector=False)


@pytest.mark.parametrize(
    "image",
    [None, 3, [[1, 2]], np.zeros((5, 5)), np.zeros((5, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(aligner, image):
    with pytest.raises(FaceAlignError, match=r"an image of .*: expected"):
        aligner.align(image, [FACE])


@pytest.mark.parametrize("box", [[0, 0, 1e300, 1e300], [-1e7, 0, 5, 5], [0, 0, np.inf, 5], [np.nan, 0, 5, 5]])
def test_a_box_beyond_all_images_is_refused(aligner, photo, box):
    with pytest.raises(FaceAlignError, match="expected x1 < x2 and y1 < y2, within"):
        aligner.align(photo, [box])


@pytest.mark.parametrize(
    "boxes",
    [[1, 2, 3, 4], [[1, 2, 3]], [[1, 2, 3, 4, 0.9]], [[1, 2, 3, 4], [5, 6]], "abcd", None, [["a"] * 4]],
)
def test_boxes_of_another_shape_are_refused(aligner, photo, boxes):
    with pytest.raises(FaceAlignError, match=r"^boxes"):
        aligner.align(photo, boxes)


def test_scores_and_rolls_are_one_a_box(aligner, photo):
    with pytest.raises(FaceAlignError, match="2 scores for 1 boxes"):
        aligner.align(photo, [FACE], [0.5, 0.6])
    with pytest.raises(FaceAlignError, match=r"rolls of shape \(2,\) for 1 boxes"):
        aligner.align(photo, [FACE], rolls=np.zeros(2))


@pytest.mark.parametrize(
    "value", [3, b"w.onnx", ["w.onnx"], 0.5, object()], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("name", ["weights", "cascade"])
def test_weights_that_are_no_path_are_refused(name, value):
    with pytest.raises(FaceAlignError, match=rf"^{name} of type {type(value).__name__}: expected the path"):
        FaceAligner.open(engine="onnx", detector=False, **{name: value})


def test_faces_are_followed_by_the_landmarks_of_the_frame_before():
    """Moved by less than a crop's margin, they land where the image went."""
    photo = np.ascontiguousarray(astronaut()[:, :, ::-1])
    aligner = FaceAligner.open(engine="onnx", detector=False)
    (face,) = aligner.align(photo, [[179, 63, 265, 173]])
    moves = ((0, 0), (6, 0), (0, -5), (-4, 4))
    size = np.linalg.norm(face.landmarks[36] - face.landmarks[45])
    for dx, dy in moves:
        moved = np.roll(photo, (dy, dx), axis=(0, 1))
        (found,) = aligner.follow(moved, face.landmarks[None])
        assert np.linalg.norm(found.landmarks - face.landmarks - (dx, dy), axis=-1).mean() < 0.05 * size
        assert found.score is None
        assert not found.doubtful
        both = aligner.follow(moved, np.stack([face.landmarks, face.landmarks + np.array([dx, dy])]))
        np.testing.assert_allclose(both[0].landmarks, found.landmarks, atol=1e-3)
        np.testing.assert_array_equal(both[0].box, box_from_landmarks(both[0].landmarks))
    assert aligner.follow(photo, np.empty((0, 68, 2))) == []
    with pytest.raises(FaceAlignError, match="off the image"):
        aligner.follow(photo, face.landmarks[None] + 5000)
