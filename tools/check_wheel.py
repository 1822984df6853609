"""Test the portable wheel of our Caffe on a bare Debian, which has Python and none of Caffe's libraries.

A minimal file system is made in build/bare (by mmdebstrap, from the mirror that apt uses here), the wheel and
its Python dependencies are installed in it by pip, and tests/on_a_bare_machine.py is run there. Needs root.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from facealign.console import run
from facealign.errors import FaceAlignError

HERE = Path(__file__).resolve().parent.parent
SUITES = {"cp311": "bookworm", "cp313": "trixie"}
INCLUDED = "ca-certificates,python3,python3-venv"
OPENCVS = ("opencv-python-headless<5", "opencv-python-headless>=5")
"""The tests run with each of these. Headless, since a bare machine has no libGL."""
OTHERS = ("h5py", "lmdb", "onnx")

NEEDED = [
    "tests/on_a_bare_machine.py",
    "tests/custom_caffe/one_process.py",
    "models/mobilenet_v2_stage2.caffemodel",
    "models/mobilenet_v2_stage2.onnx",
    "prototxt/mobilenet_v2/stage2/deploy.prototxt",
    "prototxt/mobilenet_v2/stage2/train_val.prototxt",
]

PASSED_ON = (
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "OPENBLAS_CORETYPE",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path, help="the wheel that `make wheel` names")
    parser.add_argument("--place", type=Path, default=HERE / "build" / "bare", metavar="DIR")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of the stress test (default: 60)")
    arguments = parser.parse_args()
    wheel: Path = arguments.wheel
    if not wheel.is_file():
        raise FaceAlignError(f"{wheel}: no such file; run `make wheel`")
    python = wheel.name.split("-")[2]
    if python not in SUITES:
        raise FaceAlignError(f"{wheel.name}: no Debian release has this Python; known: {', '.join(SUITES)}")
    if os.geteuid() != 0:
        raise FaceAlignError("making and entering a file system needs root: use sudo")
    arguments.place.mkdir(parents=True, exist_ok=True)
    root = make_root(arguments.place.resolve(), SUITES[python])
    install_files(root, wheel)
    enter(root, "python3", "-m", "venv", "/check/venv")
    pip = ("/check/venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    for opencv in OPENCVS:
        enter(root, *pip, "--upgrade", f"/check/{wheel.name}", opencv, *OTHERS)
        enter(root, "/check/venv/bin/python", "/check/on_a_bare_machine.py", str(arguments.rounds))
    remove(root)
    print(f"{wheel.name}: works on a bare Debian {SUITES[python]}")


def make_root(place: Path, suite: str) -> Path:
    """A new minimal file system; the archive it is unpacked from is kept for the next time."""
    archive = place / f"{suite}.tar"
    if not archive.exists():
        if shutil.which("mmdebstrap") is None:
            raise FaceAlignError("mmdebstrap is not installed; `make deps FOR=wheel` installs it")
        partial = place / f".{suite}.tar"
        options = ("--quiet", "--variant=minbase", "--mode=root", "--format=tar", f"--include={INCLUDED}")
        call("mmdebstrap", *options, suite, str(partial), debian_mirror())
        partial.rename(archive)
    root = place / "root"
    remove(root)
    root.mkdir()
    # The archive's few device files are created anew; the machine's own /dev is never mounted inside.
    call("tar", "--extract", "--numeric-owner", "--file", str(archive), "--directory", str(root))
    return root


def debian_mirror() -> str:
    """The Debian mirror that apt uses here."""
    sys.path.insert(0, str(HERE / "custom_caffe"))
    from builder.source import debian_mirrors

    return debian_mirrors()[0]


def remove(root: Path) -> None:
    """Delete the file system. Raises FaceAlignError when something is mounted in it."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [mount for mount in mounts if Path(mount).is_relative_to(root)]
    if inside:
        raise FaceAlignError(f"{inside[0]} is mounted: unmount it first")
    if root.exists():
        shutil.rmtree(root)


def install_files(root: Path, wheel: Path) -> None:
    """Copy the wheel and its tests into /check, and the network settings that pip needs."""
    check = root / "check"
    check.mkdir()
    for file in [wheel, *(HERE / name for name in NEEDED)]:
        shutil.copy2(file, check / file.name)
    # It may be a dangling link.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    names = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    bundle = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if bundle is not None:
        shutil.copyfile(bundle, check / "certificates.pem")


def enter(root: Path, *command: str) -> None:
    """Run a command in the file system, with its own /proc, which ends with the command."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= {"GLOG_minloglevel": "2"}
    environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
    if (root / "check/certificates.pem").exists():
        environment["PIP_CERT"] = "/check/certificates.pem"
    apart = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={root / 'proc'}"]
    settings = [f"{name}={value}" for name, value in environment.items()]
    call(*apart, "chroot", str(root), "/usr/bin/env", "-i", *settings, *command)


def call(*command: str) -> None:
    """Run a command with its output shown. Raises FaceAlignError when it fails."""
    try:
        done = subprocess.run(command, check=False)
    except FileNotFoundError as error:
        raise FaceAlignError(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        shown: Sequence[str] = [part for part in command if "=" not in part]
        raise FaceAlignError(f"failed with {done.returncode}: {' '.join(shown)}")


if __name__ == "__main__":
    if platform.system() != "Linux":
        sys.exit("check_wheel: Linux only")
    run(main)
