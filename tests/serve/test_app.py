"""The application by Starlette's test client: every status, and what a dying or hanging worker does."""

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from facealign.serve.app import SECURITY_HEADERS, create_app
from facealign.serve.limits import Limits
from facealign.serve.workers import Workers
from tests.serve.dangerous import open_dangerous

LIMITS = Limits(max_bytes=100_000, max_pixels=10_000, seconds=4.0)


def png(value, side=40):
    """A grey image, but for one black pixel."""
    image = np.full((side, side, 3), value, np.uint8)
    image[0, 0] = 0 if value < 255 else 255
    return cv2.imencode(".png", image)[1].tobytes()


GREY, BLACK, WHITE = png(128), png(0), png(255)


@pytest.fixture(scope="module")
def client():
    with Workers(1, open_dangerous) as workers, TestClient(create_app(workers, LIMITS)) as made:
        yield made


def refused(answer):
    body = answer.json()
    assert answer.status_code == body["status"]
    assert set(body) == {"status", "code", "error", "remedy"}
    return body["status"], body["code"]


@pytest.mark.parametrize(
    "sent",
    [
        {"content": GREY},
        {"content": GREY, "headers": {"Content-Type": "image/png"}},
        {"content": GREY, "headers": {"Content-Type": "application/octet-stream"}},
        {"files": {"photo": GREY}},
        {"files": {"any": ("name.png", GREY, "text/plain")}},
    ],
)
def test_photos_are_taken_raw_and_as_forms(client, sent):
    answer = client.post("/align", **sent)
    assert answer.status_code == 200
    assert answer.json()["faces"] == []
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"content": b""}, (400, "no_photo")),
        ({"files": {"photo": b""}}, (400, "no_photo")),
        ({"files": [("a", GREY), ("b", GREY)]}, (400, "bad_form")),
        ({"files": {"photo": GREY}, "data": {"format": "csv"}}, (400, "bad_form")),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, (400, "bad_form")),
        (
            {"content": b"x" * 99, "headers": {"Content-Type": "multipart/form-data; boundary=y"}},
            (400, "bad_form"),
        ),
        ({"data": {"photo": "x"}}, (415, "wrong_content_type")),
        ({"json": {}}, (415, "wrong_content_type")),
        ({"content": b"BM" + bytes(99)}, (415, "not_an_image")),
        ({"content": bytes(100_001)}, (413, "too_many_bytes")),
        ({"content": iter([bytes(60_000)] * 2)}, (413, "too_many_bytes")),
        ({"files": {"photo": bytes(100_001)}}, (413, "too_many_bytes")),
        ({"files": {"photo": bytes(200_000)}}, (413, "too_many_bytes")),
        ({"content": png(128, 101)}, (413, "too_many_pixels")),
        ({"content": GREY[:60]}, (422, "damaged_image")),
        ({"content": GREY, "params": {"format": "xml"}}, (422, "bad_option")),
        ({"content": GREY, "params": {"turns": "1"}}, (422, "bad_option")),
        ({"content": GREY, "params": {"face": "-1"}}, (422, "bad_option")),
        ({"content": GREY, "params": {"format": "pts"}}, (422, "no_such_face")),
    ],
)
def test_every_refusal_is_json_with_its_remedy(client, sent, expected):
    assert refused(client.post("/align", **sent)) == expected


def test_a_photo_of_just_the_limits_is_taken(client):
    assert client.post("/align", content=png(128, 100)).status_code == 200
    padded = GREY + bytes(100_000 - len(GREY))
    assert client.post("/align", content=padded).status_code == 200
    assert client.post("/align", files={"photo": padded}).status_code == 200


def test_a_photo_that_ends_a_worker_fails_alone(client):
    assert refused(client.post("/align", content=WHITE)) == (500, "crashed")
    assert client.post("/align", content=GREY).status_code == 200


def test_a_photo_that_takes_too_long_is_given_up(client):
    assert refused(client.post("/align", content=BLACK)) == (503, "too_long")
    assert client.post("/align", content=GREY).status_code == 200


def test_other_addresses_and_methods_are_json_too(client):
    assert refused(client.get("/nothing"))[0] == 404
    assert refused(client.get("/static/../app.py"))[0] == 404
    answer = client.get("/align")
    assert refused(answer)[0] == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/health", "/openapi.json", "/nothing", "/align"])
def test_every_answer_has_the_security_headers(client, path):
    headers = client.get(path).headers
    assert {name: headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


def test_the_page_has_no_inline_script_or_style(client):
    """Which the policy forbids."""
    text = client.get("/").text
    assert "<script>" not in text
    assert "style=" not in text
    assert " on" not in text.replace(" one", "").replace(" or ", "") or "onclick" not in text


def test_health_tells_what_is_under_way(client):
    health = client.get("/health").json()
    assert (health["status"], health["workers"], health["requests"]) == ("ok", 1, 0)
    assert health["limits"]["max_pixels"] == 10_000


def test_what_a_request_holds_is_given_back(client):
    """Whatever its end: more in all than the memory for bodies."""
    for content in [bytes(100_000)] * 20:
        assert refused(client.post("/align", content=content)) == (415, "not_an_image")
    assert client.get("/health").json()["requests"] == 0
