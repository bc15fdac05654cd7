"Oracle-MNIST in its published size, trained by the command of the page: glyphs drawn here stand in for the scans."
import gzip
import json
import os
import sys

import numpy as np
import pytest
import torch

from conftest import BIN, ROOT, run
from signs_nbdev.download import git_blob_hash
from signs_nbdev.models import load_model
from signs_nbdev.oracle import ORACLE_FILES, oracle_mnist

TRAIN, TEST = 27_222, 3_000

def write_idx(path, array):
    head = (0x800 + array.ndim).to_bytes(4, "big") + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes(), 1))

@pytest.fixture(scope="module")
def published(tmp_path_factory):
    "Four files of the published sizes, and a kernel that takes their checksums for the published ones."
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (folder := root/"oracle_mnist").mkdir()
    glyphs = np.kron(rng.random((10, 6, 6)) < 0.4, np.ones((4, 4)))*160  # coarse strokes, 24 of 28 px
    for part, n in (("train", TRAIN), ("t10k", TEST)):
        labels, place = rng.permutation(np.arange(n) % 10), rng.integers(0, 5, (n, 2))
        images = rng.integers(0, 90, (n, 28, 28), np.uint8)
        for y, x in np.ndindex(5, 5):
            here = np.flatnonzero((place == (y, x)).all(1))
            images[here, y:y + 24, x:x + 24] += glyphs[labels[here]].astype(np.uint8)
        write_idx(folder/f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder/f"{part}-labels-idx1-ubyte.gz", labels)
    files = {o: [size, f"git:{git_blob_hash(folder/o)}"] for o, (size, _) in ORACLE_FILES.items()}
    (spec := root/"kernels/drawn").mkdir(parents=True)
    (spec/"kernel.py").write_text(
        "from ipykernel.kernelapp import launch_new_instance\nfrom signs_nbdev.oracle import ORACLE_FILES\n"
        f"ORACLE_FILES.update({files!r})\nlaunch_new_instance()\n")
    (spec/"kernel.json").write_text(json.dumps(dict(
        argv=[sys.executable, str(spec/"kernel.py"), "-f", "{connection_file}"], display_name="drawn", language="python")))
    return root, files

def test_official_split_is_trained_by_one_line(published, tmp_path, monkeypatch):
    root, files = published
    monkeypatch.setenv("JUPYTER_PATH", str(root))
    monkeypatch.setenv("SIGNS_DATA", str(root))
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    cells = ["".join(o["source"]) for o in json.loads((ROOT/"nbs/01f_oracle.ipynb").read_text())["cells"]]
    line, = (o.partition("```sh\n")[2].partition("\n```")[0] for o in cells if "papermill nbs/04_train.ipynb" in o)
    out, quick = tmp_path/"run", "-p arch signnet_tiny -p epochs 1 -p device cpu --no-progress-bar -k drawn"
    result = run("sh", "-c", f"{line.replace('runs/oracle', str(out))} {quick}", cwd=ROOT)
    assert result.returncode == 0, result.stdout[-3000:]
    metrics, made = (json.loads((out/o).read_text()) for o in ("metrics.json", "provenance.json"))
    assert metrics["split"] == made["split"]["kind"] == "official" and not metrics["leaky"] and not metrics["notes"]
    assert metrics["test"]["n"] == TEST and metrics["train"]["n"] + metrics["valid"]["n"] == TRAIN
    assert abs(metrics["valid"]["n"]/TRAIN - 0.1) < 0.001 and made["data"]["pictures"] == TRAIN + TEST
    assert metrics["test"]["accuracy"] > 0.9  # chance is 0.1
    data = oracle_mnist(root, files=files)
    model, tested = load_model(out), data.part == 1
    right = model.predict(data.images[tested]).argmax(1) == data.labels[tested]
    assert int(right.sum()) == metrics["test"]["correct"]

def test_official_split_is_the_usual_one_where_both_parts_are_there(published):
    root, files = published
    data = oracle_mnist(root, files=files)
    split = data.split(data.usual_split)
    assert split.kind == "official" and torch.equal(data.part[split.test], torch.ones(TEST, dtype=torch.int64))
