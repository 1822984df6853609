"""The page as a folder of static files: its HTML and scripts, the networks, and onnxruntime's WebAssembly."""

import shutil
from pathlib import Path

from facealign.detection import mtcnn_weights
from facealign.engines.onnx import OnnxEngine
from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.landmark_network import SecondStageNetwork
from facealign.io.unfinished import temporary_folder
from facealign.networks import mtcnn
from facealign.serve.page_html import PAGE, page_html

SCRIPTS = Path(__file__).parent / "page"
"""Scripts of this page; those in `serve` are of both."""
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""Content security policy: no connection but for the page's own files."""
RUNTIME = {"ort.wasm.bundle.min.mjs": "ort.wasm.js", "ort-wasm-simd-threaded.wasm": "ort.wasm"}
"""Files of onnxruntime-web: those that need no GPU; their names here, as many servers know no `.mjs`."""


def check_replaceable(output: Path) -> None:
    """Raise FaceAlignError when `output` is a folder of something else, which a build would replace."""
    ours = (output / "static" / "browser.js").is_file()
    if output.is_dir() and not ours and any(output.iterdir()):
        raise FaceAlignError(f"{output}: exists and holds no page; give another --output")


def build(folder: Path, weights: Path, cascade: Path, node_modules: Path) -> None:
    """Write the page into `folder`, which does not exist yet.

    weights, cascade: ONNX files of the landmark network and of a second cascade stage; node_modules: with
    onnxruntime-web. Raises FaceAlignError on files that are missing or invalid, or another network.
    """
    static, models, runtime = (folder / name for name in ("static", "models", "runtime"))
    for made in (static, models, runtime):
        made.mkdir(parents=True)
    (folder / "index.html").write_text(page_html("browser", POLICY), encoding="utf-8")
    shutil.copyfile(Path(__file__).parent / "LICENCES.txt", folder / "LICENCES.txt")
    for file in sorted([*PAGE.iterdir(), *SCRIPTS.glob("*.js")]):
        if file.name not in ("index.html", "server.js"):
            shutil.copyfile(file, static / file.name)
    _write_networks(models, weights, cascade)
    for name, new in RUNTIME.items():
        shutil.copyfile(node_modules / "onnxruntime-web" / "dist" / name, runtime / new)


def _write_networks(models: Path, weights: Path, cascade: Path) -> None:
    first, second = OnnxEngine(weights), OnnxEngine(cascade)
    for path, engine in ((weights, first), (cascade, second)):
        if engine.spec is None:
            raise FaceAlignError(
                f"{path}: does not say how to crop; expected a file of `facealign export-onnx`"
            )
    assert first.spec is not None
    assert second.spec is not None
    try:
        FaceAligner(None, first, first.spec)
        if first.spec.crop != "square":
            raise FaceAlignError(f"its crop is {first.spec.crop!r}, which the page cannot make")
    except FaceAlignError as error:
        raise FaceAlignError(f"{weights}: {error}") from error
    try:
        SecondStageNetwork(second, second.spec)
    except FaceAlignError as error:
        raise FaceAlignError(f"{cascade}: {error}") from error
    for name, path, spec in (("landmarks", weights, first.spec), ("cascade", cascade, second.spec)):
        shutil.copyfile(path, models / f"{name}.onnx")
        # Beside it, as onnxruntime-web does not read the description that the file itself holds.
        (models / f"{name}.json").write_text(spec.portable().to_json(), encoding="utf-8")
    with temporary_folder() as folder:
        mtcnn_weights.write(folder)
        for name in mtcnn.NETS:
            shutil.copyfile(folder / f"{name}.onnx", models / f"{name}.onnx")
