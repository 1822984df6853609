"""The verbs of `facealign`."""

TASKS = {
    "faces in images": {
        "align": "find faces in images or a video: landmarks and head pose, as images and JSON",
        "serve": "a page to try it in a browser, and an HTTP API",
    },
    "training data": {
        "detect-faces": "find the annotated faces of data sets, for make-lmdb and evaluate",
        "annotate": "write the landmarks of photos, to train on",
        "turn-faces": "turn training faces farther away, as further ones",
        "make-lmdb": "write the LMDBs for training",
    },
    "training": {
        "make-prototxt": "write the prototxt of every network and stage",
        "train": "train a stage of a network in Caffe",
        "reproduce": "redo all released weights and their figures from the photos",
    },
    "figures and releases": {
        "evaluate": "measure weights on annotated photos",
        "report": "compare evaluations side by side, as Markdown or as a page",
        "release": "package a run's weights with their description and model card",
        "export-onnx": "write the ONNX file of a caffemodel",
        "quantise": "make the int8 form of an ONNX file",
        "export-ncnn": "write ncnn's form of an ONNX file, for phones",
    },
    "this program": {
        "completion": "let the TAB key complete verbs, options and files in bash or zsh",
    },
}
"""Task -> verb -> what it does; its program is the module of that name in `commands`."""
VERBS = {verb: what for verbs in TASKS.values() for verb, what in verbs.items()}
