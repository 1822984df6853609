"""Training by the real solver, on few made-up faces and in small batches: a step takes 0.1 seconds."""

import dataclasses
import json
import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest

from facealign.caffe_files.caffemodel import read_weights
from facealign.crops.augmentation import Augmentation
from facealign.crops.model_spec import ModelSpec
from facealign.datasets.scan import scan
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import read_image
from facealign.lmdb.context_crop_writer import write_faces
from facealign.lmdb.datum import encode_image, encode_landmarks
from facealign.lmdb.jobs import Job, PartRequest, described_settings
from facealign.lmdb.jobs import SampleSettings as LmdbRecipe
from facealign.lmdb.meta import write_meta
from facealign.lmdb.pairs import read_part, write_part
from facealign.lmdb.sample_writer import write_training_part, write_validation_part
from facealign.networks import mobilenet_v2, vgg_shadow
from facealign.networks.recipes import recipe_named
from facealign.training.lineage import origin
from facealign.training.log import read_log
from facealign.training.preparation import OnTheFly, Settings, prepare
from facealign.training.run import Saved, TrainingStep, Validation, train
from facealign.training.snapshots import is_whole, snapshots
from tests.dotted_photos import write_photo
from tests.random_weights import fill

STAGE1 = dataclasses.replace(
    recipe_named("mobilenet_v2/stage1"), batch_size=8, base_lr=0.001, lr_policy="poly", power=1.0
)
STAGE2 = dataclasses.replace(
    recipe_named("mobilenet_v2/stage2"), batch_size=8, base_lr=1e-4, lr_policy="inv", gamma=1e-5, power=0.75
)
SPEC = ModelSpec(box_scale=1.2, box_shift=(0.0, 0.05))  # not the default: it has to come from the data
ITERATIONS = 24


def plain(items, total, what):
    return items


def never(error):
    raise error


def jobs_in(folder):
    return [Job(sample, box_from_landmarks(sample.points), "landmarks") for sample in scan(folder).samples]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Folders train and val of dotted photos."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 5)):
        for index in range(count):
            write_photo(root / part, f"{part}{index}", rng, index if part == "train" else 20 + index)
    return root


@pytest.fixture(scope="module")
def data(photos, tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    recipe = LmdbRecipe(SPEC, Augmentation(), 0)
    parts = {
        "train": write_training_part(
            PartRequest(directory, "train", jobs_in(photos / "train"), recipe, 1, plain, never), 6
        ),
        "val": write_validation_part(
            PartRequest(directory, "val", jobs_in(photos / "val"), recipe, 1, plain, never)
        ),
    }
    described = {name: dataclasses.asdict(part) for name, part in parts.items()}
    write_meta(directory, {**described_settings(recipe), "parts": described})
    return directory


def settings_for(data, directory, **changes):
    every = {"snapshot_every": 10, "validate_every": 8, "display_every": 5}
    return Settings(
        **{
            "recipe": STAGE1,
            "data": data,
            "directory": directory,
            "iterations": ITERATIONS,
            **every,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """(settings, the events of a run that was not interrupted)."""
    settings = settings_for(data, tmp_path_factory.mktemp("trained") / "run")
    return settings, list(train(prepare(settings)))


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def weights_in(path):
    """Every number of a caffemodel that is learned, one after another: not the statistics of BatchNorm."""
    layers = {name: arrays for name, arrays in read_weights(path).items() if not name.startswith("BatchNorm")}
    return np.concatenate([values.ravel() for arrays in layers.values() for values in arrays])


def test_every_iteration_is_reported_and_the_rate_falls_as_the_recipe_says(trained):
    steps = of_kind(trained[1], TrainingStep)
    assert [step.iteration for step in steps] == list(range(1, ITERATIONS + 1))
    rates = [0.001 * (1 - done / ITERATIONS) for done in range(ITERATIONS)]
    np.testing.assert_allclose([step.rate for step in steps], rates, rtol=1e-5)


def test_the_loss_falls(trained):
    losses = [step.loss for step in of_kind(trained[1], TrainingStep)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-4:]) < 0.4 * np.mean(losses[:2])


def test_snapshots_and_validations_come_when_asked_for_and_at_the_end(trained):
    settings, events = trained
    assert [event.iteration for event in of_kind(events, Validation)] == [8, 16, 24]
    saved = [event.snapshot for event in of_kind(events, Saved)]
    assert [snapshot.iteration for snapshot in saved] == [10, 20, 24]
    assert saved[::-1] == snapshots(settings.directory, "stage1")
    assert isinstance(events[-1], Saved)
    # a row's loss is the mean since the row before
    steps = {step.iteration: step for step in of_kind(events, TrainingStep)}
    rows = read_log(settings.directory / "log.csv")
    losses = [row for row in rows if row.loss is not None]
    assert [row.iteration for row in losses] == [5, 10, 15, 20, 24]
    for before, row in zip([0, 5, 10, 15, 20], losses, strict=True):
        made = [steps[number].loss for number in range(before + 1, row.iteration + 1)]
        assert row.loss == pytest.approx(np.mean(made), rel=1e-6)
        assert row.rate == pytest.approx(steps[row.iteration].rate, rel=1e-6)
    errors = [row for row in rows if row.nme_inter_pupil is not None]
    assert [row.iteration for row in errors] == [8, 16, 24]
    assert [row.seconds for row in rows] == sorted(row.seconds for row in rows)


def test_the_run_s_directory_holds_what_it_takes_to_use_the_weights(trained, data):
    settings, _ = trained
    names = {"train_val.prototxt", "solver.prototxt", "deploy.prototxt", "model.json", "run.json", "log.csv"}
    assert {path.name for path in settings.directory.iterdir() if "_iter_" not in path.name} == names
    spec = ModelSpec.from_json((settings.directory / "model.json").read_text(), "model.json")
    assert spec == dataclasses.replace(SPEC, deploy="deploy.prototxt", stage="stage1")
    described = json.loads((settings.directory / "run.json").read_text())
    parts = json.loads((data / "meta.json").read_text())["parts"]
    assert described["data_sha256"] == {name: part["sha256"] for name, part in parts.items()}
    assert described["recipe"] == json.loads(json.dumps(dataclasses.asdict(STAGE1)))
    assert (described["seed"], described["start"], described["iterations"]) == (0, None, ITERATIONS)


@pytest.mark.parametrize(("iteration", "which"), [(24, 2)])
def test_the_validation_is_what_the_aligner_makes_of_the_photos_with_the_snapshot(
    trained, photos, iteration, which, monkeypatch
):
    """From the photo files to NME by hand: nothing of the LMDBs or of the training is shared."""
    # Weights of so few iterations predict faces that lean by any angle: they would be looked at again.
    monkeypatch.setattr("facealign.inference.looks.APART", 360)
    settings, events = trained
    aligner = FaceAligner.open(
        settings.directory / f"stage1_iter_{iteration}.caffemodel", engine="caffe", detector=False
    )
    pupil, ocular = [], []
    for sample in scan(photos / "val").samples:
        box = box_from_landmarks(sample.points)
        found = aligner.landmarks_in(read_image(sample.path), box[None])[0]
        error = np.hypot(*(found - sample.points).T).mean()
        left, right = sample.points[36:42].mean(axis=0), sample.points[42:48].mean(axis=0)
        pupil.append(100 * error / np.hypot(*(left - right)))
        ocular.append(100 * error / np.hypot(*(sample.points[36] - sample.points[45])))
    validation = of_kind(events, Validation)[which]
    assert validation.nme_inter_pupil == pytest.approx(np.mean(pupil), rel=1e-6)
    assert validation.nme_inter_ocular == pytest.approx(np.mean(ocular), rel=1e-6)
    row = read_log(settings.directory / "log.csv")[-1]
    assert row.nme_inter_pupil == pytest.approx(np.mean(pupil), rel=1e-6)


def interrupted(settings, after):
    """Run until `after` iterations are made, and close the iterator there; the events."""
    events, made = train(prepare(settings)), []
    for event in events:
        made.append(event)
        if isinstance(event, TrainingStep) and event.iteration == after:
            break
    events.close()
    return made


@pytest.fixture(scope="module")
def same_batches(tmp_path_factory):
    """Data of exactly one batch: whether the reading starts anew makes no difference."""
    directory = tmp_path_factory.mktemp("same")
    rng = np.random.default_rng(0)
    write_random(directory, rng)
    return directory


def write_random(directory, rng, size=(64, 64), parts=("train", "val"), spec=None, n=8, targets=None):
    """LMDBs of n random pictures and landmarks, as facealign make-lmdb would describe them."""
    directory.mkdir(exist_ok=True)
    if targets is None:
        targets = rng.uniform(0.1, 0.9, (n, 136)).astype(np.float32)
    for part in parts:
        images = rng.integers(0, 256, (n, *size, 3), dtype=np.uint8)
        encoded = [(encode_image(i), encode_landmarks(t)) for i, t in zip(images, targets, strict=True)]
        write_part(directory, part, n, size, encoded)
    spec = spec or ModelSpec(input_height=size[0], input_width=size[1])
    meta = {"spec": dataclasses.asdict(spec), "parts": {part: {"sha256": part} for part in parts}}
    write_meta(directory, meta)


@pytest.fixture(scope="module")
def crops(photos, tmp_path_factory):
    """Context crops of the same photos, for augmentation on the fly."""
    directory = tmp_path_factory.mktemp("crops")
    made = LmdbRecipe(SPEC, Augmentation(), 0)
    request = PartRequest(directory, "train", jobs_in(photos / "train"), made, 1, plain, never)
    validation = dataclasses.replace(request, part="val", jobs=jobs_in(photos / "val"))
    parts = {"train": write_faces(request), "val": write_validation_part(validation)}
    described = {name: dataclasses.asdict(part) for name, part in parts.items()}
    write_meta(directory, {**described_settings(made), "fresh": True, "parts": described})
    return directory


@pytest.mark.parametrize("kind", ["pairs", "on the fly", "dropout"])
def test_a_resumed_run_is_an_undisturbed_one_to_the_last_bit(kind, same_batches, crops, tmp_path):
    """Noise on the input, dropout, and samples augmented on the fly included."""
    length: dict[str, object] = {"iterations": 10, "snapshot_every": 100}
    data, stage = same_batches, "stage1"
    if kind == "on the fly":
        data = crops
        length["on_the_fly"] = OnTheFly()
    elif kind == "dropout":
        data, stage = tmp_path / "data", "vgg_shadow"
        write_random(data, np.random.default_rng(0), size=vgg_shadow.SIZE)
        length |= {"recipe": dataclasses.replace(recipe_named(stage), batch_size=8), "iterations": 5}
    through = settings_for(data, tmp_path / "through", **length)
    steps = of_kind(train(prepare(through)), TrainingStep)
    broken = settings_for(data, tmp_path / "broken", **length)
    middle, last = broken.iterations // 2, broken.iterations
    before = of_kind(interrupted(broken, middle), TrainingStep)
    second = prepare(broken)
    assert second.done == middle
    after = of_kind(train(second), TrainingStep)
    assert before + after == steps
    seconds = [row.seconds for row in read_log(broken.directory / "log.csv")]
    assert seconds == sorted(seconds)  # of both sessions
    whole, resumed = (
        weights_in(run.directory / f"{stage}_iter_{last}.caffemodel") for run in (through, broken)
    )
    np.testing.assert_array_equal(resumed, whole)


def test_a_closed_run_leaves_a_snapshot_of_its_last_iteration_and_a_log_up_to_it(data, tmp_path):
    settings = settings_for(data, tmp_path / "run", iterations=1000)
    interrupted(settings, 7)
    (snapshot,) = snapshots(settings.directory, "stage1")
    assert snapshot.iteration == 7
    assert not (settings.directory / "unfinished").exists()
    rows = read_log(settings.directory / "log.csv")
    assert [row.iteration for row in rows] == [5, 7]
    # a log that is ahead of the newest snapshot, as after a crash, goes back to it
    with (settings.directory / "log.csv").open("a") as log:
        log.write("8,99,,,9.5,8.5\n10,100,0.5,0.001,,\n15,10")
    again = prepare(settings)
    assert again.done == 7
    assert again.rows == rows
    events = train(again)
    step = next(event for event in events if isinstance(event, TrainingStep))
    events.close()
    assert step.iteration == 8
    assert [snapshot.iteration for snapshot in snapshots(settings.directory, "stage1")] == [8, 7]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_within_leaves_a_snapshot_too(data, tmp_path, monkeypatch, error):
    """Here while the log is written; an interruption can come anywhere."""
    settings = settings_for(data, tmp_path / "run")

    def fail(run, row):
        raise error

    monkeypatch.setattr("facealign.training.run._log", fail)
    with pytest.raises(error):
        list(train(prepare(settings)))
    assert [snapshot.iteration for snapshot in snapshots(settings.directory, "stage1")] == [5]


def test_an_interruption_while_a_snapshot_is_made_does_not_lose_it(data, tmp_path, monkeypatch):
    settings = settings_for(data, tmp_path / "run", snapshot_every=3)
    calls = []
    real = shutil.rmtree

    def interrupted_once(path, *arguments, **options):
        if Path(path).name == "unfinished" and not calls:
            calls.append(path)
            for file in settings.directory.glob("stage1_iter_*"):  # worse still: nothing has its name yet
                file.unlink()
            raise KeyboardInterrupt
        real(path, *arguments, **options)

    monkeypatch.setattr("facealign.training.snapshots.shutil.rmtree", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        list(train(prepare(settings)))
    assert len(calls) == 1
    assert [snapshot.iteration for snapshot in snapshots(settings.directory, "stage1")] == [3]


def test_a_run_starts_from_exactly_the_weights_given(trained, data, tmp_path):
    first, _ = trained
    start = first.directory / "stage1_iter_24.caffemodel"
    settings = settings_for(data, tmp_path / "run", recipe=STAGE2, start=start, iterations=2)
    before = of_kind(trained[1], Validation)[-1]
    events = train(prepare(settings))
    validation = next(events)
    assert validation == dataclasses.replace(before, iteration=0)
    steps = of_kind(events, TrainingStep)
    # stage 2: inverse decay of the rate, and a rate small enough that little has changed
    np.testing.assert_allclose([step.rate for step in steps], [1e-4, 1e-4 * (1 + 1e-5) ** -0.75], rtol=1e-6)
    assert read_log(settings.directory / "log.csv")[0].iteration == 0
    moved = np.abs(
        weights_of_layer(settings.directory / "stage2_iter_2.caffemodel") - weights_of_layer(start)
    )
    assert 0 < moved.max() < 5e-4
    assert json.loads((settings.directory / "run.json").read_text())["start"] == origin(start)
    # going on later, it remembers what it started from
    later = dataclasses.replace(settings, start=None, iterations=3)
    list(train(prepare(later)))
    assert json.loads((settings.directory / "run.json").read_text())["start"] == origin(start)


def weights_of_layer(path, name="fc2"):
    return read_weights(path)[name][0]


def test_weights_in_caffe_s_old_shapes_are_taken_as_they_are(data, tmp_path):
    """Which Caffe itself would end the process for."""
    deploy = mobilenet_v2.deploy()
    weights = fill(deploy, np.random.default_rng(0))
    for layer in weights.layer:
        for blob in layer.blobs:
            if len(blob.shape.dim) == 1:
                blob.shape.dim[:] = [1, 1, 1, blob.shape.dim[0]]
    path = tmp_path / "old.caffemodel"
    path.write_bytes(weights.SerializeToString())
    run = prepare(settings_for(data, tmp_path / "run", start=path))
    events = train(run)
    first = next(events)
    events.close()
    other = tmp_path / "new.caffemodel"
    other.write_bytes(fill(deploy, np.random.default_rng(0)).SerializeToString())
    events = train(prepare(settings_for(data, tmp_path / "other", start=other)))
    assert first == next(events)
    events.close()


def test_weights_of_another_net_are_refused_before_caffe_sees_them(data, tmp_path):
    path = tmp_path / "vgg.caffemodel"
    path.write_bytes(fill(vgg_shadow.deploy(), np.random.default_rng(0)).SerializeToString())
    refused(settings_for(data, tmp_path / "run", start=path), r"vgg\.caffemodel: .*made for another net")
    path.write_bytes(path.read_bytes()[:1000])
    refused(settings_for(data, tmp_path / "run", start=path), r"vgg\.caffemodel: truncated")
    assert not (tmp_path / "run").exists()


def refused(settings, pattern):
    with pytest.raises(FaceAlignError, match=pattern) as caught:
        prepare(settings)
    assert len(str(caught.value).splitlines()) == 1


def test_a_rate_far_too_high_is_reported_and_no_snapshot_of_it_written(data, tmp_path):
    recipe = dataclasses.replace(STAGE1, base_lr=1e30)
    settings = settings_for(data, tmp_path / "run", recipe=recipe, snapshot_every=1000, validate_every=1000)
    with pytest.raises(
        FaceAlignError, match=r"the loss is \S+ after iteration \d+: the learning rate"
    ) as caught:
        list(train(prepare(settings)))
    assert len(str(caught.value).splitlines()) == 1
    assert "there is no snapshot" in str(caught.value)
    assert not list(settings.directory.rglob("*_iter_*"))


def test_a_run_that_breaks_later_keeps_its_snapshots_and_goes_on_from_them(trained, data, tmp_path):
    """Every iteration is to be saved here: also one whose loss is a number yet and whose weights are not."""
    shutil.copytree(trained[0].directory, tmp_path / "run")
    recipe = dataclasses.replace(STAGE1, base_lr=1e30)
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    described["recipe"] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    (tmp_path / "run" / "run.json").write_text(json.dumps(described))
    settings = settings_for(data, tmp_path / "run", recipe=recipe, iterations=40, snapshot_every=1)
    with pytest.raises(FaceAlignError, match=r"not finite numbers|the loss is"):
        list(train(prepare(settings)))
    left = snapshots(settings.directory, "stage1")
    assert {snapshot.iteration for snapshot in left} >= {10, 20, 24}
    for snapshot in left:
        assert np.isfinite(weights_in(snapshot.weights)).all()  # also raises where they are not
    assert prepare(settings).done == left[0].iteration


def test_a_target_that_is_no_number_is_reported(tmp_path):
    targets = np.full((8, 136), 0.5, np.float32)
    targets[:, 42:48] = 0.9
    data = tmp_path / "data"
    write_random(data, np.random.default_rng(0), targets=targets)
    targets[3, 7] = np.nan
    shutil.rmtree(data / "train_images")
    shutil.rmtree(data / "train_landmarks")
    write_random(data, np.random.default_rng(0), parts=("train",), targets=targets)
    write_meta(data, {**json.loads((data / "meta.json").read_text()), "parts": two_parts()})
    settings = settings_for(data, tmp_path / "run", snapshot_every=1)
    with pytest.raises(FaceAlignError, match=r"the loss is nan after iteration 1: .*a sample is broken"):
        list(train(prepare(settings)))
    assert snapshots(settings.directory, "stage1") == []


def two_parts():
    return {part: {"sha256": part} for part in ("train", "val")}


def test_a_gpu_that_caffe_was_not_built_for_is_refused(data, tmp_path):
    refused(settings_for(data, tmp_path / "run", gpu=True), "built without CUDA .* use --device cpu")
    assert not (tmp_path / "run").exists()


def damage(data, name):
    """Damage LMDBs in one of many ways."""
    if name == "no meta":
        (data / "meta.json").unlink()
    elif name.startswith("no "):
        shutil.rmtree(data / name.removeprefix("no "))
    elif name.startswith("cut "):
        path = data / name.removeprefix("cut ") / "data.mdb"
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
    elif name.startswith("short "):
        path = data / name.removeprefix("short ")
        with lmdb.open(str(path), map_size=1 << 24) as opened, opened.begin(write=True) as transaction:
            transaction.delete(b"%09d" % 7)
    else:
        meta = json.loads((data / "meta.json").read_text())
        if name == "val unknown":
            del meta["parts"]["val"]
        else:
            meta["spec"].update({"mean": {"mean": 0.0}, "order": {"landmark_order": "other"}}[name])
        write_meta(data, meta)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("no meta", r"meta\.json: no such file"),
        ("no train_images", r"train_images: no LMDB"),
        ("no train_landmarks", r"train_landmarks: no LMDB"),
        ("no val_images", r"val_images: no LMDB"),
        ("val unknown", "has no validation part; make it again with --validation over 0"),
        ("cut train_images", r"train_images: its data\.mdb is cut short"),
        ("cut val_landmarks", r"val_landmarks: its data\.mdb is cut short"),
        ("short train_landmarks", "8 images, but 7 landmarks"),
        ("short val_images", "7 images, but 8 landmarks"),
        ("mean", r"samples with mean 0\.0, mobilenet_v2 wants 127\.5"),
        ("order", "samples with landmark_order other"),
    ],
)
def test_data_that_caffe_would_end_the_process_for_are_refused(same_batches, tmp_path, name, pattern):
    shutil.copytree(same_batches, tmp_path / "data")
    damage(tmp_path / "data", name)
    refused(settings_for(tmp_path / "data", tmp_path / "run"), pattern)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["train", "val"])
def test_pictures_of_another_size_than_described_are_refused(same_batches, tmp_path, part):
    shutil.copytree(same_batches, tmp_path / "data")
    for kind in ("images", "landmarks"):
        shutil.rmtree(tmp_path / "data" / f"{part}_{kind}")
    meta = (tmp_path / "data" / "meta.json").read_text()
    write_random(tmp_path / "data", np.random.default_rng(0), (32, 32), parts=(part,))
    (tmp_path / "data" / "meta.json").write_text(meta)
    refused(settings_for(tmp_path / "data", tmp_path / "run"), rf"{part} samples of shapes \(\(3, 32, 32\)")


def test_data_for_another_network_are_refused(tmp_path):
    write_random(tmp_path / "data", np.random.default_rng(0), (70, 60))
    refused(
        settings_for(tmp_path / "data", tmp_path / "run"),
        "samples with input_height 70, mobilenet_v2 wants 64; use `facealign make-lmdb --network mobil",
    )


def test_a_validation_face_without_eye_distance_is_refused(tmp_path):
    targets = np.full((8, 136), 0.5, np.float32)
    write_random(tmp_path / "data", np.random.default_rng(0), targets=targets)
    refused(settings_for(tmp_path / "data", tmp_path / "run"), "its validation part: .*distance 0")


@pytest.mark.parametrize("what", ["seed", "recipe", "data", "stage"])
def test_a_run_of_something_else_is_not_gone_on_with(trained, same_batches, tmp_path, what):
    shutil.copytree(trained[0].directory, tmp_path / "run")
    changes = {
        "seed": {"seed": 1},
        "recipe": {"recipe": dataclasses.replace(STAGE1, base_lr=0.002)},
        "data": {"data": same_batches},
        "stage": {"recipe": STAGE2},
    }[what]
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    settings = dataclasses.replace(trained[0], directory=tmp_path / "run", iterations=40, **changes)
    named = {
        "seed": "seed 0, not 1",
        "recipe": f"base_lr {STAGE1.base_lr}, not 0.002",
        "data": "other data",
        "stage": "recipe mobilenet_v2/stage1, not mobilenet_v2/stage2",
    }[what]
    refused(settings, f"run: holds a run with {named}; use --restart")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    events = train(prepare(dataclasses.replace(settings, restart=True)))
    step = next(event for event in events if isinstance(event, TrainingStep))
    assert step.iteration == 1
    events.close()
    stage = settings.recipe.stage
    assert [snapshot.iteration for snapshot in snapshots(tmp_path / "run", stage)] == [1]
    assert len(list((tmp_path / "run").glob("*_iter_*"))) == 2


def test_a_run_from_before_a_recipe_had_all_its_fields_is_gone_on_with(trained, tmp_path):
    shutil.copytree(trained[0].directory, tmp_path / "run")
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    for name in ("warmup_iter", "final_lr_ratio"):
        del described["recipe"][name]
    (tmp_path / "run" / "run.json").write_text(json.dumps(described))
    settings = dataclasses.replace(trained[0], directory=tmp_path / "run", iterations=40)
    assert prepare(settings).done == trained[0].iterations
    warmed_up = dataclasses.replace(settings.recipe, warmup_iter=5)
    refused(
        dataclasses.replace(settings, recipe=warmed_up),
        "holds a run with warmup_iter 0, not 5; use --restart",
    )


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_snapshots_of_an_unknown_run_are_not_gone_on_with(trained, tmp_path, content):
    shutil.copytree(trained[0].directory, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    if content is not None:
        (tmp_path / "run" / "run.json").write_text(content)
    refused(
        dataclasses.replace(trained[0], directory=tmp_path / "run"),
        r"run\.json: .*cannot determine which run",
    )


def test_a_half_written_newest_snapshot_is_passed_over(trained, tmp_path):
    shutil.copytree(trained[0].directory, tmp_path / "run")
    path = tmp_path / "run" / "stage1_iter_24.caffemodel"
    path.write_bytes(path.read_bytes()[:-1000])
    run = prepare(dataclasses.replace(trained[0], directory=tmp_path / "run"))
    assert run.done == 20
    assert run.passed_over == [f"{path}: cut short, or not written by Caffe"]
    steps = []
    for event in train(run):
        if isinstance(event, TrainingStep):
            steps.append(event.iteration)
        elif isinstance(event, Saved):
            written = event.snapshot.state.stat().st_mtime_ns
    assert steps == [21, 22, 23, 24]
    newest = snapshots(tmp_path / "run", "stage1")[0]
    assert is_whole(newest)
    assert newest.state.stat().st_mtime_ns == written  # once, not again at the end


def test_a_run_whose_snapshots_are_all_damaged_does_not_begin_anew_unasked(trained, tmp_path):
    shutil.copytree(trained[0].directory, tmp_path / "run")
    for path in (tmp_path / "run").glob("*.solverstate"):
        path.write_bytes(path.read_bytes()[:-1000])
    settings = dataclasses.replace(trained[0], directory=tmp_path / "run")
    refused(settings, r"stage1_iter_24\.solverstate: cut short.*; no other snapshot is there.*use --restart")
    assert prepare(dataclasses.replace(settings, restart=True)).done == 0


def test_what_only_caffe_finds_is_told_before_a_former_run_is_thrown_away(trained, data, tmp_path):
    """A lock that Caffe cannot take, as of LMDBs in a folder of somebody else's."""
    shutil.copytree(data, tmp_path / "data")
    for kind in ("images", "landmarks"):
        (tmp_path / "data" / f"train_{kind}" / "lock.mdb").unlink(missing_ok=True)
        (tmp_path / "data" / f"train_{kind}" / "lock.mdb").mkdir()
    shutil.copytree(trained[0].directory, tmp_path / "run")
    settings = settings_for(tmp_path / "data", tmp_path / "run", restart=True)
    refused(settings, r"train_val\.prototxt, line 4: layer 'data': Caffe cannot run it: .*directory")
    assert prepare(dataclasses.replace(settings, data=data, restart=False)).done == ITERATIONS
    # Nor does it keep a new run from beginning.
    new = dataclasses.replace(settings, directory=tmp_path / "new")
    refused(new, "Caffe cannot run it")
    assert prepare(dataclasses.replace(new, data=data)).done == 0


def test_a_finished_run_is_left_as_it_is(trained):
    settings, _ = trained
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in settings.directory.iterdir()}
    for iterations in (ITERATIONS, 5):
        assert prepare(dataclasses.replace(settings, iterations=iterations)).done == ITERATIONS
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in settings.directory.iterdir()}
    assert after == before


def test_restarting_throws_only_runs_away_and_only_after_all_is_checked(trained, data, tmp_path):
    """A slip of the hand must not cost somebody's folder, nor a mistake elsewhere the former run."""
    photos = tmp_path / "holiday"
    photos.mkdir()
    (photos / "beach.jpg").write_bytes(b"precious")
    refused(settings_for(data, photos, restart=True), "holiday: not a run to replace")
    assert (photos / "beach.jpg").read_bytes() == b"precious"
    run = tmp_path / "run"
    shutil.copytree(trained[0].directory, run)
    before = sorted(path.name for path in run.iterdir())
    refused(settings_for(tmp_path / "absent", run, restart=True), "no such file")
    inside = run / "stage1_iter_24.caffemodel"
    refused(settings_for(data, run, restart=True, start=inside), "deletes; copy it elsewhere first")
    shutil.copytree(data, run / "data")
    refused(settings_for(run / "data", run, restart=True), "deletes; copy it elsewhere first")
    shutil.rmtree(run / "data")
    assert sorted(path.name for path in run.iterdir()) == before
    elsewhere = tmp_path / "copy.caffemodel"
    shutil.copy(inside, elsewhere)
    again = prepare(settings_for(data, run, restart=True, start=elsewhere))
    assert again.done == 0
    assert not list(run.glob("*_iter_*"))
    assert read_log(run / "log.csv") == []


def test_the_seed_decides_the_initial_weights(data, tmp_path):
    losses = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        events = train(prepare(settings_for(data, tmp_path / name, seed=seed)))
        losses.append(next(event.loss for event in events if isinstance(event, TrainingStep)))
        events.close()
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


def test_the_truth_of_the_validation_part_is_in_crop_pixels(data):
    """One-based fractions of the side in the LMDB, 0-based pixels in the errors."""
    _, values = read_part(data, "val")
    run = prepare(settings_for(data, data.parent / "truth"))
    np.testing.assert_allclose(run.validation[1][..., 0], values[:, :68] * 64 - 1, atol=1e-4)
    np.testing.assert_allclose(run.validation[1][..., 1], values[:, 68:] * 64 - 1, atol=1e-4)
