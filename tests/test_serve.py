"The server as a process: ready, the same answers as the library's, nothing lost at its end, under load and while a model changes."
import base64
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from conftest import run, started
from signs_nbdev.reader import Reader, ready


class Server:
    "A running one, and how to ask it"
    def __init__(self, port, process, log): self.port, self.process, self.log = port, process, log

    def ask(self, method, path, body=None, **headers):
        "Status, headers and what the answer holds; a connection of its own"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, answer.headers, json.loads(content) if "json" in answer.headers["Content-Type"] else content
        finally: connection.close()

    def predict(self, *pictures, query=""):
        if len(pictures) == 1: return self.ask("POST", f"/predict{query}", pictures[0], **{"Content-Type": "image/png"})
        parts = [b'--b\r\nContent-Disposition: form-data; name="pictures"; filename="%d.png"\r\n\r\n%s\r\n' % (i, o)
                 for i, o in enumerate(pictures)]
        return self.ask("POST", f"/predict{query}", b"".join(parts) + b"--b--\r\n",
                        **{"Content-Type": "multipart/form-data; boundary=b"})

    def logged(self): return self.log.read_text()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def serving(folder, models=None, **options):
    code = f"import sys; from signs_nbdev.serve import serve; serve({models!r}, port=int(sys.argv[1]), **{options!r})"
    with started(log := folder/"server.log", sys.executable, "-c", code) as (process, port): yield Server(port, process, log)

@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as o: yield o

def encoded(image, kind="PNG", **how):
    image.save(file := io.BytesIO(), kind, **how)
    return file.getvalue()

def picture(seed=0, width=120, height=90, mode="RGB"):
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 4), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)

PICTURES = {
    "colour": encoded(picture(1)), "jpeg": encoded(picture(2), "JPEG"), "grey": encoded(picture(3, mode="L")),
    "see-through": encoded(picture(4, mode="RGBA")), "palette": encoded(picture(5, mode="P")),
    "one bit": encoded(picture(6, mode="1")), "16 bit": encoded(Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256))),
    "wide": encoded(picture(7, 300, 20)), "one pixel": encoded(picture(8, 1, 1)), "webp": encoded(picture(9), "WEBP")}


def test_its_routes_answer(server):
    assert server.ask("GET", "/healthz")[2] == {"status": "alive"}
    status, headers, cards = server.ask("GET", "/models")
    assert [o["name"] for o in cards] == list(ready()) and "nosniff" in headers["X-Content-Type-Options"]
    for o in cards:
        reader = Reader(o["name"])
        assert (o["classes"], o["sha256"], o["size"]) == (list(reader.classes), reader.sha256, reader.size)
    assert server.ask("GET", "/")[2].startswith(b"<!doctype html>")
    assert set(server.ask("GET", "/openapi.json")[2]["paths"]) == {"/predict", "/models", "/healthz", "/readyz", "/metrics", "/drift"}
    for path in ("/docs", "/redoc", "/nothing", "/../setup.py", "/%2e%2e/setup.py", "/..%2fsetup.py"):
        status, _, answer = server.ask("GET", path)
        assert status == 404 and list(answer) == ["error"], path
    assert server.ask("GET", "/predict")[0] == 405
    assert server.predict(PICTURES["grey"], query="?model=hand")[::2] == (
        404, {"error": "unknown model 'hand': wanted one of hands, bones. Did you mean 'hands'?"})

@pytest.mark.parametrize("model", ready())
def test_it_says_what_the_library_says(server, model):
    reader = Reader(model)
    wanted = reader.read(PICTURES.values())
    query = f"?model={model}&topk=3&show=seen,evidence"
    with ThreadPoolExecutor(16) as pool: one_by_one = list(pool.map(lambda o: server.predict(o, query=query), [*PICTURES.values()]*4))
    assert {o[0] for o in one_by_one} == {200}
    in_a_form = server.predict(*PICTURES.values(), query=query)[2]
    assert in_a_form["model"] == {"name": model, "sha256": reader.sha256}
    assert [o["name"] for o in in_a_form["predictions"]] == [f"{i}.png" for i in range(len(PICTURES))]
    answers = [o[2]["predictions"][0] for o in one_by_one] + in_a_form["predictions"]
    for got, reading in zip(answers, wanted*5, strict=True):
        assert (got["label"], got["unknown"], got["signs"]) == (reading.label, reading.unknown, list(reading.signs))
        assert [o["label"] for o in got["topk"]] == [o["label"] for o in reading.topk(3)]
        assert abs(got["probability"] - reading.probability) < 1e-5
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(got["seen"].partition(",")[2]))))
        assert (seen.reshape(reading.seen.shape) == reading.seen).all()
        evidence = np.array(got["evidence"])
        assert evidence.shape == reading.evidence.shape[1:] and 0 <= evidence.min() <= evidence.max() <= 1

def test_a_picture_that_is_none_spoils_its_own_request_only(server):
    def ask(i): return server.predict(PICTURES["grey"], b"<svg>" if i % 2 else PICTURES["wide"])
    with ThreadPoolExecutor(8) as pool: answers = list(pool.map(ask, range(40)))
    assert [o[0] for o in answers] == [200, 422]*20
    assert "1.png is not a readable picture" in answers[1][2]["error"]

def test_when_it_is_told_to_stop_it_finishes_what_was_asked(tmp_path):
    large = [encoded(picture(i, 900, 900), "JPEG") for i in range(4)]
    with serving(tmp_path, queue=1000, drain_seconds=120) as server, ThreadPoolExecutor(24) as pool:
        idle = socket.create_connection(("127.0.0.1", server.port))
        def under_way(): return int(re.search(rb"signs_requests_under_way (\d+)", server.ask("GET", "/metrics")[2])[1]) - 1
        asked = [pool.submit(server.predict, *large) for _ in range(24)]
        while (begun := sum(o.done() for o in asked)) + under_way() < 24: pass
        server.process.send_signal(signal.SIGTERM)
        answers = [o.result()[0] for o in asked]
        assert server.process.wait(60) == 0, server.logged()
        assert begun < 24 and answers == [200]*24
        with pytest.raises(OSError): server.predict(*large)
        idle.close()

def test_who_keeps_a_connection_open_is_told_when_it_ends(tmp_path):
    with serving(tmp_path) as server, ThreadPoolExecutor(16) as pool:
        answers = []
        def keep_asking(_):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            while True:  # whatever goes wrong is raised
                connection.request("POST", "/predict", PICTURES["jpeg"], {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                answer.read()
                answers.append(answer.status)
                if answer.headers["Connection"] == "close": return
        asking = [pool.submit(keep_asking, i) for i in range(16)]
        while len(answers) < 100: time.sleep(0.01)
        assert server.stop() == 0
        for o in asking: o.result()
        assert set(answers) == {200}

def test_what_is_too_much_is_refused_at_once_and_only_that(tmp_path):
    large = [encoded(picture(i, 700, 700), "JPEG") for i in range(4)]
    with serving(tmp_path, queue=16) as server, ThreadPoolExecutor(40) as pool:
        ended = []
        def ask(_):
            status, headers, answer = server.predict(*large)
            ended.append(status)
            return status, headers["Retry-After"], answer.get("error", "")
        answers = list(pool.map(ask, range(40)))
        assert {o[0] for o in answers} == {200, 503}
        assert all(o[1:] == (None, "") if o[0] == 200 else o[1] == "1" and "too much to do" in o[2] for o in answers)
        assert ended.index(503) < len(ended) - 1 - ended[::-1].index(200), "refusals waited for the work"
        assert server.predict(*large)[0] == 200
        assert server.predict(*large*5)[0] == 200, "who is alone may bring more than the queue holds"

def test_a_new_model_takes_over_without_a_failed_request(tmp_path):
    path, readers = tmp_path/"sign.onnx", {o: Reader(o) for o in ready()}
    by_hash = {o.sha256: o for o in readers.values()}
    shutil.copy(ready()["hands"], path)
    with serving(tmp_path, {"sign": str(path)}, watch_s=0.05) as server, ThreadPoolExecutor(8) as pool:
        over, answers = threading.Event(), []
        def keep_asking(_):
            while not over.is_set(): answers.append(server.predict(PICTURES["colour"]))
        asking = [pool.submit(keep_asking, i) for i in range(8)]
        def until(is_so):
            end = time.monotonic() + 30
            while not is_so(): assert time.monotonic() < end, server.logged()
        now = lambda: server.ask("GET", "/models")[2][0]["sha256"]
        try:
            for name in ("bones", "hands", "bones"):
                shutil.copy(ready()[name], f"{path}.new")
                os.replace(f"{path}.new", path)
                until(lambda: now() == readers[name].sha256)
            path.write_bytes(path.read_bytes()[:10_000])
            until(lambda: "refused" in server.logged())
            assert now() == readers["bones"].sha256
        finally: over.set()
        for o in asking: o.result()
        assert {o[0] for o in answers} == {200}
        assert {o[2]["model"]["sha256"] for o in answers} == set(by_hash)
        expected = {k: o.read([PICTURES["colour"]])[0].label for k, o in by_hash.items()}
        for _, _, o in answers: assert o["predictions"][0]["label"] == expected[o["model"]["sha256"]]

def test_it_does_not_start_where_it_cannot_serve(tmp_path):
    def fails(models, port=0): return run(sys.executable, "-c", f"from signs_nbdev.serve import serve; serve({models!r}, port={port})")
    (tmp_path/"bad.onnx").write_bytes(b"nothing")
    for path in ("none.onnx", "bad.onnx"):
        ended = fails({"a": str(tmp_path/path)})
        assert ended.returncode != 0 and "RunError" in ended.stdout.splitlines()[-1]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = fails(None, taken.getsockname()[1])
        assert ended.returncode != 0 and "address already in use" in ended.stdout

def test_serving_needs_no_torch():
    ended = run(sys.executable, "-c", "import sys, signs_nbdev.serve; print(*{'torch', 'timm', 'kornia', 'fastcore'} & sys.modules.keys())")
    assert ended.returncode == 0 and ended.stdout.strip() == "", ended.stdout
