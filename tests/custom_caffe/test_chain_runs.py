"""Chains of plain layers computed as one against the layers they stand for (CAFFE_FUSE=0)."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.custom_caffe import fused_nets

Array = NDArray[Any]
FILLER = 'weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "gaussian" std: 0.3 }'


@dataclass(frozen=True)
class Link:
    """A layer with weights, what activates it and the max pooling after it; kernel 0: an inner product."""

    outputs: int
    kernel: int = 3
    pad: int = 0
    bias: bool = True
    activation: str = "PReLU"  # or "shared", "ReLU", "leaky", ""
    pool: tuple[int, int] | None = None  # kernel and stride
    in_place: bool = True


def layer(name: str, kind: str, bottom: str, top: str, rest: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" {rest} }}\n'


def weighted(name: str, link: Link, bottom: str) -> str:
    common = f"num_output: {link.outputs} bias_term: {str(link.bias).lower()} {FILLER}"
    if link.kernel == 0:
        return layer(name, "InnerProduct", bottom, name, f"inner_product_param {{ {common} }}")
    window = f"kernel_size: {link.kernel} pad: {link.pad}"
    return layer(name, "Convolution", bottom, name, f"convolution_param {{ {common} {window} }}")


ACTIVATIONS = {
    "PReLU": ("PReLU", 'prelu_param { filler { type: "uniform" min: -0.5 max: 1.5 } }'),
    "shared": ("PReLU", "prelu_param { channel_shared: true }"),
    "ReLU": ("ReLU", ""),
    "leaky": ("ReLU", "relu_param { negative_slope: 0.1 }"),
}


def network(
    links: list[Link], shape: tuple[int, ...], heads: tuple[int, ...] = (), softmax: bool = False
) -> str:
    """A net of the links one after the other, then heads like the last of them, and Softmax of the first."""
    dims = " ".join(f"dim: {side}" for side in shape)
    text = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}\n'
    bottom = "data"
    for index, link in enumerate(links):
        name = f"w{index}"
        text += weighted(name, link, bottom)
        bottom = name
        if link.activation:
            kind, rest = ACTIVATIONS[link.activation]
            top = name if link.in_place else f"a{index}"
            text += layer(f"a{index}", kind, bottom, top, rest)
            bottom = top
        if link.pool is not None:
            kernel, stride = link.pool
            rest = f"pooling_param {{ pool: MAX kernel_size: {kernel} stride: {stride} }}"
            text += layer(f"p{index}", "Pooling", bottom, f"p{index}", rest)
            bottom = f"p{index}"
    kernel = 0 if links[-1].kernel == 0 else 1
    for index, outputs in enumerate(heads):
        text += weighted(f"h{index}", Link(outputs, kernel), bottom)
        if index == 0:
            first = "h0"
    if softmax:
        text += layer("prob", "Softmax", first if heads else bottom, "prob")
    return text


def make(path: Path, text: str, fused: bool, phase: int = caffe.TEST, seed: int = 7) -> Any:
    """A net of this prototxt, with weights drawn from a seed."""
    path.write_text(text)
    return fused_nets.make(path, fused, phase, seed)


def both(path: Path, text: str, phase: int = caffe.TEST, seed: int = 7) -> tuple[Any, Any]:
    """The same net with its layers one by one, and fused."""
    return make(path, text, False, phase, seed), make(path, text, True, phase, seed)


def run(net: Any, data: Array) -> dict[str, Array]:
    net.blobs["data"].reshape(*data.shape)
    net.blobs["data"].data[...] = data
    return {name: value.copy() for name, value in net.forward().items()}


def assert_close(found: dict[str, Array], wanted: dict[str, Array], tolerance: float = 3e-4) -> None:
    """Within tolerance of the largest value of each; of a softmax, whose exponents may be some tens, too."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].shape == value.shape
        scale = max(float(np.abs(value).max(initial=0)), 1e-3)
        assert np.abs(found[name] - value).max(initial=0) <= tolerance * scale, name


@pytest.fixture
def every_isa() -> Iterator[tuple[str, ...]]:
    """The instruction sets of this processor; the one that ran before is back afterwards."""
    before = caffe.isa()
    yield caffe.available_isas()
    caffe.set_isa(before)


links = st.builds(
    Link,
    outputs=st.integers(1, 70),
    kernel=st.integers(1, 4),
    pad=st.integers(0, 2),
    bias=st.booleans(),
    activation=st.sampled_from([*ACTIVATIONS, ""]),
    pool=st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(1, 4))),
    in_place=st.booleans(),
)


def places(side: int, link: Link) -> int:
    """Places along an axis after a link, as Caffe rounds; none when its window does not fit."""
    side += 2 * link.pad - link.kernel + 1
    if link.pool is None or side < 1:
        return side
    kernel, stride = link.pool
    count = -(-(side - kernel) // stride) + 1
    # Where a last window would lie beyond the map, Caffe gives the least number there is.
    return 0 if side < kernel or (count - 1) * stride >= side else count


@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_any_chain(data: st.DataObject, every_isa: tuple[str, ...], tmp_path: Path) -> None:
    height, width = sides = data.draw(st.tuples(st.integers(6, 30), st.integers(6, 30)))
    chain: list[Link] = []
    for link in data.draw(st.lists(links, min_size=2, max_size=4)):
        after = places(height, link), places(width, link)
        if min(after) < 1:
            continue
        (height, width), chain = after, [*chain, link]
    for outputs in data.draw(st.lists(st.integers(1, 40), max_size=3)):
        activation = data.draw(st.sampled_from([*ACTIVATIONS, ""]))
        chain.append(Link(outputs, kernel=0, activation=activation))
    if len(chain) < 2 or chain[0].kernel == 0:
        return
    channels, batch = data.draw(st.integers(1, 20)), data.draw(st.sampled_from([1, 2, 3, 9, 40]))
    heads = data.draw(st.sampled_from([(), (2, 4), (3, 17, 10)]))
    softmax = data.draw(st.booleans())
    text = network(chain, (batch, channels, *sides), heads, softmax)
    layers, fused = both(tmp_path / "net.prototxt", text, seed=data.draw(st.integers(0, 99)))
    images = np.random.default_rng(batch).standard_normal((batch, channels, *sides))
    wanted = run(layers, images)
    for isa in every_isa:
        caffe.set_isa(isa)
        assert_close(run(fused, images), wanted)


CHAIN = [
    Link(10, pool=(2, 2)),
    Link(16, activation="leaky", pool=(3, 2), in_place=False),
    Link(20, kernel=0),
]
SHAPE = (3, 3, 20, 17)


def images(count: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE[1:]))


@pytest.mark.parametrize("count", [3, 50])
def test_blobs_inside_are_there_for_those_who_look(count: int, tmp_path: Path) -> None:
    layers, fused = both(tmp_path / "net.prototxt", network(CHAIN, SHAPE, (2, 4), softmax=True))
    for net in (layers, fused):
        run(net, images(count))
    assert list(fused.blobs) == list(layers.blobs)
    for name in reversed(list(layers.blobs)):
        assert_close({name: fused.blobs[name].data}, {name: layers.blobs[name].data})


def test_gradients_are_the_layers(tmp_path: Path) -> None:
    text = "force_backward: true\n" + network(CHAIN, SHAPE, (2, 4))
    layers, fused = both(tmp_path / "net.prototxt", text)
    for net in (layers, fused):
        run(net, images())
        for name in ("h0", "h1"):
            net.blobs[name].diff[...] = np.random.default_rng(1).standard_normal(net.blobs[name].diff.shape)
        net.clear_param_diffs()
        net.backward()
    for name, blobs in layers.params.items():
        for index, blob in enumerate(blobs):
            assert_close({name: fused.params[name][index].diff}, {name: blob.diff}, 1e-4)
    assert_close({"data": fused.blobs["data"].diff}, {"data": layers.blobs["data"].diff}, 1e-4)


def test_passes_through_part_of_a_run(tmp_path: Path) -> None:
    layers, fused = both(tmp_path / "net.prototxt", network(CHAIN, SHAPE))
    for net in (layers, fused):
        run(net, images())
        net.blobs["p0"].data[...] *= 2
        net.forward(start="w1")
    assert_close({"w2": fused.blobs["w2"].data}, {"w2": layers.blobs["w2"].data})
    assert_close(run(fused, images(seed=1)), run(layers, images(seed=1)))


def test_new_weights_and_batches_are_seen(tmp_path: Path) -> None:
    layers, fused = both(tmp_path / "net.prototxt", network(CHAIN, SHAPE, (2, 4), softmax=True))
    rng = np.random.default_rng(1)
    for name in layers.params:
        for index, blob in enumerate(layers.params[name]):
            before = run(fused, images(2))
            value, data = rng.uniform(-0.5, 0.5, blob.data.shape), images(int(rng.integers(1, 30)))
            for net in (layers, fused):
                net.params[name][index].data[...] = value
            assert any((run(fused, images(2))[key] != before[key]).any() for key in before), name
            assert_close(run(fused, data), run(layers, data))


def test_maps_of_another_form_are_seen(tmp_path: Path) -> None:
    """An inner product takes maps of 2 x 3 as well as of 3 x 2."""
    chain = [Link(5), Link(6), Link(20, kernel=0)]
    layers, fused = both(tmp_path / "net.prototxt", network(chain, (2, 3, 6, 7)))
    rng = np.random.default_rng(2)
    for shape in ((2, 3, 6, 7), (2, 3, 7, 6), (40, 3, 6, 7), (1, 3, 7, 6)):
        data = rng.standard_normal(shape)
        assert_close(run(fused, data), run(layers, data))


def test_numbers_that_are_none_stay_in_their_image(tmp_path: Path) -> None:
    """The others' are the same bytes; pooling passes over a NaN, as the layer does."""
    layers, fused = both(tmp_path / "net.prototxt", network(CHAIN, SHAPE, (2, 4)))
    for count in (3, 50):
        clean = run(fused, images(count))
        data = images(count)
        data[1, :, 4, 5] = np.nan
        found, wanted = run(fused, data), run(layers, data)
        for name, value in found.items():
            others = np.arange(count) != 1
            np.testing.assert_array_equal(value[others], clean[name][others])
            np.testing.assert_array_equal(np.isnan(value), np.isnan(wanted[name]))
            np.testing.assert_allclose(value, wanted[name], atol=1e-4)


def test_an_image_gives_the_same_bytes_in_any_batch(tmp_path: Path) -> None:
    net = make(tmp_path / "net.prototxt", network(CHAIN, SHAPE, (2, 4), softmax=True), True)
    many = run(net, images(60))
    for count in (1, 2, 7, 33):
        for name, value in run(net, images(60)[:count]).items():
            np.testing.assert_array_equal(value, many[name][:count])


def test_results_do_not_depend_on_the_number_of_threads(run_python: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(network(CHAIN, (9, 3, 70, 50), (2, 4), softmax=True))
    code = f"""
import hashlib, numpy as np, caffe
caffe.set_random_seed(1)
net = caffe.Net({str(path)!r}, caffe.TEST)
net.blobs["data"].data[...] = np.random.default_rng(0).standard_normal((9, 3, 70, 50))
found = net.forward()
print(hashlib.sha256(b"".join(found[name].tobytes() for name in sorted(found))).hexdigest())
"""
    printed = {run_python(code, OMP_NUM_THREADS=n).stdout.strip() for n in ("1", "2", "3", "7")}
    assert len(printed) == 1
    assert len(printed.pop()) == len(hashlib.sha256().hexdigest())


def test_a_blob_outlives_its_net(tmp_path: Path) -> None:
    fused = make(tmp_path / "net.prototxt", network(CHAIN, SHAPE), True)
    run(fused, images())
    blob = fused.blobs["w0"]
    del fused
    gc.collect()
    assert np.isfinite(blob.data).all()


FIRST = "kernel_size: 3 pad: 0"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", ["w0 to prob"]),
        (FIRST, f"{FIRST} engine: CAFFE", ["w1 to prob"]),
        (FIRST, f"{FIRST} stride: 2", ["w1 to prob"]),
        (FIRST, f"{FIRST} dilation: 2", ["w1 to prob"]),
        ("pool: MAX kernel_size: 2", "pool: AVE kernel_size: 2", ["w1 to prob"]),
        ("pool: MAX kernel_size: 2", "pool: MAX pad: 1 kernel_size: 2", ["w1 to prob"]),
        ('name: "prob" type: "Softmax"', 'name: "prob" type: "Sigmoid"', ["w0 to h1"]),
        (
            'layer { name: "h0"',
            'layer { name: "x" type: "Power" bottom: "p0" top: "x" }\nlayer { name: "h0"',
            ["w1 to a2"],
        ),
        (
            'layer { name: "h0"',
            'layer { name: "x" type: "Power" bottom: "w2" top: "x" }\nlayer { name: "h0"',
            ["w0 to a2"],
        ),
    ],
)
def test_which_layers_are_fused(
    old: str, new: str, expected: list[str], run_python: Any, tmp_path: Path
) -> None:
    text = network(CHAIN, SHAPE, (2, 4), softmax=True)
    assert old in text
    path = tmp_path / "net.prototxt"
    path.write_text(text.replace(old, new, 1))
    assert fused_nets.fused_layers(run_python, path, "TEST") == expected


def test_chains_of_large_convolutions_are_left_to_the_layers(run_python: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    for outputs, expected in ((113, ["w0 to a1"]), (114, [])):  # 9 x 64 weights each: below 65,536 and above
        path.write_text(network([Link(64), Link(outputs)], SHAPE))
        assert fused_nets.fused_layers(run_python, path, "TEST") == expected


def test_in_training_the_layers_run(run_python: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(network(CHAIN, SHAPE, (2, 4)))
    assert fused_nets.fused_layers(run_python, path, "TRAIN") == []
