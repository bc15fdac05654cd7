"What nobody thought of: uploads that hypothesis makes up, and an API that schemathesis asks what its document allows and forbids."
import io
import logging
import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("fastapi")
import schemathesis
from fastapi.testclient import TestClient
from schemathesis.checks import CHECKS, load_all_checks
from starlette.exceptions import HTTPException

from signs_nbdev.guard import RateLimit, client_of, given_key, tidy_name
from signs_nbdev.serve import create_app

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
bounded = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

@pytest.fixture(scope="module")
def client():
    logging.getLogger("python_multipart").setLevel("CRITICAL")
    with TestClient(create_app(threads=1), raise_server_exceptions=True) as client: yield client

def judge(answer, *allowed):
    "An answer is one of these, and says why if it is a refusal."
    assert answer.status_code in allowed, (answer.status_code, answer.text)
    if answer.status_code != 200: assert list(answer.json()) == ["error"] and 10 < len(answer.json()["error"]) < 600
    else: assert 0 <= answer.json()["predictions"][0]["probability"] <= 1

def encode(kind, mode):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)).convert(mode).save(file := io.BytesIO(), kind)
    return file.getvalue()

SEEDS = [encode(kind, mode) for kind, mode in [("PNG", "RGB"), ("PNG", "LA"), ("PNG", "I;16"), ("PNG", "P"), ("JPEG", "RGB"),
         ("JPEG", "CMYK"), ("GIF", "P"), ("BMP", "RGB"), ("BMP", "1"), ("TIFF", "RGB"), ("TIFF", "F"), ("WEBP", "RGBA")]]

@st.composite
def damaged(draw):
    "A picture with some bytes changed, cut out or put in."
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content)))
        content[at:at + draw(st.sampled_from([0, 1, 1, 1, 4, 50]))] = draw(st.binary(max_size=4))
    return bytes(content)

@bounded
@given(damaged() | st.binary(max_size=300))
def test_any_bytes_are_a_picture_or_are_refused(client, content):
    judge(client.post("/predict", content=content, headers={"content-type": "image/png"}), 200, 422, 400)

@bounded
@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from(SEEDS) | st.binary(max_size=50)), max_size=4))
def test_any_file_names_are_only_names(client, files):
    answer = client.post("/predict", files=[("pictures", (name, content, "image/png")) for name, content in files])
    judge(answer, 200, 400, 422)

pieces = st.sampled_from([b"--b", b"--b--", b"\r\n", b"\r\n\r\n", b"\n", b":", b";", b'"', b"Content-Disposition: form-data",
                          b'; name="pictures"', b'; filename="a.png"', b"; filename*=utf-8''%ff", b"Content-Type: image/png",
                          b"Content-Transfer-Encoding: base64", b"Content-Length: 9", SEEDS[0]]) | st.binary(max_size=20)

@bounded
@given(st.lists(pieces, max_size=25).map(b"".join), st.sampled_from(["b", '"b"', "", "b" * 300, "\xff", "b; charset=utf-16", "b; charset=x"]))
def test_any_form_is_read_or_refused(client, body, boundary):
    kind = f"multipart/form-data; boundary={boundary}".encode("latin-1")
    judge(client.post("/predict", content=body, headers={"content-type": kind}), 200, 400, 422)

headers = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60).map(lambda o: o.encode("latin-1"))

@bounded
@given(headers, headers)
def test_any_headers(client, kind, authorization):
    judge(client.post("/predict", content=SEEDS[0], headers={"content-type": kind, "authorization": authorization}), 200, 400, 415)

@bounded
@given(st.dictionaries(st.sampled_from(["model", "topk", "show", "a"]), st.text(max_size=20)))
def test_any_query(client, query): judge(client.post("/predict", params=query, content=SEEDS[0]), 200, 404, 422)

@bounded
@given(st.text() | st.text(st.sampled_from("/\\.\0\r\n\u202e" + string.ascii_letters)))
def test_a_tidy_name_is_short_printable_and_no_path(name):
    tidy = tidy_name(name)
    assert 0 < len(tidy) <= 100 and tidy.isprintable() and not set("/\\") & set(tidy) and tidy_name(tidy) == tidy

@bounded
@given(st.text())
def test_any_authorization_gives_a_key_or_none(text): assert isinstance(given_key(text), str)

@bounded
@given(st.ip_addresses())
def test_every_address_is_a_client(address): assert client_of({"client": (str(address), 1)})

@bounded
@given(st.floats(0.5, 300), st.lists(st.floats(0, 30), min_size=1, max_size=150))
def test_no_minute_sees_twice_the_rate(rate, pauses):
    limit, now, allowed = RateLimit(None, rate), 0., []
    for pause in pauses:
        now += pause
        try: limit.count("a", now)
        except HTTPException as e:
            assert e.status_code == 429 and 1 <= int(e.headers["Retry-After"]) <= 121
            continue
        allowed.append(now)
    for begin in allowed: assert sum(begin <= o < begin + 60 for o in allowed) <= max(2*rate, 2) + 1

load_all_checks()
schemathesis.openapi.format("binary", st.sampled_from(SEEDS))
app = create_app(threads=1)
schema = schemathesis.openapi.from_asgi("/openapi.json", app)

@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_what_its_document_says(case): case.call_and_validate(checks=CHECKS.get_all())
