"What strangers send to the real server over real sockets: it answers, it stays up, and its memory stays bounded."
import io
import json
import re
import socket
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from conftest import started
from signs_nbdev.guard import HEADERS
from signs_nbdev.reader import Reader, ready

MB = 10**6
START = """
import sys
from signs_nbdev.guard import Limits
from signs_nbdev.serve import serve
serve(port=int(sys.argv[1]), limits=Limits({limits}), threads=2)
"""

class Server:
    def __init__(self, process, port): self.process, self.port, self.address = process, port, f"http://127.0.0.1:{port}"

    def post(self, content=None, timeout=60, **kwargs):
        return httpx.post(f"{self.address}/predict", content=content, timeout=timeout, trust_env=False, **kwargs)

    def get(self, path, **kwargs): return httpx.get(self.address + path, trust_env=False, **kwargs)

    def upload(self, content, name="cat.png", kind="image/png", **kwargs):
        return self.post(files={"pictures": (name, content, kind)}, **kwargs)

    def memory(self, kind="VmRSS"):
        "Bytes: resident now, or with VmHWM the most since the start or `forget_peak`."
        return int(re.search(rf"{kind}:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1])*1024

    def forget_peak(self): Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def is_well(self):
        assert self.process.poll() is None, "the server has died"
        answer = self.post(PHOTO, params={"model": "hands"}, headers={"content-type": "image/png"})
        return answer.status_code == 200 and answer.json()["predictions"][0]["label"] == LABEL

    def say(self, *pieces, pause=10.):
        "Send pieces over a socket of our own until there is an answer; its first line, or '' if the line was closed."
        with socket.create_connection(("127.0.0.1", self.port), pause) as s, suppress(ConnectionResetError, BrokenPipeError):
            for o in pieces:
                s.sendall(o)
                with suppress(TimeoutError): return s.recv(100_000).split(b"\r\n")[0].decode()
            raise AssertionError("the server neither answers nor closes")
        return ""

@contextmanager
def running(folder, limits):
    "A server, and at its end a look at its log."
    log = folder/"log"
    with started(log, sys.executable, "-c", START.format(limits=limits)) as (process, port): yield Server(process, port)
    assert not re.search('Traceback|"level": "error"', log.read_text()), log.read_text()

@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("server"), "body_seconds=2, header_seconds=1.5") as server: yield server

@pytest.fixture(scope="module")
def bounded(server):
    "Asserts that within it the server's memory grew by less than 300 MB at any moment, and that it still answers."
    @contextmanager
    def check(most=300*MB):
        assert server.is_well()
        server.forget_peak()
        before = server.memory()
        yield server
        grown = server.memory("VmHWM") - before
        assert grown < most, f"{grown/MB:.0f} MB more"
        assert server.is_well()
    return check

def encode(image, kind="PNG", **kwargs):
    image.save(file := io.BytesIO(), kind, **kwargs)
    return file.getvalue()

def drawn(size=96):
    "Something like a hand: a bright shape on a ground that is not even."
    y, x = np.mgrid[:size, :size]/size
    palm, finger = (x - 0.5)**2 + (y - 0.65)**2 < 0.04, (abs(x - 0.6) < 0.06) & (y > 0.15) & (y < 0.6)
    pixels = np.where((palm | finger)[..., None], (210, 160, 130), np.stack([60 + 60*x, 70 + 50*y, 90 + 20*x], 2))
    return Image.fromarray(pixels.astype(np.uint8))

HAND = drawn()
PHOTO = encode(HAND)
READER = Reader(ready()["hands"], threads=1)
LABEL = READER.read(PHOTO)[0].label

def chunk(kind, data): return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

def png(width, height, pixels):
    "A PNG whose header says one thing and whose pixels may be another."
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")

def bomb():
    "A perfect PNG of 200 kB that unpacks to 300 MB."
    packer = zlib.compressobj()
    return png(10_000, 10_000, b"".join(packer.compress(bytes(30_001)) for _ in range(10_000)) + packer.flush())

NO_PICTURES = {
    "0 bytes": lambda: (b"", "0 bytes"),
    "truncated PNG": lambda: (PHOTO[:len(PHOTO)//2], "not a readable picture"),
    "truncated JPEG": lambda: (encode(HAND, "JPEG")[:900], "truncated"),
    "bomb": lambda: (bomb(), "10000x10000.*at most 24 million pixels"),
    "bomb of a header": lambda: (png(60_000, 60_000, zlib.compress(bytes(1000))), "60000x60000|3600000000 pixels"),
    "bomb of text": lambda: (PHOTO[:33] + b"".join(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(60*MB))) for _ in range(3)) + PHOTO[33:],
                             "not a readable picture"),
    "animated GIF": lambda: (encode(HAND, "GIF", save_all=True, append_images=[HAND.rotate(90)]), "animated.*2 frames"),
    "animated WEBP": lambda: (encode(HAND, "WEBP", save_all=True, append_images=[HAND.rotate(90)]), "animated.*2 frames"),
    "animated PNG": lambda: (encode(HAND, "PNG", save_all=True, append_images=[HAND.rotate(90)]), "animated.*2 frames"),
    "SVG": lambda: (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "not a readable picture"),
    "SVG that bites": lambda: (b'<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><svg>&b;</svg>', "not a readable picture"),
    "HTML": lambda: (b"<!doctype html><script>alert(1)</script>", "not a readable picture"),
    "PostScript": lambda: (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n", "not a readable picture"),
    "PDF": lambda: (encode(HAND, "PDF"), "not a readable picture"),
    "noise": lambda: (np.random.default_rng(0).bytes(100_000), "not a readable picture"),
}

@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_picture_is_refused_with_its_reason(bounded, kind):
    content, reason = NO_PICTURES[kind]()
    with bounded() as server:
        as_form, bare = server.upload(content), server.post(content, headers={"content-type": "image/png"})
    assert as_form.status_code == 422 and bare.status_code == (422 if content else 400), (as_form.text, bare.text)
    assert re.search(reason, as_form.json()["error"]), as_form.text
    assert len(as_form.text) < 500

def turned(image, how): return encode(image, "PNG", exif=exif_of(how))
def exif_of(how):
    exif = Image.Exif()
    exif[0x0112] = how
    return exif

ODD = {
    "CMYK": lambda: encode(HAND.convert("CMYK"), "JPEG"),
    "16-bit grey": lambda: encode(Image.fromarray(np.asarray(HAND.convert("L")).astype(np.uint16)*257)),
    "palette": lambda: encode(HAND.quantize(64)),
    "one bit": lambda: encode(HAND.convert("1")),
    "grey and alpha": lambda: encode(HAND.convert("LA")),
    "alpha": lambda: encode(HAND.convert("RGBA")),
    "TIFF": lambda: encode(HAND, "TIFF"),
    "TIFF of floats": lambda: encode(Image.fromarray(np.asarray(HAND.convert("L"), np.float32)), "TIFF"),
    "progressive JPEG": lambda: encode(HAND, "JPEG", progressive=True),
    "EXIF: upside down": lambda: turned(HAND.rotate(180), 3),
    "EXIF: on its side": lambda: turned(HAND.transpose(Image.Transpose.ROTATE_90), 6),
    "1x1": lambda: encode(HAND.resize((1, 1))),
    "1x3000": lambda: encode(HAND.resize((1, 3000))),
    "24 million pixels": lambda: encode(HAND.resize((6000, 4000)), "JPEG"),
}

@pytest.mark.parametrize("kind", ODD)
def test_odd_pictures_are_read_as_the_library_reads_them(bounded, kind):
    content = ODD[kind]()
    most = 1500*MB if kind == "24 million pixels" else 300*MB  # two at once, decoded and prepared
    with bounded(most) as server:
        answers = [server.upload(content, params={"model": "hands"}),
                   server.post(content, params={"model": "hands"}, headers={"content-type": "application/octet-stream"})]
    [expected] = READER.read(content)
    for o in answers:
        [said] = o.json()["predictions"]
        assert (said["label"], said["unknown"]) == (expected.label, expected.unknown)
        assert said["probability"] == pytest.approx(expected.probability, abs=1e-4)
    if kind.startswith(("EXIF", "alpha", "TIFF")) and "floats" not in kind: assert expected.label == LABEL

def test_a_hundred_megabytes_are_not_kept(bounded):
    def stream():
        for _ in range(100): yield bytes(MB)
    with bounded(100*MB) as server:
        for answer in (server.post(bytes(100*MB)), server.post(stream()), server.upload(bytes(100*MB))):
            assert answer.status_code == 413 and "at most 20,000,000 bytes" in answer.json()["error"]

def test_eighty_large_uploads_at_once_wait_or_are_asked_to(bounded):
    "Together 1,200 MB, of which 256 MB are held at a time, for a moment twice, and what the connections have read of more."
    content = bytes(15*MB)
    with bounded(900*MB) as server, ThreadPoolExecutor(80) as pool:
        answers = [*pool.map(lambda _: server.post(content), range(80))]
    assert {o.status_code for o in answers} <= {408, 422, 503} and all(o.json()["error"] for o in answers)
    assert all(o.headers["retry-after"] for o in answers if o.status_code == 503)

def test_a_length_that_is_a_lie_is_believed_by_nobody(bounded):
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
    with bounded(100*MB) as server:
        assert " 413 " in server.say(head + b"Content-Length: 99999999999\r\n\r\n")
        assert " 400 " in server.say(head + b"Content-Length: -1\r\n\r\n")
        assert " 400 " in server.say(head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n")
        assert " 400 " in server.say(head + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFFF\r\n")
        assert " 400 " in server.say(b"hello\r\n\r\n")
        assert " 400 " in server.say(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a"*200_000)

def test_a_client_that_goes_away_leaves_nothing(bounded):
    with bounded(100*MB) as server:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as s:
                s.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + bytes(1000))

@pytest.mark.parametrize("pieces,wanted", [
    ([b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n", *[b"a"]*12], " 408 "),
    ([b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n"]*12], " 408 "),
    ([b"POST /predict HTTP/1.1\r\n", *[b"X: a\r\n"]*12], ""),
    ([b""]*8, ""),
], ids=["slow body", "slow chunks", "slow head", "nothing"])
def test_a_slow_client_is_shown_the_door(bounded, pieces, wanted):
    with bounded(100*MB) as server:
        begun = time.monotonic()
        said = server.say(*pieces, pause=0.4)
        assert wanted in said and bool(wanted) == bool(said)
        assert time.monotonic() - begun < 8

def test_fifty_slow_clients_do_not_keep_others_waiting(bounded):
    with bounded(100*MB) as server:
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        for o in slow: o.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\na")
        begun = time.monotonic()
        assert server.is_well() and time.monotonic() - begun < 5
        for o in slow:
            assert b" 408 " in o.recv(1000)
            o.close()

def form(*parts): return b"".join(b"--b\r\n" + o + b"\r\n" for o in parts) + b"--b--\r\n"
def part(head, content=b""): return b"Content-Disposition: form-data; " + head + b"\r\n\r\n" + content

FORMS = {
    "thousands of files": (form(*[part(b'name="pictures"; filename="a"')]*5000), 400, "Maximum number of files is 64"),
    "thousands of fields": (form(*[part(b'name="a"')]*5000), 400, "Maximum number of fields"),
    "a huge field": (form(part(b'name="a"', bytes(5*MB))), 400, "exceeded maximum size"),
    "a huge part head": (form(part(b'name="pictures"; filename="' + b"a"*MB + b'"')), 400, "cannot be read"),
    "thousands of part heads": (form(b"A: b\r\n"*5000 + part(b'name="pictures"; filename="a"')), 400, "cannot be read"),
    "no end": (form(part(b'name="pictures"; filename="a"', PHOTO))[:-20], 400, "no picture"),
    "a field that is no file": (form(part(b'name="pictures"', PHOTO[:500])), 400, "send only files"),
    "another name": (form(part(b'name="image"; filename="a"', PHOTO)), 400, "each named 'pictures'"),
    "a form of nothing": (b"", 400, "no picture"),
    "no form at all": (b"hello", 400, "cannot be read"),
}

@pytest.mark.parametrize("kind", FORMS)
def test_forms_that_are_wrong(bounded, kind):
    content, status, reason = FORMS[kind]
    with bounded(100*MB) as server: answer = server.post(content, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == status and reason in answer.json()["error"], answer.text

WRONG = {
    "bad JSON": (dict(content=b'{"pictures": [', headers={"content-type": "application/json"}), 415, "application/json"),
    "good JSON": (dict(json={"pictures": []}), 415, "multipart/form-data"),
    "a text": (dict(content=PHOTO, headers={"content-type": "text/plain"}), 415, "text/plain"),
    "a web form": (dict(data={"pictures": "a"}), 415, "x-www-form-urlencoded"),
    "a type without end": (dict(content=PHOTO, headers={"content-type": "a"*5000}), 415, "is not taken"),
    "a form without boundary": (dict(content=PHOTO, headers={"content-type": "multipart/form-data"}), 400, "boundary"),
    "nothing": (dict(), 400, "no picture"),
    "topk is no number": (dict(content=PHOTO, params={"topk": "many"}), 422, "topk: got 'many'"),
    "topk is 0": (dict(content=PHOTO, params={"topk": 0}), 422, "topk: got '0'"),
    "topk is huge": (dict(content=PHOTO, params={"topk": "9"*5000}), 422, "topk"),
    "nothing to show": (dict(content=PHOTO, params={"show": "password"}), 422, "show: got 'password'"),
    "no such model": (dict(content=PHOTO, params={"model": "../../etc/passwd"}), 404, "model"),
    "model that is empty bytes": (dict(content=PHOTO, params={"model": "\0"}), 404, "model"),
}

@pytest.mark.parametrize("kind", WRONG)
def test_requests_that_are_wrong(bounded, kind):
    how, status, reason = WRONG[kind]
    with bounded(100*MB) as server: answer = server.post(**how)
    assert answer.status_code == status and reason in answer.json()["error"], answer.text
    assert len(answer.text) < 1000

NAMES = [(b"../../etc/passwd", "passwd"), (rb"C:\\a\\b.png", "b.png"), (b"a\x00\x1b[31m.png", "a[31m.png"), (b"\xff.png", "\xff.png"),
         ("\u202egnp.exe".encode(), "gnp.exe"), (b"<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"), (b"a"*999, "a"*100)]

@pytest.mark.parametrize("name,told", NAMES, ids=[o for _, o in NAMES])
def test_a_name_is_only_a_name(server, name, told):
    content = form(part(b'name="pictures"; filename="' + name + b'"', PHOTO))
    answer = server.post(content, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.json()["predictions"][0]["name"] == told
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-content-type-options"] == "nosniff"

def test_many_large_pictures_in_small_files(bounded):
    "Each is allowed, and so are two; 64 would be minutes of work and gigabytes of pixels for a request of some kilobytes."
    large = encode(Image.new("RGB", (6000, 4000), "teal"))
    with bounded(1500*MB) as server:
        two, many = (server.post(files=[("pictures", (f"{i}.png", large)) for i in range(n)], timeout=120) for n in (2, 64))
    assert two.status_code == 200 and len(two.json()["predictions"]) == 2
    assert many.status_code == 413 and "1536 million pixels" in many.json()["error"]

def test_every_answer_is_guarded(server):
    for path, status in [("/", 200), ("/models", 200), ("/healthz", 200), ("/metrics", 200), ("/drift", 200), ("/nowhere", 404),
                         ("/../../etc/passwd", 404), ("/%2e%2e/%2e%2e/etc/passwd", 404), ("/predict", 405), ("/openapi.json", 200)]:
        answer = server.get(path)
        assert answer.status_code == status, path
        for name, value in HEADERS.items(): assert answer.headers[name] == value, (path, name)
        assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers
        if status >= 400: assert list(answer.json()) == ["error"]
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy and "*" not in policy

def test_other_sites_are_not_let_in(server):
    for method in ("OPTIONS", "POST", "GET"):
        answer = httpx.request(method, f"{server.address}/predict", trust_env=False,
                               headers={"Origin": "https://evil.test", "Access-Control-Request-Method": "POST"})
        assert not [o for o in answer.headers if o.startswith("access-control")], method

def test_key_rate_and_origins(tmp_path):
    with running(tmp_path, "api_key='opensesame', rate=30, origins=('https://good.test',), max_connections=20") as server:
        key, begun = {"authorization": "Bearer opensesame"}, time.monotonic()
        assert server.post(PHOTO).status_code == 401
        assert server.post(PHOTO, headers={"authorization": "Bearer opensesamf"}).status_code == 401
        assert server.post(PHOTO, headers=key).status_code == 200
        assert server.post(PHOTO, auth=("anyone", "opensesame")).status_code == 200
        assert server.get("/").headers["www-authenticate"].startswith("Basic")
        for origin, allowed in [("https://good.test", "https://good.test"), ("https://evil.test", None)]:
            asked = httpx.options(f"{server.address}/predict", trust_env=False, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
            answer = server.post(PHOTO, headers=key | {"Origin": origin})
            assert asked.headers.get("access-control-allow-origin") == answer.headers.get("access-control-allow-origin") == allowed
        taken = 0
        while (late := server.post(PHOTO, headers=key)).status_code == 200:
            taken += 1
            assert taken < 30 + (time.monotonic() - begun)/2, "more than 30 a minute"  # the slower, the more come free meanwhile
        assert late.status_code == 429 and int(late.headers["retry-after"]) >= 1 and "30 a minute" in late.json()["error"]
        assert server.get("/readyz").status_code == 200  # health is always told
        many = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(25)]
        assert " 503 " in server.say(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        for o in many: o.close()
        end = time.monotonic() + 30
        while server.get("/healthz").status_code != 200: assert time.monotonic() < end, "connections that were closed still count"

def test_logs_tell_no_picture_and_no_name(tmp_path):
    with running(tmp_path, "") as server:
        server.upload(PHOTO, name="my-passport.png")
        server.upload(b"<html>", name="my-passport.png")
        server.get("/my-passport.png?key=my-passport")
    log = (tmp_path/"log").read_text()
    lines = [json.loads(o) for o in log.splitlines()]
    told = [(o["route"], o["status"]) for o in lines if o["event"] == "request"]
    assert told == [("/predict", 200), ("/predict", 422), ("other", 404)] and "passport" not in log
