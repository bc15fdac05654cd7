"The page that reads in the browser: what builds it, that it answers as the library does, and that nothing leaves it."
import base64
import functools
import http.server
import io
import json
import re
import shutil
import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

import test_web
from conftest import ROOT, run
from signs_nbdev.core import ASL_CLASSES
from signs_nbdev.reader import Reader
from signs_nbdev.render import spell
from signs_nbdev.serve import create_app, label_evidence
from test_web import drop, field, label, png, settled, until

TOLERANCE = 1e-4 # of a probability: where the pixels are the same, nothing but the order of sums differs


# ---- building

@pytest.fixture(scope="module")
def script():
    "The script that builds the demo, as a module."
    if not shutil.which("npm"): pytest.skip("npm is not installed, so the demo cannot be built")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT/".ci")
        import demo
        yield demo

@pytest.fixture(scope="module")
def site(script, tmp_path_factory):
    "A site with the demo in it, two folders down."
    site = tmp_path_factory.mktemp("site")
    script.build(site/"signs_nbdev/demo")
    return site

def test_the_demo_stands_alone_and_names_no_host(site):
    demo = site/"signs_nbdev/demo"
    assert sum(o.stat().st_size for o in demo.iterdir()) < 7_000_000
    ours = {o.name for folder in ("demo", "signs_nbdev/web") for o in (ROOT/folder).iterdir()}
    for path in demo.iterdir():
        if path.suffix not in (".html", ".js", ".css", ".svg") or path.name == "ort.js": continue
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert path.name in ours | {"built.js"} and not re.search(r"(https?:|\")//[\w-]+\.\w", text), f"{path.name} names a host"
        for other in re.findall(r"(?:src|href|from)[ =]+\"(?:\./)?([\w.]+)\"", text):
            assert other == ".." or (demo/other).is_file(), (path.name, other)
    assert "MIT License" in (demo/"ort-LICENSE.txt").read_text()

def test_the_demo_tells_of_its_models_what_the_server_tells(site):
    from starlette.testclient import TestClient
    told = re.search(r"MODELS = (.+);", (site/"signs_nbdev/demo/built.js").read_text())[1]
    models = [{k: v for k, v in o.items() if k not in ("file", "bytes")} for o in json.loads(told)]
    with TestClient(create_app(), base_url="http://localhost") as client: assert models == client.get("/models").json()

def test_a_package_that_is_not_the_one_tried_is_refused(script, tmp_path, monkeypatch):
    wanted = "sha512-" + base64.b64encode(bytes(64)).decode()
    got = script.INTEGRITY
    monkeypatch.setattr(script, "INTEGRITY", wanted)
    with pytest.raises(SystemExit) as refused: script.fetch(tmp_path)
    assert f"got {got}, wanted {wanted}" in str(refused.value)

def test_a_version_that_npm_does_not_have_is_told(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "VERSION", "0.0.0-never")
    with pytest.raises(SystemExit, match="npm could not fetch onnxruntime-web 0.0.0-never"): script.fetch(tmp_path)

def test_without_npm_make_says_what_is_missing(tmp_path):
    for o in ("sh", "make"): (tmp_path/o).symlink_to(shutil.which(o))
    for target in ("demo", "docs"):
        done = run(tmp_path/"make", "-o", "quarto", target, cwd=ROOT, env={"PATH": str(tmp_path)})
        assert done.returncode and "The demo needs npm, which comes with Node" in done.stdout, done.stdout


# ---- serving and opening: the page's own tests have the browser and what is to be looked for

film, chromium, open_page = test_web.film, test_web.chromium, test_web.open_page

@pytest.fixture(scope="module")
def hands():
    "A hand for each letter, drawn by our own renderer."
    letters = ASL_CLASSES[:26]
    return dict(zip(letters, spell("".join(letters), 192).numpy()))

@pytest.fixture(scope="module")
def asked():
    "How often each file was asked for, by its method and path."
    return Counter()

@pytest.fixture(scope="module")
def url(site, asked):
    "A static server of the site: files, and no headers of its own."
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
        def log_request(self, *args): asked[self.command, self.path.partition("?")[0].rpartition("/")[2]] += 1

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/signs_nbdev/demo/"
        server.shutdown()

READ = """async ([model, data]) => {
  const { reader } = await import("./reader.js"), bytes = Uint8Array.from(atob(data), (o) => o.charCodeAt(0));
  const answer = await reader.read(new Blob([bytes]), model, { topk: 99 });
  return [answer.model, answer.predictions[0]];
}"""

def compare(page, model, content, what, chance=TOLERANCE, levels=0):
    "The browser's answer is the library's: in its words exactly, in its numbers within so much."
    wanted = model.read([content])[0]
    by, got = page.evaluate(READ, [model.name, base64.b64encode(content).decode()])
    assert by == {"name": model.name, "sha256": model.sha256}
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(got["seen"].partition(",")[2]))).convert("RGB"))
    assert np.abs(seen.astype(int) - wanted.seen).max() <= levels, what
    assert (got["label"], got["unknown"], tuple(got["signs"])) == (wanted.label, wanted.unknown, wanted.signs), what
    told = {o["label"]: o["probability"] for o in got["topk"]}
    np.testing.assert_allclose([told[o] for o in wanted.classes], wanted.probabilities, rtol=0, atol=chance, err_msg=what)
    assert list(told.values()) == sorted(told.values(), reverse=True)
    np.testing.assert_allclose(got["evidence"], label_evidence(wanted), rtol=0, atol=max(20*chance, 2e-3), err_msg=what)
    return wanted.label


# ---- the same answers

def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()

def turned(code):
    "EXIF that says which way is up."
    exif = Image.Exif()
    exif[0x0112] = code
    return exif

def transparent(image):
    "The picture, fading out to its right."
    fading = Image.fromarray(np.tile(np.linspace(255, 0, image.width).astype(np.uint8), (image.height, 1)))
    image = image.convert("RGBA")
    image.putalpha(fading)
    return image

@pytest.fixture(scope="module")
def drawing():
    "A character as a scanner sees it: dark on light, not square, on a ground with grain."
    image = Image.new("L", (150, 230), 225)
    pen = ImageDraw.Draw(image)
    for line in ([(75, 25), (75, 205)], [(30, 45), (40, 90), (75, 120), (110, 90), (120, 45)], [(30, 205), (75, 130), (120, 205)]):
        pen.line(line, fill=30, width=13, joint="curve")
    grain = np.random.default_rng(0).integers(-12, 13, (230, 150))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))

@pytest.fixture(scope="module")
def pictures(hands, drawing):
    "Name -> the bytes of a picture that loses nothing, so that every decoder makes the same pixels of it."
    hand, profile = Image.fromarray(hands["W"]), ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", (100_000).to_bytes(4, "big"))
    made = {f"hand {o}": encoded(Image.fromarray(pixels)) for o, pixels in hands.items()}
    made |= {f"{w}x{h}": encoded(hand.resize((w, h), Image.Resampling.BICUBIC)) for w, h in
             [(3, 200), (17, 31), (64, 64), (65, 64), (333, 250), (640, 481), (1201, 800), (500, 2500)]}
    for name, image in {"hand": hand, "drawing": drawing}.items():
        grey, palette, rgb = image.convert("L"), image.quantize(16), image.convert("RGB")
        deep = Image.fromarray(np.asarray(grey).astype(np.uint16)*257)
        made |= {f"{name}, {what}": encoded(o, kind, **options) for what, o, kind, options in [
            ("RGB", rgb, "PNG", {}), ("grey", grey, "PNG", {}), ("light", grey.point(lambda o: 255 - o//4), "PNG", {}),
            ("16 bits", deep, "PNG", {}), ("1 bit", image.convert("1"), "PNG", {}), ("palette", palette, "PNG", {}),
            ("GIF", palette, "GIF", {}), ("BMP", rgb, "BMP", {}), ("WEBP", image, "WEBP", dict(lossless=True)),
            ("turned", image, "PNG", dict(exif=turned(6))), ("opaque RGBA", rgb.convert("RGBA"), "PNG", {}),
            ("opaque LA", grey.convert("LA"), "PNG", {}), ("see-through palette", palette, "PNG", dict(transparency=0)),
            ("see-through GIF", palette, "GIF", dict(transparency=0)),
            ("another profile", image, "PNG", dict(icc_profile=profile)), ("another gamma", image, "PNG", dict(pnginfo=gamma))]}
    return made

@pytest.fixture(scope="module")
def photos(hands, drawing):
    "Name -> the bytes of a picture whose decoding has some freedom: JPEG, lossy WEBP, and what is half transparent."
    made = {}
    for name, image in {"hand": Image.fromarray(hands["W"]), "photo": Image.fromarray(hands["L"]).resize((641, 483)),
                        "drawing": drawing.convert("RGB")}.items():
        made |= {f"{name}, quality {o}": encoded(image, "JPEG", quality=o) for o in (50, 75, 98)}
        made |= {f"{name}, subsampling {o}": encoded(image, "JPEG", subsampling=o) for o in (0, 1)}
        made |= {f"{name}, turned {o}": encoded(image, "JPEG", exif=turned(o)) for o in range(1, 9)}
        made |= {f"{name}, {what}": encoded(o, kind, **options) for what, o, kind, options in [
            ("grey", image.convert("L"), "JPEG", {}), ("progressive", image, "JPEG", dict(progressive=True)),
            ("CMYK", image.convert("CMYK"), "JPEG", {}), ("WEBP", image, "WEBP", {}), ("fading", transparent(image), "PNG", {}),
            ("fading WEBP", transparent(image), "WEBP", dict(lossless=True, exact=True)),
            ("fading, inverted", transparent(image.point(lambda o: 255 - o)), "PNG", {})]}
    return made

@pytest.mark.parametrize("name", ["hands", "bones"])
def test_the_same_pixels_give_the_same_answer(open_page, pictures, name):
    page, model = open_page("pictures"), Reader(name)
    labels = {compare(page, model, content, what) for what, content in pictures.items()}
    assert len(pictures) == 66 and len(labels) > (20 if name == "hands" else 3)

@pytest.mark.parametrize("name", ["hands", "bones"])
def test_photos_give_the_same_answer(open_page, photos, name):
    page, model = open_page("pictures"), Reader(name)
    for what, content in photos.items(): compare(page, model, content, what, chance=0.02, levels=2)
    assert len(photos) == 60

def test_a_large_photo_is_made_smaller_and_gives_the_same_answer(open_page, hands, drawing):
    page, grain = open_page("pictures"), np.random.default_rng(0)
    for name, image in {"hands": Image.fromarray(hands["L"]), "bones": drawing}.items():
        pixels = np.asarray(image.resize((4032, 3024), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels += grain.integers(-25, 26, pixels.shape, np.int16)
        content = encoded(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), "JPEG", quality=90)
        compare(page, Reader(name), content, name, chance=0.05, levels=3)

def test_a_picture_of_one_colour_gives_the_same_answer(open_page):
    "Where nothing varies, the standardised picture is rounding alone."
    page, model = open_page("pictures"), Reader("hands")
    for size in [(1, 1), (2, 1), (300, 200)]: compare(page, model, encoded(Image.new("RGB", size, "teal")), f"{size}", chance=0.005)

def test_real_scans_and_photos_give_the_same_answers(open_page, signs_data):
    from signs_nbdev.sources import load
    page, scans = open_page("pictures"), load("oracle_mnist", signs_data).images
    model = Reader("bones")
    for i in range(0, len(scans), len(scans)//100):
        compare(page, model, encoded(Image.fromarray(np.asarray(scans[i]).squeeze())), f"scan {i}")
    model = Reader("hands")
    for part in ("asl_external/desk", "asl_external/studio", "asl_alphabet"):
        files = sorted(o for o in (signs_data/part).rglob("*") if o.suffix.lower() in (".jpg", ".jpeg", ".png"))
        for o in files[::len(files)//40]: compare(page, model, o.read_bytes(), f"{part}: {o.name}", chance=0.02, levels=2)


# ---- as a user meets it

TOLD = """window.told = [];
  addEventListener("DOMContentLoaded", () => new MutationObserver(() => told.push(document.querySelector("#sentence").textContent))
    .observe(document.querySelector("#sentence"), { childList: true, characterData: true, subtree: true }));"""

def test_the_model_comes_with_the_first_picture_and_then_no_network_is_needed(open_page, asked):
    before = asked.copy()
    page = open_page("draw", script=TOLD)
    came = lambda: {name for _, name in asked - before}
    heavy = {o for o in came() if o.endswith((".onnx", ".gzip"))}
    assert not heavy and "stay on this device" in page.text_content("#where") and "5 MB" in page.text_content("#where")
    page.click("#glyphs button[title='Draw field']")
    settled(page, "^field")
    assert {"bones.onnx", "ort-1.30.0.wasm.gzip"} <= came() and "hands.onnx" not in came()
    shares = [int(o[1]) for text in page.evaluate("told") if (o := re.match(r"Loading the model: [<>]? ?(\d+) %", text))]
    assert len(shares) > 3 and shares == sorted(shares) and shares[-1] == 99
    page.context.set_offline(True)
    before = asked.copy()
    page.click("#glyphs button[title='Draw wood']")
    settled(page, "^wood")
    field(page)
    until(page, "document.querySelector('#seen img').naturalWidth === 28")
    assert asked == before and {method for method, _ in asked} == {"GET"}

def test_camera_spells_a_word(open_page):
    page = open_page()
    assert "stay on this device" in page.text_content("#camera .state")
    page.click("#start")
    until(page, "w => RegExp(w).test(document.querySelector('#line').value)", test_web.WORD, seconds=60)
    assert page.locator("#bars li").count() == 5 and page.is_visible("#seen img") and page.is_visible("#legend")
    page.check("#evidence")
    until(page, "document.querySelector('#camera .evidence').width > 0")

def test_a_drawn_character_is_read(open_page):
    page = open_page("draw")
    field(page)
    settled(page, "^field")
    page.keyboard.press("c")
    page.wait_for_selector("#draw .hint")
    assert label(page) == ""

def test_files_get_the_labels_that_the_library_gives(open_page, hands, tmp_path):
    paths = [png(hands[o], tmp_path/f"{o}.png") for o in "BLVY"]
    page = open_page("pictures")
    page.set_input_files("#files", paths)
    until(page, "[...document.querySelectorAll('.strip span')].every(o => o.textContent !== '…')")
    for o, button in zip(Reader("hands").read(paths), page.locator(".strip button").all()):
        button.click()
        settled(page, "^I don't know" if o.unknown else f"^{o.label}, ")
        assert page.text_content("#bars li span") == o.label
    page.select_option("#model", "bones")
    until(page, "document.querySelector('#seen img').naturalWidth === 28")
    drop(page, "drop", ["a.webp"])
    until(page, "document.querySelectorAll('.strip button').length === 5")

def test_a_camera_that_is_denied_leaves_the_rest(open_page):
    page = open_page(script="navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError') };")
    page.click("#start")
    page.click("#instead")
    page.click("#examples button[title='Read L']")
    settled(page, "^L")


# ---- in trouble

@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n and then nothing", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
                                     encoded(Image.new("RGB", (8, 8)), "TIFF")], ids=["empty", "broken", "SVG", "TIFF"])
def test_what_cannot_be_read_is_told_in_plain_words(open_page, hands, tmp_path, content):
    (tmp_path/"broken.png").write_bytes(content)
    page = open_page("pictures", may_fail=True)
    page.set_input_files("#files", [tmp_path/"broken.png", png(hands["L"], tmp_path/"L.png")])
    until(page, "document.querySelector('#notice p').textContent.includes('cannot be read')")
    page.click(".strip button:last-child")
    page.wait_for_selector("#seen")
    assert not page.is_visible("#notice"), "the next picture is read nevertheless"

def test_a_picture_that_is_too_large_is_told(open_page, site, pictures):
    page, built = open_page("pictures", may_fail=True), (site/"signs_nbdev/demo/built.js").read_text()
    assert "MAX_PIXELS = 64000000;" in built
    page.route("**/built.js", lambda route: route.fulfill(body=built.replace("64000000", "307839"), content_type="text/javascript"))
    with pytest.raises(Exception, match="too large: 640x481"):
        page.evaluate(READ, ["hands", base64.b64encode(pictures["640x481"]).decode()])

@pytest.mark.parametrize("file", ["worker.js", "ort.js", "ort-1.30.0.wasm.gzip", "bones.onnx"])
def test_what_does_not_come_is_told_and_can_be_asked_for_again(open_page, file):
    page = open_page("draw", may_fail=True)
    page.route(f"**/{file}*", lambda route: route.abort())
    page.click("#glyphs button[title='Draw field']")
    page.wait_for_selector("#notice")
    assert "could not be loaded. Is there a network?" in page.text_content("#notice p")
    assert page.text_content("#sentence") == "Draw one of the characters."
    page.unroute(f"**/{file}*")
    page.click("#retry")
    settled(page, "^field")
    assert not page.is_visible("#notice")

def test_a_browser_that_cannot_is_told(open_page):
    page = open_page("draw", script="delete window.WebAssembly;")
    page.click("#glyphs button[title='Draw field']")
    page.wait_for_selector("#notice")
    assert "does not run in this browser" in page.text_content("#notice p")

def test_neither_page_nor_worker_could_send_anything_elsewhere(chromium, url, asked):
    "The same server by its other name is another host to the browser."
    send = f"fetch('{url.replace('127.0.0.1', 'localhost')}CANARY', {{ mode: 'no-cors', method: 'POST', body: 'x' }}).then(() => 'sent', () => 'held back')"
    page = chromium.new_page()
    page.goto(f"{url}signs.webp") # has no policy
    assert page.evaluate(send.replace("CANARY", "control")) == "sent" and asked["POST", "control"] == 1
    page.goto(f"{url}#/draw")
    page.click("#glyphs button[title='Draw field']")
    settled(page, "^field")
    [worker] = page.workers
    for place in (page, worker): assert place.evaluate(send.replace("CANARY", "canary")) == "held back"
    assert not asked["POST", "canary"]
    page.close()
