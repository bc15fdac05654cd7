"Every source over its layouts: folder and zip alike, names that tell, downloads, caches, and what is broken."
import gzip
import inspect
import io
import os
import random
import re
import shutil
import sys
import tarfile
import threading
import time
import types
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from signs_nbdev import sources
from signs_nbdev.core import ASL_CLASSES, ORACLE_CLASSES, ConfigError, DataError
from signs_nbdev.download import git_blob_hash
from signs_nbdev.oracle import ORACLE_FILES
from signs_nbdev.sessions import hands_data, hands_wide
from signs_nbdev.sources import SOURCES, catalogue, load, natural, pictures_in, tell

MODES = ("1", "L", "P", "RGB", "RGBA", "I;16", "LA")


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    "Nothing is kept in, or taken from, the user's own folders."
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    monkeypatch.setenv("SIGNS_CACHE", str(tmp_path/"decoded"))
    return tmp_path/"cache/signs_nbdev"

def picture(rng, form="JPEG", mode="RGB", least=1, most=40):
    w, h = rng.integers(least, most, 2)
    pixels = rng.integers(0, 65536 if mode == "I;16" else 256, (h, w, 3))
    image = Image.fromarray(pixels[..., 0].astype(np.uint16)) if mode == "I;16" else \
        Image.fromarray(pixels.astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()

def write(root, files):
    for name, content in files.items():
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        (root/name).write_bytes(content)
    return root

def zipped(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in files.items(): file.writestr(name, content)
    return path

def same(a, b):
    assert a.hash == b.hash and a.files == b.files and a.group_names == b.group_names and a.notes == b.notes
    for o in ("groups", "frames", "part"): assert getattr(a, o) is None or torch.equal(getattr(a, o), getattr(b, o))
    return a

def kaggle(rng, numbers=(1, 2, 1000, 1001, 2000, 2001, 2500, 2501, 3000)):
    train, test = ("asl_alphabet_train/"*2, "asl_alphabet_test/"*2)
    train = {f"{train}{c}/{c}{i}.jpg": picture(rng) for c in ASL_CLASSES for i in numbers}
    test = {f"{test}{c}_test.jpg": picture(rng) for c in ASL_CLASSES if c != "del"}
    return train | test


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_asl_alphabet_from_a_zip_is_that_from_its_folder(tmp_path, compression):
    files = kaggle(np.random.default_rng(0))
    (tmp_path/"data").mkdir()
    archive = zipped(tmp_path/"data/archive.zip", files, compression)
    data = same(load("asl_alphabet", write(tmp_path/"asl_alphabet", files), 8), load("asl_alphabet", archive, 8))
    same(data, load("asl_alphabet", tmp_path/"data", 8))  # the folder that holds the zip
    same(data, load("asl_alphabet", tmp_path, 8))         # the parent of the data set's folder
    assert len(data) == 29*9 + 28 and data.usual_split == "block"
    for i in range(4): assert (data.groups == i).sum() == 29*(3, 2, 2, 2)[i] + 28*(i == 0)
    assert data.split("official", valid=0.4).leaky and not data.split("block", valid=0.4).leaky
    assert [data.classes[o] for o in data.labels[:29*9:9]] == list(ASL_CLASSES)

@pytest.mark.parametrize("wrong, told", [
    ({"asl_alphabet_train/AA/AA1.jpg": b""}, "unknown class of asl_alphabet 'AA'"),
    ({"asl_alphabet_train/A/selfie.jpg": b""}, "A/selfie.jpg"),
    ({"asl_alphabet_train/A/A3001.jpg": b""}, "got 3001; wanted at most 3000"),
    ({"asl_alphabet_test/photo.jpg": b""}, "asl_alphabet_test/photo.jpg"),
])
def test_what_is_no_asl_alphabet_is_said(tmp_path, wrong, told):
    files = kaggle(np.random.default_rng(0), (1,)) | wrong
    for root in (write(tmp_path/"asl_alphabet", files), zipped(tmp_path/"archive.zip", files)):
        with pytest.raises(DataError, match=told): load("asl_alphabet", root, 8)

def test_kaggle_is_asked_only_on_demand(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGNS_DATA", str(tmp_path))
    asked = []
    def dataset_download(handle):
        asked.append(handle)
        return str(write(tmp_path/"from_kaggle", kaggle(np.random.default_rng(0), (1,))))
    monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(dataset_download=dataset_download))
    with pytest.raises(DataError, match="no folder for asl_alphabet.*1,100 MB with a Kaggle account, download=True"):
        load("asl_alphabet")
    assert len(load("asl_alphabet", size=8, download=True)) == 57 and asked == ["grassknoted/asl-alphabet/versions/1"]
    shutil.move(tmp_path/"from_kaggle", tmp_path/"asl_alphabet")
    assert len(load("asl_alphabet", size=8, download=True)) == 57 and len(asked) == 1

@pytest.mark.parametrize("how, told", [
    (None, r"kagglehub.*not installed.*pip install 'signs_nbdev\[kaggle\]'"),
    (ConnectionError("offline"), "got ConnectionError: offline.*KAGGLE_API_TOKEN"),
])
def test_without_kaggle_the_way_by_hand_is_told(tmp_path, monkeypatch, how, told):
    def dataset_download(handle): raise how
    module = how and types.SimpleNamespace(dataset_download=dataset_download)
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    monkeypatch.setenv("SIGNS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=told) as e: load("asl_alphabet", download=True)
    assert f"put it, as it is, into {tmp_path}/asl_alphabet" in str(e.value)


def test_natural_order_is_that_of_numbers():
    rng = random.Random(0)
    for _ in range(20):
        names = [f"{rng.choice('ab')}{i}" for i in rng.sample(range(3000), 50)]
        assert sorted(names, key=natural) == sorted(names, key=lambda o: (o[0], int(o[1:])))

def test_any_layout_of_class_folders_is_read_from_folder_and_zip(tmp_path):
    rng = np.random.default_rng(0)
    flat = {f"{c}/{i}.png": picture(rng, "PNG", MODES[i % 7]) for c in ("x", "y2", "y10") for i in range(7)}
    parts = {f"{p}/{o}": content for p in ("train", "test") for o, content in flat.items()}
    junk = {"__MACOSX/x/._1.png": b"?", ".git/x/1.png": b"?", "x/readme.txt": b"?"}
    for i, base in enumerate(("", "mine/", "a/b/")):
        for files in (flat, parts):
            laid = {base + k: v for k, v in (files | junk).items()}
            place = write(tmp_path/f"{i}{len(files)}"/"set", laid)
            data = same(load("folder", place, 8), load("folder", zipped(place.with_suffix(".zip"), laid), 8))
            assert (data.classes, len(data), data.name, data.notes) == (("x", "y2", "y10"), len(files), "set", [])
            assert data.usual_split == ("official" if files is parts else "random")
            if files is parts: assert data.part.tolist() == [0]*21 + [1]*21
    assert load("folder", zipped(tmp_path/"one.zip", {k: v for k, v in flat.items() if k[0] == "x"})).classes == ("x",)
    deep = {f"{c}/{s}/{i}.png": flat["x/1.png"] for c in "ab" for s in ("maria", "tom") for i in range(2)}
    data = load("folder", zipped(tmp_path/"deep.zip", deep), 8, pattern=r"^./(?P<group>\w+)/(?P<frame>\d+)$")
    assert data.classes == ("a", "b") and data.group_names == ("maria", "tom") and data.usual_split == "group"

def test_a_pattern_finds_what_names_were_made_of(tmp_path):
    rng, content = random.Random(0), picture(np.random.default_rng(0))
    for n in range(5):
        signers, numbers = ("tom", "maria", "li wei", "x.y"), rng.sample(range(9999), 20)
        told = [(rng.choice("AB"), rng.choice(signers), i) for i in numbers]
        told += [("A", "tom", 10_000), ("B", "tom", 10_001)]
        files = {f"{c}/{g}_{f:0{n}d}.jpg": content for c, g, f in told}
        root, pattern = write(tmp_path/str(n), files), r"(?P<group>[^/]+)_(?P<frame>\d+)"
        data = load("folder", root, 8, pattern=pattern, train_groups=["tom"])
        groups = [data.group_names[o] for o in data.groups]
        read = zip((data.classes[o] for o in data.labels), groups, data.frames.tolist())
        assert sorted(read) == sorted(told) and data.usual_split == "block"
        assert set(groups[i] for i in data.split("block", valid=0.4).train) == {"tom"}

@pytest.mark.parametrize("pattern, error, told", [
    (r"(?P<frame>\d+)_", DataError, "3 of 3 names .*got A/a_1.jpg, A/b_2.jpg, B/c_x.jpg"),
    (r"_(?P<frame>.+)", DataError, "1 of 3 names .*got B/c_x.jpg; .*its frame a number"),
    (r"(?P<group>z)?", DataError, "3 of 3"), ("(", ConfigError, "regular expression"),
    (r"(\d+)", ConfigError, "wanted a part such as"), (r"(?P<fame>\d+)", ConfigError, "Did you mean 'frame'"),
])
def test_a_pattern_that_does_not_fit_is_said(pattern, error, told):
    with pytest.raises(error, match=told): tell(["A/a_1.jpg", "A/b_2.jpg", "B/c_x.jpg"], pattern)

@pytest.mark.parametrize("option, told", [
    (dict(patern="x"), "Did you mean 'pattern'"), (dict(negation="maybe", kind="scan", channels=1), "negation"),
    (dict(negation="otsu"), "rule for a photo"), (dict(bad="drop"), "wanted one of refuse, skip"),
    (dict(train_groups=["li"]), "train_groups, but no groups: wanted a pattern"),
    (dict(train_groups=["li"], pattern="(?P<group>.)"), "unknown group 'li'"),
])
def test_a_wrong_option_is_said_before_any_work(tmp_path, option, told):
    write(tmp_path/"set", {"A/1.jpg": b"not even a picture", "B/1.jpg": b""})
    with pytest.raises(ConfigError, match=told): load("folder", tmp_path/"set", 8, **option)

def test_broken_pictures_are_named_or_skipped(tmp_path):
    rng = np.random.default_rng(0)
    good = {f"{c}/{i}.jpg": picture(rng) for c in "ab" for i in range(9)}
    files = good | {"a/empty.jpg": b"", "b/cut.jpg": good["b/1.jpg"][:90], "b/text.jpg": b"<html>"}
    for root in (write(tmp_path/"set", files), zipped(tmp_path/"set.zip", files)):
        with pytest.raises(DataError, match="3 of 21 pictures cannot be read") as e: load("folder", root, 8)
        for o in ("a/empty.jpg", "b/cut.jpg", "b/text.jpg", str(root)): assert o in str(e.value)
        data = load("folder", root, 8, bad="skip")
        assert data.skipped == ["a/empty.jpg", "b/cut.jpg", "b/text.jpg"] and data.files == sorted(good)
    many = zipped(tmp_path/"many.zip", {f"a/{i}.jpg": b"?" for i in range(50)})
    with pytest.raises(DataError) as e: load("folder", many, 8, bad="skip")
    assert str(e.value).count("is not a readable picture") == 10

@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name themselves")
def test_a_name_may_be_in_any_script_but_not_in_no_encoding(tmp_path):
    content = picture(np.random.default_rng(0))
    root = write(tmp_path/"Zeichen für 手", {"ä b/漢\u202f1.jpg": content})
    assert load("folder", root, 8).files == ["ä b/漢\u202f1.jpg"]
    write(root, {os.fsdecode(b"caf\xe9/1.jpg"): content})
    with pytest.raises(DataError, match=r"not UTF-8, .*got 'caf\\udce9/1.jpg'"): load("folder", root, 8)

def test_a_damaged_or_locked_zip_names_its_member(tmp_path):
    rng = np.random.default_rng(0)
    path = zipped(tmp_path/"set.zip", {f"{c}/1.png": picture(rng, "PNG", least=30) for c in "ab"}, zipfile.ZIP_STORED)
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"damaged!" + whole[208:])
    with pytest.raises(DataError, match="(?s)a/1.png in .*set.zip cannot be read: got Bad"): load("folder", path, 8)
    assert load("folder", path, 8, bad="skip").skipped == ["a/1.png"]
    locked = bytearray(whole)
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)): locked[locked.find(mark) + at] |= 1
    path.write_bytes(locked)
    with pytest.raises(DataError, match=r"(?s)a/1.png in .*encrypted"): load("folder", path, 8)
    path.write_bytes(whole[:-30])
    with pytest.raises(DataError, match="neither a folder nor a whole zip"): load("folder", path, 8)

def test_decoded_pictures_are_kept_until_they_change(tmp_path, monkeypatch):
    rng, prepared, prepare = np.random.default_rng(0), [], sources.prepare
    def spy(*args, **kwargs):
        prepared.append(1)
        return prepare(*args, **kwargs)
    monkeypatch.setattr(sources, "prepare", spy)
    contents = [picture(rng, most=9) for _ in range(20)]
    root = write(tmp_path/"set", {f"{c}/{i}.jpg": contents[i % 20] for c in "ab" for i in range(1000)})
    load_it = lambda **more: (prepared.clear(), load("folder", root, 4, **more), len(prepared))[1:]
    first, n = load_it()
    assert n == 2000
    again, n = load_it()
    assert n == 0 and again.hash == first.hash
    assert load_it(channels=1)[1] == load_it(interpolation="box")[1] == load_it(cache=False)[1] == 2000
    write(root, {"a/7.jpg": contents[8] + b" ", "b/new.jpg": contents[0]})
    changed, n = load_it()
    assert n == 2 and len(changed) == 2001 and torch.equal(changed.images[7], first.images[8])


def write_oracle(folder, rng, **count):
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in count.items():
        for kind, a in (("images-idx3", rng.integers(0, 256, (n, 28, 28))), ("labels-idx1", np.arange(n) % 10)):
            head = (0x800 + a.ndim).to_bytes(4, "big") + np.array(a.shape, ">u4").tobytes()
            (folder/f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + a.astype(np.uint8).tobytes(), mtime=0))
    return folder

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): self.server.asked.append(self.path[1:])

@pytest.fixture
def published(tmp_path):
    "Oracle-MNIST in small on a server; options for `load`."
    folder = write_oracle(tmp_path/"published", np.random.default_rng(0), train=50, t10k=20)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    files = {o: ("1 kB", f"git:{git_blob_hash(folder/o)}") for o in ORACLE_FILES}
    yield types.SimpleNamespace(server=server, folder=folder,
        options=dict(url=f"http://127.0.0.1:{server.server_port}/", files=files))
    server.shutdown()
    server.server_close()

TEST_PART = [o for o in ORACLE_FILES if o.startswith("t10k")]

@pytest.mark.parametrize("there, download, asked, n", [
    ([], None, 4, 70), ([], True, 4, 70), ([], False, 0, None),
    (TEST_PART, None, 0, 20), (TEST_PART, True, 2, 70), (TEST_PART, False, 0, 20),
    (TEST_PART[:1], None, 3, 70), (TEST_PART[:1], False, 0, None), ([*ORACLE_FILES], True, 0, 70),
])
def test_oracle_is_downloaded_only_where_it_must(tmp_path, published, there, download, asked, n):
    (tmp_path/"data/oracle_mnist").mkdir(parents=True)
    for o in there: shutil.copy(published.folder/o, tmp_path/"data/oracle_mnist")
    get = lambda: load("oracle_mnist", tmp_path/"data", download=download, **published.options)
    if n is None:
        with pytest.raises(DataError, match="no part of Oracle-MNIST is whole.*download=True"): get()
    else:
        data = get()
        assert len(data) == n and data.usual_split == ("official" if n == 70 else "kfold")
        assert len(data.notes) == (0 if n == 70 else 3)
    assert len(published.server.asked) == asked

def test_oracle_in_a_folder_that_is_read_only_is_completed_in_the_cache(tmp_path, published, caches, monkeypatch):
    own = tmp_path/"readonly/oracle_mnist"
    own.mkdir(parents=True)
    for o in TEST_PART: shutil.copy(published.folder/o, own)
    access, locked = os.access, str(own.parent)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(locked) and access(path, mode))
    monkeypatch.setenv("SIGNS_DATA", str(own.parent))
    assert len(load("oracle_mnist", **published.options)) == 20
    data = load("oracle_mnist", download=True, **published.options)
    assert len(data) == 70 and sorted(o.name for o in own.iterdir()) == sorted(TEST_PART)
    assert {o.name for o in (caches/"oracle_mnist").glob("*.gz")} == {*ORACLE_FILES} - {*TEST_PART}
    same(data, load("oracle_mnist", **published.options))
    same(data, load("oracle_mnist", own, **published.options))

def test_oracle_says_what_is_wrong(tmp_path, published, monkeypatch):
    monkeypatch.setattr("signs_nbdev.download.time.sleep", lambda seconds: None)
    path = published.folder/"t10k-labels-idx1-ubyte.gz"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"x", b""):
        path.write_bytes(damaged)
        for download in (None, True, False):
            with pytest.raises(DataError, match="t10k-labels-idx1-ubyte.gz is not the file that was published"):
                load("oracle_mnist", published.folder, download=download, **published.options)
    path.write_bytes(whole)
    (tmp_path/"new").mkdir()
    offline = published.options | dict(url="http://127.0.0.1:9/")
    with pytest.raises(DataError) as e: load("oracle_mnist", tmp_path/"new", **offline)
    for o in ("http://127.0.0.1:9/", "ConnectionRefused", f"as {tmp_path}/new/oracle_mnist/"): assert o in str(e.value)
    with pytest.raises(DataError, match="no folder for oracle"): load("oracle_mnist", tmp_path/"absent", download=True)

def test_raw_scans_of_any_kind_are_read_from_folder_zip_and_tar(tmp_path, caches, monkeypatch):
    rng, files = np.random.default_rng(0), {}
    for i in range(60):
        part, c = ("train", "test")[i % 3 == 2], i % 10
        files[f"oracle-mnist-origin/{part}/{c}/{i}.bmp"] = picture(rng, "BMP", ("1", "L", "P", "RGB")[i % 4], most=200)
    data = load("oracle_raw", write(tmp_path/"data/oracle_raw", files))
    assert data.images.shape == (60, 28, 28, 1) and data.classes == ORACLE_CLASSES and data.name == "oracle_raw"
    assert data.part.sum() == 20 and data.usual_split == "official"
    assert [data.labels[i].item() for i in range(60)] == [int(Path(o).parent.name) for o in data.files]
    same(data, load("oracle_raw", zipped(tmp_path/"raw.zip", files)))
    with tarfile.open(tmp_path/"raw.tar.gz", "w:gz") as tar: tar.add(tmp_path/"data/oracle_raw", ".")
    same(data, load("oracle_raw", tmp_path/"raw.tar.gz"))
    [unpacked] = (o for o in (caches/"unpacked").iterdir() if o.is_dir())
    before = unpacked.stat().st_mtime_ns
    same(data, load("oracle_raw", tmp_path/"raw.tar.gz"))
    assert unpacked.stat().st_mtime_ns == before
    monkeypatch.setenv("SIGNS_DATA", str(tmp_path/"data"))
    same(data, load("oracle_raw"))
    rename = lambda o: re.sub(r"/(\d)/", lambda match: f"/{ORACLE_CLASSES[int(match[1])]}/", o)
    names = {rename(o): content for o, content in files.items()}
    named = load("oracle_raw", zipped(tmp_path/"named.zip", names))
    assert torch.equal(named.labels.sort().values, data.labels.sort().values)
    other = load("oracle_raw", negation="never")
    assert other.hash != data.hash
    with pytest.raises(DataError, match="unknown class of oracle_raw '10'"):
        load("oracle_raw", zipped(tmp_path/"ten.zip", {"train/10/a.bmp": files["oracle-mnist-origin/train/0/0.bmp"],
                                                       "test/0/a.bmp": b""}), bad="skip")

def test_a_raw_archive_that_leads_out_is_refused(tmp_path):
    with tarfile.open(tmp_path/"raw.tar", "w") as tar: tar.addfile(tarfile.TarInfo("../../train/0/a.bmp"))
    with pytest.raises(DataError, match="raw.tar: .*leads out of the folder"): load("oracle_raw", tmp_path/"raw.tar")
    zipped(tmp_path/"raw.zip", {"../train/0/a.bmp": b""})
    with pytest.raises(DataError, match="raw.zip cannot be listed.*leads out"): load("oracle_raw", tmp_path/"raw.zip")


def test_the_catalogue_tells_what_a_user_asks():
    names = ["hands", "hands_wide", "folder", "asl_alphabet", "oracle_mnist", "oracle_raw"]
    assert [*SOURCES] == [o.name for o in catalogue()] == names
    for o in catalogue():
        assert o.licence and o.about
        if o.url.startswith("https"): assert o.citation and o.pictures and o.classes and o.download != "-"
    for name, draw in (("hands", hands_data), ("hands_wide", hands_wide)):
        drawn = {o.name: o.default for o in inspect.signature(draw).parameters.values()}
        assert SOURCES[name].pictures == drawn["sessions"]*drawn["frames"]*SOURCES[name].classes
    table = catalogue()._repr_markdown_()
    for o in ("87,028", "GPL-2.0", "10.1038/s41597-024-02933-w", "| 29 |"): assert o in table


def test_published_oracle_files_are_as_stated_and_load_in_a_second(signs_data):
    for o in (signs_data/"oracle_mnist").glob("*.gz"):
        kind, wanted = ORACLE_FILES[o.name][1].split(":")
        if kind == "git": assert git_blob_hash(o) == wanted
    load("oracle_mnist", signs_data)
    start = time.time()
    data = load("oracle_mnist", signs_data)
    assert time.time() - start < 1
    assert data.part.sum() == 3000 and data.labels[data.part == 1].bincount().tolist() == [300]*10

def test_the_real_recording_is_read_as_it_lies(signs_data, tmp_path):
    pictures = pictures_in(signs_data/"asl_alphabet")
    assert len(pictures.names) == 17_075
    chosen = {f"{c}{i}.jpg" for c in "AZ" for i in range(900, 1100)}
    files = {o: pictures.read(o) for o in pictures.names if o.rpartition("/")[2] in chosen}
    data = load("asl_alphabet", write(tmp_path/"asl_alphabet", files), 32)
    same(data, load("asl_alphabet", zipped(tmp_path/"a.zip", files), 32))
    assert data.group_names[0] == "frames 1-1000" and {*data.groups.tolist()} == {0, 1}
    assert [*data.frames[:3]] == sorted(data.frames[:3])
    assert len(pictures_in(signs_data/"asl_external/desk").names) == 870
