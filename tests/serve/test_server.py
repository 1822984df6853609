"""`facealign serve` as it is run: the answers of FaceAligner, limits that hold, a graceful stop."""

import contextlib
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import time

import cv2
import httpx2 as httpx
import numpy as np
import pytest
from skimage.data import astronaut

from facealign.datasets.pts import read_pts
from facealign.inference.face_aligner import FaceAligner
from tests.faults.hostile_images import hostile_images, png
from tests.serve.running import (
    LONG,
    ROOT,
    answer_to,
    astronaut_bytes,
    gradient,
    running,
    turned_by_exif,
    workers_of,
)


@pytest.fixture(scope="module")
def photo():
    return astronaut_bytes()


@pytest.fixture(scope="module")
def faces():
    return FaceAligner.open().detect_and_align(astronaut()[:, :, ::-1])


def rounded(values, digits):
    return [[round(float(value), digits) for value in row] for row in values]


def test_a_photo_gives_what_face_aligner_gives_to_the_last_digit(server, photo, faces):
    (expected,) = faces
    raw = server.post(photo, headers={"Content-Type": "image/png"}).json()
    form = httpx.post(f"{server.url}/align", files={"photo": ("a.png", photo)}, timeout=LONG).json()
    assert {**raw, "file": "a.png"} == form
    assert (raw["width"], raw["height"]) == (512, 512)
    (face,) = raw["faces"]
    assert face["landmarks"] == rounded(expected.landmarks, 3)
    assert [face["box"]] == rounded([expected.box], 3)
    assert list(face["pose"].values()) == rounded([vars(expected.pose).values()], 3)[0]
    assert (face["score"], face["doubtful"]) == (round(expected.score, 5), False)


def test_several_faces_in_three_formats(server, tmp_path):
    pair = np.hstack([astronaut()[:, :, ::-1], astronaut()[:, ::-1, ::-1]])
    data = cv2.imencode(".png", pair)[1].tobytes()
    found = server.post(data).json()["faces"]
    assert len(found) == 2
    table = server.post(data, "?format=csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    columns = np.genfromtxt(io.StringIO(table.text), delimiter=",", names=True, dtype=None, encoding="utf-8")
    for index, face in enumerate(found):
        rows = columns[columns["face"] == index]
        assert rows["landmark"].tolist() == list(range(68))
        np.testing.assert_array_equal(np.stack([rows["x"], rows["y"]], axis=1), face["landmarks"])
        assert set(rows["yaw"]) == {face["pose"]["yaw"]}
        (tmp_path / "face.pts").write_text(server.post(data, f"?format=pts&face={index}").text)
        np.testing.assert_allclose(read_pts(tmp_path / "face.pts"), face["landmarks"], atol=5.1e-4)
    missing = server.post(data, "?format=pts&face=2")
    assert (missing.status_code, missing.json()["code"]) == (422, "no_such_face")


def test_a_photo_is_seen_as_a_viewer_shows_it(server):
    found = server.post(turned_by_exif()).json()
    assert (found["width"], found["height"]) == (512, 300)
    assert found["faces"][0]["score"] > 0.9


def test_a_photo_that_starlette_would_write_to_disk_is_not(server):
    """Of more than a megabyte, in a form, to a server that cannot write."""
    data = cv2.imencode(".png", gradient(800, 800))[1].tobytes()
    assert len(data) > 1 << 20
    answer = httpx.post(f"{server.url}/align", files={"photo": data}, timeout=LONG)
    assert (answer.status_code, answer.json()["faces"]) == (200, [])


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GIF89a", 415, "not_an_image"),
        (b"\x00" * 1000, 415, "not_an_image"),
        (b"", 400, "no_photo"),
        (astronaut_bytes()[:9000], 422, "damaged_image"),
        (astronaut_bytes(".jpg")[:9000], 422, "damaged_image"),
        (png(20_000, 20_000, 20_000, depth=1), 413, "too_many_pixels"),
        (b"\xff" * 20_000_001, 413, "too_many_bytes"),
    ],
    ids=["half a header", "zeros", "nothing", "half a PNG", "half a JPEG", "a bomb", "bytes"],
)
def test_what_is_no_photo_is_refused_and_the_next_one_is_not(server, photo, data, status, code):
    refused = server.post(data)
    assert refused.status_code == status
    answer = refused.json()
    assert (answer["status"], answer["code"]) == (status, code)
    assert answer["error"].endswith(".")
    assert answer["remedy"].endswith(".")
    assert server.post(photo).status_code == 200


@pytest.mark.faults
def test_hostile_images_end_no_worker(server):
    before = workers_of(server.process)
    for name, data in hostile_images():
        assert server.post(data).status_code in (200, 413, 415, 422), name
    assert workers_of(server.process) == before


def test_a_body_of_unknown_length_is_refused_when_it_has_become_too_large(server):
    endless = (bytes(1 << 16) for _ in range(400))
    assert server.post(endless).status_code == 413


@pytest.mark.parametrize("expect", [True, False])
def test_a_client_that_still_sends_sees_why_it_is_refused(server, expect):
    """Two photos in a form, which is refused when the first has come. As curl, it sends all, then reads."""
    part = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="%s.png"\r\n\r\n%s\r\n'
    body = b"".join(part % (name, name, bytes(2_000_000)) for name in (b"a", b"b")) + b"--x--\r\n"
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=LONG) as connection:
        connection.sendall(
            b"POST /align HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: %d\r\n%s\r\n" % (len(body), b"Expect: 100-continue\r\n" * expect)
        )
        if expect:
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        for start in range(0, len(body), 65_536):
            connection.sendall(body[start : start + 65_536])
            time.sleep(0.002)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, json.loads(response.read())["code"]) == (400, "bad_form")


def test_requests_beyond_the_limits_are_answered_at_once_and_ctrl_c_lets_the_others_end(photo):
    with (
        running("--workers", 1, "--max-requests", 2, "--max-client-requests", 1) as server,
        server.half_sent(photo) as (connection, rest),
    ):
        refused = server.post(photo)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.headers["retry-after"] == "1"
        with server.half_sent(photo, "127.0.0.2") as (other, _):
            refused = server.post(photo)
            assert (refused.status_code, refused.json()["code"]) == (503, "server_busy")
            other.send(photo[len(photo) // 2 :])
            assert answer_to(other)[0] == 200
        assert ends_with_its_requests(server, signal.SIGINT, connection, rest) == (130, "interrupted\n")


def test_clients_that_stop_sending_are_not_waited_for_and_sighup_lets_the_others_end(photo):
    with running("--workers", 1, "--seconds", 10) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with (
            server.half_sent(photo) as (connection, _),
            socket.create_connection((host, int(port)), timeout=LONG) as silent,
            socket.create_connection((host, int(port)), timeout=LONG) as halting,
        ):
            halting.sendall(b"POST /align HT")
            status, refused = answer_to(connection)
            assert (status, refused["code"]) == (408, "too_slow")
            assert silent.recv(100) == halting.recv(100) == b""  # closed by the server
        with server.half_sent(photo):
            pass  # left by its client
        while server.requests():
            time.sleep(0.01)
        with server.half_sent(photo) as (connection, rest):
            ended = ends_with_its_requests(server, signal.SIGHUP, connection, rest)
        assert ended == (143, "ended by a signal\n")


def ends_with_its_requests(server, number, connection, rest):
    """Exit code and standard error after a signal, while a request is under way, which is answered."""
    server.process.send_signal(number)
    with contextlib.suppress(httpx.ConnectError):  # as it takes no new ones
        while True:
            httpx.get(f"{server.url}/health", timeout=LONG)
    connection.send(rest)
    status, found = answer_to(connection)
    assert (status, len(found["faces"])) == (200, 1)
    return server.process.wait(LONG), server.process.stderr.read()


def test_ctrl_c_ends_it_while_it_starts():
    command = [sys.executable, "-m", "facealign", "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not workers_of(process):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=LONG) == ("", "interrupted\n")
        assert process.returncode == 130


def serve(*options):
    command = [sys.executable, "-m", "facealign", "serve", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONG)


def test_what_keeps_it_from_starting_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve("--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"error: 127.0.0.1:{port}: cannot listen (Address already in use); give another --host or --port\n"
    )
    assert serve("--max-bytes", "0").returncode == 2


def test_bad_weights_are_one_line():
    done = serve("--port", 0, "--weights", "absent.onnx")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: absent.onnx: no such file")
    assert done.stderr.count("\n") == 1


def test_without_the_extra_the_remedy_is_named():
    code = "import sys; sys.modules['fastapi'] = None; from facealign.console import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve"], cwd=ROOT, capture_output=True, text=True, timeout=LONG
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: facealign serve: ")
    assert done.stderr.endswith("; pip install 'facealign[serve]'\n")


def test_the_api_is_described(server):
    described = httpx.get(f"{server.url}/openapi.json", timeout=LONG).json()
    align = described["paths"]["/align"]["post"]
    assert {"multipart/form-data", "image/*", "application/octet-stream"} == set(
        align["requestBody"]["content"]
    )
    assert {"200", "413", "415", "422", "429", "503"} <= set(align["responses"])
    assert {"application/json", "text/csv", "text/plain"} == set(align["responses"]["200"]["content"])
    assert "landmarks" in json.dumps(described["components"]["schemas"])
