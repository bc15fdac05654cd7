"One picture gives one answer, whoever is asked: torch, the exported file, the command line, the API and the page."
import json
import shutil
import subprocess
import urllib.request

import numpy as np
import pytest
from PIL import Image

from conftest import BIN, ROOT, run

TRAIN = ("dataset=folder", "split=random", "size=32", "arch=signnet_tiny", "recipe=none", "epochs=3", "device=cpu")


def saved(image, path, **options):
    image.save(path, **options)
    return path

@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    "One scene as cameras, scanners and offices would send it, and some of other shapes."
    place, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(1)
    scene = Image.fromarray(rng.integers(60, 200, (9, 13, 3), np.uint8)).resize((130, 90), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        saved(scene, place/"photo.jpg", quality=90), saved(scene, place/"turned.jpg", exif=turned),
        saved(scene.convert("CMYK"), place/"office.tif"), saved(scene.convert("L"), place/"grey.png"),
        saved(scene.quantize(16), place/"palette.gif"), saved(scene.resize((31, 400)), place/"tall.webp"),
        saved(Image.fromarray(rng.integers(0, 65536, (50, 40)).astype(np.uint16)), place/"sixteen.png")]

@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    "The folder of a run that was trained and exported by the commands that a user types."
    own, place = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("runs")/"three"
    rng = np.random.default_rng(0)
    for k, name in enumerate("abc"):
        (own/name).mkdir()
        for i in range(80): Image.fromarray((rng.integers(0, 140, (16, 16, 3)) + 55*k).astype(np.uint8)).save(own/name/f"{i}.png")
    for command in (("train", *TRAIN, f"data_root={own}", f"out={place}"), ("export", place, "--root", own, "--no-int8")):
        done = run(BIN/"signs", *command, cwd=ROOT)
        assert done.returncode == 0, done.stdout
    return place

@pytest.fixture(scope="module")
def url(exported, serving): return serving(exported)

@pytest.fixture
def page():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'signs_nbdev[dev]'")
    chromium = shutil.which("chromium") or pytest.skip("no Chromium on the path, so the page cannot be asked")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()

def asked(url, path):
    "The answer to a picture's bytes."
    request = urllib.request.Request(f"{url}predict?topk=3", path.read_bytes(), {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request) as answer: return json.load(answer)["predictions"][0]

def test_all_ways_to_ask_give_one_answer(exported, url, photos, page):
    import torch
    from signs_nbdev.models import load_model
    from signs_nbdev.prepare import prepare
    from signs_nbdev.reader import Reader

    model = load_model(exported)
    seen = np.stack([prepare(o, "photo", 32, 3) for o in photos])
    chance = model.predict(torch.from_numpy(seen)).numpy()
    by_torch = [model.classes[k] for k in chance.argmax(1)]

    readings = Reader(exported).read(photos)
    assert [o.label for o in readings] == by_torch
    np.testing.assert_array_equal([o.seen for o in readings], seen)
    np.testing.assert_allclose([o.probabilities for o in readings], chance, atol=1e-4)

    done = run(BIN/"signs", "predict", "--model", exported, "--json", *photos, stderr=subprocess.PIPE)
    lines = [json.loads(o) for o in done.stdout.splitlines()]
    assert [o["label"] for o in lines] == by_torch

    answers = [asked(url, o) for o in photos]
    assert [o["label"] for o in answers] == by_torch
    for line, answer, reading in zip(lines, answers, readings):
        for o in (line, answer):
            assert (o["unknown"], tuple(o["signs"])) == (reading.unknown, reading.signs)
            assert abs(o["probability"] - reading.probability) < 1e-5

    page.goto(f"{url}#/pictures")
    for path, wanted in zip(photos, readings):
        if path.suffix in (".tif",): continue  # no browser shows these
        page.set_input_files("#files", path)
        page.wait_for_selector(f"#pictures .stage img[alt='{path.name}']")
        page.wait_for_selector("#bars li span")
        assert page.text_content("#bars li span") == wanted.label, path.name
        page.click("#forget")
