"""Dry run: Caffe calls that may fail, tried in a separate process first.

Our Caffe raises RuntimeError when one of its CHECK macros fails; a stock Caffe ends the process, and so does
a crash in either. Most causes are checked before (see `caffe_files.net_shapes`); the rest, such as a filler
of an unknown name, only Caffe itself detects. A dry run takes a third of a second.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from facealign.caffe_files.prototxt import layer_lines, read_net
from facealign.errors import FaceAlignError

# Imports only the compiled part of pycaffe: the rest takes longer than everything else here.
_START = """
import importlib.machinery, json, resource, sys, types
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
sys.path[:], arguments = json.loads(sys.argv[1])
package = sys.modules["caffe"] = types.ModuleType("caffe")
package.__path__ = importlib.machinery.PathFinder.find_spec("caffe").submodule_search_locations
from caffe import _caffe as caffe
"""
_FATAL = re.compile(  # the reason, and the layer that it concerns, which a stock Caffe does not add
    r"^(?:RuntimeError: |F\d{4,8} \S+ +\d+ \S+:\d+\] )(?:Check failed: )?(?:false )?"
    r"(.*?)(?: \[(?:layers? '([^']*)')?[^\[\]]*\])?$",
    re.MULTILINE,
)
_PARSING = re.compile(
    r"(?:Error parsing text-format [\w.]+: |Failed to parse \w+ file: (.*), line )(\d+)(?::\d+)?: (.*)"
)
_LAYER = re.compile(r"Creating layer (.*)", re.IGNORECASE)


def dry_run(code: str, arguments: Sequence[str], net: Path) -> None:
    """Run Python `code` in another process, with pycaffe's compiled part as `caffe`, and `arguments`.

    Raises FaceAlignError when Caffe fails in that process: with Caffe's reason, the prototxt `net` and, if
    Caffe names the layer, the line of that layer.
    """
    if not sys.executable:  # Python is embedded in another program
        return
    done = subprocess.run(
        [sys.executable, "-c", _START + code, json.dumps([sys.path, list(arguments)])],
        env={**os.environ, "GLOG_minloglevel": "0", "GLOG_logtostderr": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise FaceAlignError(_failure(done.stderr, done.returncode, net))


def _failure(log: str, code: int, net: Path) -> str:
    """One line about the failure that Caffe logged, with the line of `net` where it is known."""
    unread = _PARSING.search(log)
    if unread:
        return f"{unread[1] or net}, line {unread[2]}: Caffe cannot read it: {unread[3]}"
    fatal = _FATAL.search(log)
    if fatal is None:
        last = (log.strip().splitlines() or ["no message"])[-1]
        return f"{net}: Caffe cannot run it: {last} (exit code {code})"
    names = [layer.name for layer in read_net(net).layer]
    words = [*re.findall(r"[^\s'\",()]+", fatal[1].rstrip(".")), fatal[2]]
    mentioned = [name for name in words if name in names]
    reached = [name for name in _LAYER.findall(log[: fatal.start()]) if name in names]
    if not mentioned and not reached:
        return f"{net}: Caffe cannot run it: {fatal[1]}"
    name = mentioned[-1] if mentioned else reached[-1]
    lines = layer_lines(net.read_text(encoding="utf-8"))
    where = f", line {lines[names.index(name)]}" if len(lines) == len(names) else ""
    return f"{net}{where}: layer {name!r}: Caffe cannot run it: {fatal[1]}"
