"""caffe.io.load_image and set_mean: every kind of image file gives RGB or grey, against Pillow's colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from PIL import Image

COLOUR = (40, 90, 200)
OTHER = (200, 90, 40)
GREY = 0.2125 * 40 + 0.7154 * 90 + 0.0721 * 200
"""scikit-image's luma of COLOUR."""


def plain(mode: str = "RGB", colour: Any = COLOUR) -> Image.Image:
    return Image.new(mode, (32, 24), colour)


def several(kind: str) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        plain().save(path, format=kind, save_all=True, append_images=[plain(colour=OTHER)])

    return save


def with_palette(path: Path) -> None:
    plain().quantize(2).save(path)


def with_transparent_palette(path: Path) -> None:
    plain().quantize(2).save(path, transparency=0)


COLOURED: dict[str, Callable[[Path], None]] = {
    "rgb.png": lambda path: plain().save(path),
    "rgba.png": lambda path: plain("RGBA", (*COLOUR, 100)).save(path),
    "cmyk.jpg": lambda path: plain().convert("CMYK").save(path, quality=100),
    "cmyk.tif": lambda path: plain().convert("CMYK").save(path),
    "palette.png": with_palette,
    "transparent.png": with_transparent_palette,
    "one.gif": lambda path: plain().save(path),
    "two.gif": several("GIF"),
    "animated.png": several("PNG"),
    "pages.tif": several("TIFF"),
    "phone.mpo": several("MPO"),
}


@pytest.mark.parametrize("name", COLOURED)
def test_coloured_files_are_rgb_of_their_first_frame(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    COLOURED[name](path)
    image = caffe.io.load_image(path)
    assert (image.shape, image.dtype) == ((24, 32, 3), np.float32)
    np.testing.assert_allclose(image.reshape(-1, 3) * 255, np.full((24 * 32, 3), COLOUR), atol=2)
    grey = caffe.io.load_image(str(path), color=False)
    assert (grey.shape, grey.dtype) == ((24, 32, 1), np.float32)
    if not name.startswith("rgba"):  # scikit-image blends that with white
        np.testing.assert_allclose(grey * 255, GREY, atol=2)


@pytest.mark.parametrize(
    ("mode", "colour", "value"),
    [("L", 88, 88 / 255), ("LA", (88, 120), 88 / 255), ("I;16", 22000, 22000 / 65535), ("1", 1, 1)],
)
@pytest.mark.parametrize("color", [True, False])
def test_grey_files_have_three_equal_channels_or_one(
    mode: str, colour: Any, value: float, color: bool, tmp_path: Path
) -> None:
    path = tmp_path / "grey.png"
    plain(mode, colour).save(path)
    image = caffe.io.load_image(str(path), color=color)
    assert image.shape == (24, 32, 3 if color else 1)
    np.testing.assert_allclose(image, value, rtol=1e-6)


def test_a_transformer_takes_what_is_loaded(tmp_path: Path) -> None:
    plain("LA", (88, 120)).save(tmp_path / "la.png")
    transformer = caffe.io.Transformer({"data": (1, 3, 24, 32)})
    transformer.set_transpose("data", (2, 0, 1))
    data = transformer.preprocess("data", caffe.io.load_image(str(tmp_path / "la.png")))
    np.testing.assert_allclose(data, 88 / 255, rtol=1e-6)


def test_what_is_no_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(OSError, match=r"x\.png"):
        caffe.io.load_image(str(tmp_path / "x.png"))
    with pytest.raises(FileNotFoundError):
        caffe.io.load_image(str(tmp_path / "absent.png"))


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint8])
def test_a_mean_image_of_one_value_and_another_size(kind: type) -> None:
    transformer = caffe.io.Transformer({"data": (1, 3, 60, 60)})
    transformer.set_mean("data", np.full((3, 256, 256), 128, kind))
    np.testing.assert_array_equal(transformer.mean["data"], np.full((3, 60, 60), 128))


def test_a_mean_image_is_resized_linearly() -> None:
    """A ramp stays one: the value at a pixel's centre does not depend on the size."""
    transformer = caffe.io.Transformer({"data": (1, 3, 4, 40)})
    ramp = np.broadcast_to(np.arange(80.0) + 0.5, (3, 8, 80))
    transformer.set_mean("data", ramp)
    inner = transformer.mean["data"][:, :, 1:-1]
    np.testing.assert_allclose(
        inner, np.broadcast_to(2 * np.arange(40.0) + 1, (3, 4, 40))[:, :, 1:-1], rtol=1e-5
    )
