import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def run(*command, **kwargs):
    "Runs to the end without standard input; what it printed is in `.stdout`, errors and all."
    return subprocess.run([str(o) for o in command], **dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=900) | kwargs)

@pytest.fixture(scope="session")
def signs_data():
    "The folder of real data."
    if not os.environ.get("SIGNS_DATA"): pytest.skip("SIGNS_DATA is not set, so there are no real pictures to test on")
    path = Path(os.environ["SIGNS_DATA"])
    assert path.is_dir(), f"SIGNS_DATA={path} is no folder"
    return path

@pytest.fixture(scope="session")
def three_classes(tmp_path_factory):
    "A folder of three classes of 40, 40 and 25 pictures of 16 px."
    place, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for k, name in enumerate("abc"):
        (place/name).mkdir()
        for i in range(40 if k < 2 else 25):
            pixels = rng.integers(0, 120, (16, 16, 3)) + 60*k
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place/name/f"{i}.png")
    return str(place)

@contextmanager
def started(log, *command):
    """Starts a server, to whose command its port is added; yields process and port once it is ready. All that it says is
    in the file `log`. At the end it must stop as asked."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with open(log, "wb") as file: process = subprocess.Popen([*map(str, command), str(port)], stdout=file, stderr=file, cwd=ROOT)
    end = time.monotonic() + 60
    try:
        while True:
            try: urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"); break
            except OSError: time.sleep(0.05)
            assert process.poll() is None and time.monotonic() < end, log.read_text()
        yield process, port
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally: process.kill()

@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    "Starts `signs serve` with such words, and gives its address when it is ready; stops it at the end."
    with ExitStack() as stack:
        def serving(*words):
            log = tmp_path_factory.mktemp("serve")/"log"
            return f"http://localhost:{stack.enter_context(started(log, BIN/'signs', 'serve', *words, '--port'))[1]}/"
        yield serving

@pytest.fixture
def tree(tmp_path):
    "A copy of the project as a fresh clone has it, without what git ignores."
    ignored = [o.rstrip("/") for o in (ROOT/".gitignore").read_text().split()]
    return shutil.copytree(ROOT, tmp_path/"signs", symlinks=True, ignore=shutil.ignore_patterns(".git", *ignored))
