"""`facealign VERB ...` as a process of its own that starts in a moment: forked from one that imported it all.

A start from nothing takes half a second or more, most of it imports, of which tests of many wrong inputs have
no need. Where the start itself is what is tested, or a library's threads, `subprocess` is the way.
"""

import atexit
import gc
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("align", "annotate", "detect_faces", "evaluate", "export_onnx", "make_lmdb", "train")
"""Of `facealign.commands`, imported before."""
LIBRARIES = ("caffe", "lmdb", "matplotlib.pyplot", "onnx")
SECONDS = 300
"""After which a program that hangs is ended, by SIGALRM."""
_server = None
"""The socket to the process from which others are forked, once it is there."""


class Forked:
    """A program that was started; as a subprocess.Popen with text of both outputs."""

    def __init__(self, arguments, cwd, file_limit=None):
        """arguments: from the verb on; file_limit: bytes that a file may have."""
        names = ("stdout", "stderr", "status")
        pipes = [os.pipe() for _ in names]
        self._read = {name: os.fdopen(pipe[0]) for name, pipe in zip(names, pipes, strict=True)}
        request = {"arguments": [str(argument) for argument in arguments], "cwd": str(cwd)}
        message = json.dumps({**request, "file_limit": file_limit}).encode()
        socket.send_fds(_connection(), [message], [pipe[1] for pipe in pipes])
        for pipe in pipes:
            os.close(pipe[1])
        self.returncode = None

    def communicate(self):
        """(stdout, stderr), when it has ended."""
        # In this order no pipe can fill up: a program that fails writes a line or two.
        stderr, stdout, status = (self._read[name].read() for name in ("stderr", "stdout", "status"))
        for stream in self._read.values():
            stream.close()
        self.returncode = os.waitstatus_to_exitcode(int(status))
        return stdout, stderr


def facealign(*arguments, cwd=ROOT):
    """Run `facealign ARGUMENTS...` to its end, as subprocess.run with captured text."""
    process = Forked(arguments, cwd)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def _connection():
    global _server
    if _server is None:
        _server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, "GLOG_minloglevel": "2", "PYTHONPATH": str(ROOT)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
    return _server


def _forked_for_a_request(connection):
    """Returns in a process that is to do one request, ready for it; this one ends with the connection."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        if not message:
            os._exit(0)
        if os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            os.waitpid(-1, 0)  # of the one between, which ends at once
            continue
        if os.fork():
            os._exit(0)
        stdout, stderr, status = descriptors
        program = os.fork()
        if program:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for descriptor in (stdout, stderr):
                os.close(descriptor)
            os.write(status, str(os.waitpid(program, 0)[1]).encode())
            os._exit(0)
        connection.close()
        for descriptor, number in ((stdout, 1), (stderr, 2)):
            os.dup2(descriptor, number)
        for descriptor in descriptors:
            os.close(descriptor)
        return json.loads(message)


def _main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in (*(f"facealign.commands.{name}" for name in MODULES), *LIBRARIES):
        importlib.import_module(name)
    from facealign.console import main

    request = _forked_for_a_request(socket.socket(fileno=int(sys.argv[1])))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(SECONDS)
    os.chdir(request["cwd"])
    if request["file_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], request["file_limit"]))
    sys.argv = ["facealign", *request["arguments"]]
    _end_at_once(main)


def _end_at_once(main):
    """Call a function that exits, and exit without tearing down the interpreter, which takes longer."""
    gc.freeze()
    try:
        main()
    except SystemExit as end:
        threading._shutdown()  # as the interpreter does, in this order
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(end.code)


if __name__ == "__main__":
    _main()
