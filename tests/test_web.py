"The page in a real browser: camera (a film of rendered hands), pad, files, keys, small screens, trouble."
import json
import re
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT

WEB = ROOT/"signs_nbdev/web"
WORD = "VLY"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


# ---- without a browser

def test_page_is_light_and_stands_alone():
    files = {o.name: o.read_bytes() for o in WEB.iterdir()}
    assert sum(map(len, files.values())) < 60_000
    for name, content in files.items():
        if name.endswith(".webp"): continue
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:|\")//[\w-]+\.\w", text), f"{name} names another host"
        assert not re.search(r"<style|<script[^>]*>[^<]|\sstyle=|\son\w+=\"|eval\(|new Function|innerHTML", text), name
        for other in re.findall(r"(?:src|href|from)[ =]+\"(?:\./)?([\w.]+)\"", text): assert other in files, (name, other)


# ---- the server, the film and the browser

@pytest.fixture(scope="module")
def url(serving): return serving()

@pytest.fixture(scope="module")
def hands():
    "Rendered hands of one signer of our own data, by their sign."
    from signs_nbdev.sources import load
    data = load("hands")
    return {sign: data.images[data.labels == k][3].numpy() for k, sign in enumerate(data.classes)}

@pytest.fixture(scope="module")
def film(hands, tmp_path_factory):
    "The hands that spell a word, 2 s each, as a film for Chromium's fake camera."
    path = tmp_path_factory.mktemp("film")/"hands.y4m"
    with open(path, "wb") as f:
        f.write(b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg\n")
        for sign in WORD:
            frame = Image.new("RGB", (320, 240), "gray")
            frame.paste(Image.fromarray(hands[sign]).resize((192, 192)), (64, 24))  # what the page's frame cuts out
            y, cb, cr = frame.convert("YCbCr").split()
            f.write(20*(b"FRAME\n" + y.tobytes() + cb.resize((160, 120)).tobytes() + cr.resize((160, 120)).tobytes()))
    return path

@pytest.fixture(scope="module")
def chromium(film):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'signs_nbdev[dev]'")
    if not CHROMIUM: pytest.skip("no Chromium on the path, so the page cannot be looked at")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={film}"])
        yield browser
        browser.close()

WATCH = """addEventListener("securitypolicyviolation", (e) => console.error("CSP", e.violatedDirective, e.blockedURI));"""

@pytest.fixture
def open_page(chromium, url):
    "Opens the page; at the end it has asked no other host and complained of nothing but what `may_fail` says."
    opened = []

    def open_page(tab="camera", may_fail=False, script="", **context):
        context = chromium.new_context(**{"viewport": {"width": 1100, "height": 900}} | context)
        page, faults = context.new_page(), []
        page.add_init_script(WATCH + script)
        page.on("pageerror", lambda e: faults.append(str(e)))
        page.on("console", lambda m: m.type in ("error", "warning") and not may_fail and faults.append(m.text))
        page.on("request", lambda r: r.url.startswith((url, "data:", "blob:")) or faults.append(r.url))
        page.set_default_timeout(15_000)
        page.goto(f"{url}#/{tab}")
        page.wait_for_selector("#model option", state="attached")
        opened.append((context, faults))
        return page

    yield open_page
    for context, faults in opened:
        context.close()
        assert faults == []

def until(page, expression, arg=None, seconds=30):
    "Playwright's own wait_for_function needs eval, which the page's policy forbids."
    for _ in range(20*seconds):
        if page.evaluate(expression, arg): return
        page.wait_for_timeout(50)
    raise AssertionError(f"in {seconds} s never true: {expression} {arg or ''}\n{page.inner_text('main')}")

def label(page): return page.text_content("#label")

def settled(page, pattern): until(page, "r => RegExp(r).test(document.querySelector('#sentence').textContent)", pattern)

def png(pixels, path):
    Image.fromarray(pixels.squeeze()).save(path)
    return path


# ---- camera

def test_camera_spells_a_word(open_page):
    page = open_page()
    assert "inside the frame" in page.text_content("#camera .state")
    page.click("#start")
    until(page, "w => RegExp(w).test(document.querySelector('#line').value)", WORD)
    assert page.locator("#bars li").count() == 5 and page.is_visible("#seen img") and page.is_visible("#legend")
    page.check("#evidence")
    until(page, "document.querySelector('#camera .evidence').width > 0")
    page.click("#pause")
    assert page.text_content("#camera .state p") == "Paused"
    page.click("#copy")
    page.click("#wipe")
    page.click("[data-sign=space]")
    page.fill("#line", "AB")
    page.click("[data-sign=del]")
    assert page.input_value("#line") == "A"
    page.wait_for_timeout(300)
    before = page.input_value("#line")
    page.wait_for_timeout(1200)
    assert page.input_value("#line") == before, "a pause takes no signs"

def test_one_frame_is_on_its_way_at_a_time_and_none_from_another_tab(open_page):
    page, running, most, count = open_page(), 0, 0, 0

    def slow(route):
        nonlocal running, most, count
        running, count = running + 1, count + 1
        most = max(most, running)
        page.wait_for_timeout(150)
        assert route.request.headers["content-type"] == "image/jpeg" and len(route.request.post_data_buffer) < 50_000
        route.continue_()
        running -= 1
    page.route("**/predict?*", slow)
    page.click("#start")
    end = time.monotonic() + 30
    while count < 5 and time.monotonic() < end: page.wait_for_timeout(50)
    assert most == 1 and count >= 5
    page.click("#tab-draw")
    page.wait_for_timeout(500)
    before = count
    page.wait_for_timeout(800)
    assert count == before and page.evaluate("document.querySelector('video').srcObject") is None, "the camera is off"

def test_a_camera_that_comes_too_late_is_switched_off(open_page):
    page = open_page(script="""
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (o) => { await new Promise((done) => setTimeout(done, 700)); return window.stream = await ask(o) };""")
    page.click("#start")
    page.click("#tab-draw")
    until(page, "window.stream && !window.stream.active")
    page.click("#tab-camera")
    assert page.is_visible("#start")

GRAB = """async ([frame, flip]) => {
  const { Camera } = await import("./camera.js"), film = document.createElement("canvas");
  Object.assign(film, { width: 400, height: 200, videoWidth: 400, videoHeight: 200 });  // the middle square: black, then red, blue, black
  const context = film.getContext("2d", { willReadFrequently: true });
  for (const [colour, x] of [["red", 150], ["blue", 200]]) { context.fillStyle = colour; context.fillRect(x, 50, 50, 100); }
  const image = await createImageBitmap(await new Camera(film).grab(frame, flip, 64));
  context.drawImage(image, 0, 0);
  return [[2, 2], [24, 32], [40, 32]].map(([x, y]) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3).map((o) => o > 128));
}"""

@pytest.mark.parametrize("frame, flip, colours", [(1, False, "-rb"), (1, True, "-br"), (0.5, False, "rrb"), (0.5, True, "bbr")])
def test_the_frame_is_cut_out_of_the_middle_and_turned_for_left_hands(open_page, frame, flip, colours):
    found = open_page().evaluate(GRAB, [frame, flip])
    assert found == [{"-": [False]*3, "r": [True, False, False], "b": [False, False, True]}[o] for o in colours]

@pytest.mark.parametrize("error, words", [("NotAllowedError", "blocked"), ("NotFoundError", "No camera"),
                                          ("NotReadableError", "another program"), ("Odd", "could not be started")])
def test_a_camera_that_fails_is_told(open_page, error, words):
    page = open_page(script=f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{error}') }};")
    page.click("#start")
    page.wait_for_selector("#instead")
    assert words in page.text_content("#camera .state") and page.text_content("#start") == "Try again"
    page.click("#instead")
    assert page.is_visible("#pictures")

def test_a_page_without_a_safe_address_says_why_there_is_no_camera(open_page):
    page = open_page(script="Object.defineProperty(navigator, 'mediaDevices', {}); Object.defineProperty(window, 'isSecureContext', {value: false});")
    page.click("#start")
    page.wait_for_selector("#instead")
    assert "https" in page.text_content("#camera .state")

SPELL = """async ([frames, hold]) => {
  const { Speller, spelled } = await import("./spell.js"), speller = new Speller(hold, 100), taken = [];
  let now = 0, text = "";
  for (const [label, ms, unknown] of frames) for (let t = 0; t < ms; t += 50) {
    const topk = ["A", "L", "del", "space", "nothing"].map((o) => ({ label: o, probability: o === label ? 0.96 : 0.01 }));
    const o = speller.feed({ label, topk, unknown: Boolean(unknown), signs: [label] }, now += 50);
    if (o.taken) text = spelled(text, o.taken);
  }
  return text;
}"""

@pytest.mark.parametrize("frames, text", [
    ([("A", 400)], ""),                                                        # not held for long enough
    ([("A", 3000)], "A"),                                                      # held is taken once
    ([("L", 800), ("nothing", 300), ("L", 800)], "LL"),                        # made anew is taken again
    ([("L", 800), ("L", 300, True), ("L", 800)], "LL"),                        # so it is after a moment of doubt
    ([("A", 800, True)], ""),                                                  # the unknown is no sign
    ([("A", 800), ("space", 800), ("L", 800), ("nothing", 2000)], "A L"),
    ([("A", 800), ("L", 800), ("del", 800)], "A"),
    ([("A", 800), ("L", 800), ("del", 2000)], ""),                             # del goes on
    ([("A", 300), ("L", 50), ("A", 300)], "A"),                                # one frame's flicker is passed over
])
def test_spelling_follows_what_is_held(open_page, frames, text):
    assert open_page().evaluate(SPELL, [frames, 500]) == text


# ---- drawing

def stroke(page, *points):
    box = page.locator("#pad").bounding_box()
    for i, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x*box["width"], box["y"] + y*box["height"], steps=1 if i == 0 else 8)
        if i == 0: page.mouse.down()
    page.mouse.up()

def field(page):
    stroke(page, (.2, .2), (.8, .2), (.8, .8), (.2, .8), (.2, .2))
    stroke(page, (.5, .2), (.5, .8))
    stroke(page, (.2, .5), (.8, .5))

def test_a_drawn_character_is_read_as_the_model_sees_it(open_page):
    page = open_page("draw")
    assert page.is_visible("#draw .hint") and page.is_disabled("#undo")
    field(page)
    settled(page, "^field")
    until(page, "(o => o.naturalWidth == 28 && o.naturalHeight == 28)(document.querySelector('#seen img'))")
    assert not page.is_visible("#draw .hint")
    page.keyboard.press("Control+z")
    page.click("#undo")
    page.click("#undo")
    page.wait_for_selector("#draw .hint")
    assert label(page) == ""
    field(page)
    page.keyboard.press("c")
    page.wait_for_selector("#draw .hint")

def test_a_finger_draws_and_the_page_stays(open_page):
    page = open_page("draw", has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740})
    box, touch = page.locator("#pad").bounding_box(), page.context.new_cdp_session(page)
    at = lambda t: [{"x": box["x"] + t*box["width"], "y": box["y"] + t*box["height"]}]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": at(.2)})
    for t in np.linspace(.2, .8, 10): touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": at(float(t))})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_selector("#seen")
    assert page.evaluate("scrollY") == 0 and label(page)

def test_shown_characters_are_read_as_themselves(open_page):
    page = open_page("draw")
    names, read = page.locator("#glyphs button").all_text_contents(), []
    assert len(names) == 10
    for name in names:
        page.evaluate("document.querySelector('#bars').replaceChildren()")  # so that what is found there then is new
        page.click(f"#glyphs button[title='Draw {name}']")
        read.append(page.text_content("#bars li span"))
    assert sum(map(str.__eq__, names, read)) >= 9, read


# ---- pictures

def drop(page, event, names):
    "The files of `names` are dropped or pasted."
    page.evaluate("""async ([event, names]) => {
      const data = new DataTransfer();
      for (const o of names) data.items.add(new File([await (await fetch("signs.webp")).blob()], o, { type: "image/webp" }));
      const init = { bubbles: true, cancelable: true };
      document.body.dispatchEvent(event === "paste" ? new ClipboardEvent("paste", { ...init, clipboardData: data })
                                                    : new DragEvent("drop", { ...init, dataTransfer: data }));
    }""", [event, names])

def test_files_get_the_labels_that_the_library_gives(open_page, hands, tmp_path):
    from signs_nbdev.reader import Reader, find_model
    paths = [png(hands[o], tmp_path/f"{o}.png") for o in "BLVY"]
    wanted = Reader(find_model("hands")).read(paths)
    page = open_page("pictures")
    page.set_input_files("#files", paths)
    until(page, "[...document.querySelectorAll('.strip span')].every(o => o.textContent !== '…')")
    for o, path, button in zip(wanted, paths, page.locator(".strip button").all()):
        button.click()
        assert page.get_attribute("#pictures .stage img", "alt") == path.name
        settled(page, "^I don't know" if o.unknown else f"^{o.label}, ")
        assert page.text_content("#bars li span") == o.label
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#pictures .stage img", "alt") == "V.png"
    page.check("#evidence")
    until(page, "document.querySelector('#pictures .evidence').width > 0")
    page.click("#forget")
    assert page.is_visible("#choose") and label(page) == ""

def test_dropped_and_pasted_pictures_are_read_from_any_tab(open_page):
    page = open_page("draw")
    drop(page, "drop", ["a.webp", "b.webp"])
    page.wait_for_selector("#seen")
    drop(page, "paste", ["c.webp"])
    until(page, "document.querySelectorAll('.strip button').length === 3")
    assert page.get_attribute("#tab-pictures", "aria-selected") == "true"

def test_what_cannot_be_read_is_told_in_plain_words(open_page, hands, tmp_path):
    (tmp_path/"broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    page = open_page("pictures", may_fail=True)
    page.set_input_files("#files", [tmp_path/"broken.png", png(hands["L"], tmp_path/"L.png")])
    page.wait_for_selector("#notice")
    assert "cannot be read" in page.text_content("#notice p")
    page.click(".strip button:last-child")
    page.wait_for_selector("#seen")
    assert not page.is_visible("#notice"), "the next picture is read nevertheless"

def test_examples_are_read(open_page):
    page = open_page("pictures")
    page.click("#examples button[title='Read L']")
    settled(page, "L")
    page.select_option("#model", "bones")
    page.wait_for_selector("#examples .glyph")
    page.click("#examples button[title='Read field']")
    settled(page, "^field")


# ---- a server in trouble

def test_a_busy_server_is_asked_again_and_a_silent_one_is_told(open_page):
    page, answers = open_page("draw", may_fail=True), [503, 503]
    page.route("**/predict?*", lambda route: route.fulfill(status=answers.pop(), headers={"Retry-After": "1"}, body='{"error": "queue full"}')
               if answers else route.continue_())
    page.click("#glyphs button[title='Draw field']")
    page.wait_for_selector("#notice")
    assert "busy" in page.text_content("#notice p") and "queue full" in page.text_content("#notice p")
    settled(page, "^field")
    assert not page.is_visible("#notice")
    page.unroute("**/predict?*")
    page.route("**/predict?*", lambda route: route.abort())
    page.click("#glyphs button[title='Draw wood']")
    until(page, "document.querySelector('#notice p').textContent.includes('does not answer')")

def test_models_that_do_not_come_can_be_asked_for_again(chromium, url):
    page = chromium.new_page()
    page.route("**/models", lambda route: route.abort())
    page.goto(url)
    page.wait_for_selector("#retry")
    page.unroute("**/models")
    page.click("#retry")
    page.wait_for_selector("#model option", state="attached")
    assert not page.is_visible("#notice")
    page.close()

def altered(page, alter):
    "The page, told of other models."
    models = json.loads(page.evaluate("fetch('models').then(o => o.text())"))
    page.route("**/models", lambda route: route.fulfill(json=alter(models)))
    page.reload()

def test_a_server_without_characters_says_so(open_page):
    page = open_page()
    altered(page, lambda models: [o for o in models if o["kind"] == "photo"])
    page.click("#tab-draw")
    settled(page, "no model")

def test_how_often_a_model_is_right_stands_beside_its_answer(open_page):
    page, results = open_page(), {"own, block split": {"accuracy": 0.7, "n": 1370}, "desk, letters": {"accuracy": 0.312, "n": 780}}
    altered(page, lambda models: [o | {"results": results} for o in models])
    told = "Right in its own test: 70 % (own, block split; n\u00a0=\u00a01,370). On pictures by others: 31 % (desk, letters; n\u00a0=\u00a0780)."
    until(page, "o => document.querySelector('#honest').textContent === o", told)
    page.click("#help")
    assert told in page.text_content("#models")


# ---- keys, ears, small screens, darkness

def test_all_can_be_done_by_keys(open_page):
    page = open_page()
    focused = lambda: page.evaluate("document.activeElement.id")
    page.keyboard.press("Tab")
    assert focused() == "tab-camera"
    page.keyboard.press("ArrowRight")
    assert focused() == "tab-draw" and page.is_visible("#draw")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "what has the focus is seen"
    page.keyboard.press("End")
    assert page.is_visible("#pictures")
    page.keyboard.press("1")
    page.keyboard.press("p")
    page.wait_for_selector("#pause:enabled")
    page.keyboard.press("p")
    assert page.text_content("#pause") == "Go on"
    page.fill("#line", "2")
    page.keyboard.press("3")
    assert page.is_visible("#camera"), "keys act while no text is typed"
    page.keyboard.press("Tab")
    page.keyboard.press("?")
    assert page.is_visible("#about") and "hands" in page.text_content("#models")
    page.uncheck("#keys")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    assert page.is_visible("#camera"), "single keys can be switched off"
    page.click("#tab-draw")
    page.focus("#glyphs button")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#say').textContent.length > 0")  # and the answer is spoken

def test_everything_has_a_name(open_page):
    page = open_page()
    nameless = page.evaluate("""[...document.querySelectorAll("button, input:not([hidden]), select, img, video")].filter((o) =>
      !(o.textContent.trim() || o.ariaLabel || o.title || o.labels?.length || o.hasAttribute("alt"))).map((o) => o.outerHTML)""")
    assert nameless == []

@pytest.mark.parametrize("width", [320, 360, 768, 880])
def test_small_screens_hold_all(open_page, width):
    page = open_page(viewport={"width": width, "height": 740})
    for tab in ("camera", "draw", "pictures"):
        page.click(f"#tab-{tab}")
        if tab != "camera": page.locator(f"#{tab}-rest button").first.click()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        out = page.evaluate("""(w) => [...document.querySelectorAll("button, input, select, label, p")].filter((o) => o.checkVisibility() &&
          !o.closest(".hidden, .strip") && !o.matches(".hidden") && o.getBoundingClientRect().right > w).map((o) => o.outerHTML)""", width)
        assert out == []
    page.click("#help")
    assert page.locator("#about").bounding_box()["width"] <= width

def test_dark_by_wish_of_the_system_or_by_the_switch(open_page):
    page = open_page(color_scheme="dark")
    ground = lambda: sum(map(float, re.findall(r"[\d.]+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]))
    assert ground() < 120
    page.click("#theme")
    assert ground() > 600
    page.reload()
    assert ground() > 600, "the choice is kept"
