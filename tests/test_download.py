"Downloads over real sockets from a server that misbehaves, and archives that mean harm."
import hashlib
import io
import os
import random
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from signs_nbdev.core import DataError
from signs_nbdev.download import extract, fetch, git_blob_hash

CONTENT = random.Random(0).randbytes(300_000)
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
QUICK = dict(timeout=30, retries=2, wait=0.01)
IMPATIENT = {way: QUICK | dict(timeout=0.5) for way in ("silent", "stumbling")}  # where waiting is what is tested


class Handler(BaseHTTPRequestHandler):
    "Each path is a way to serve CONTENT; `server.asked` lists path and Range."
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass

    def do_GET(self):
        self.close_connection = True
        way, n = self.path.strip("/"), len(CONTENT)
        before = sum(o[0] == way for o in self.server.asked)
        edition = '"2"' if way == "changed" and before else '"1"'
        content = {"wrong": b"<html>Please log in</html>", "changed": CONTENT if before else bytes(n)}.get(way, CONTENT)
        if way == "shrunk" and not before: content = CONTENT + bytes(50_000)
        start = self.start(way, edition)
        self.server.asked.append((way, self.headers.get("Range")))
        if way == "absent": return self.send_error(404)
        if way == "busy" and before < 2: return self.send_error(503)
        if way == "silent" or way == "stumbling" and before == 0: return time.sleep(1.5)
        if start >= len(content): return self.send_error(416)
        self.send_response(206 if start else 200)
        if way != "untagged": self.send_header("ETag", edition)
        if way != "unmeasured": self.send_header("Content-Length", str(len(content) - start))
        if way == "encoded": self.send_header("Content-Encoding", "gzip")
        shift = 1 if way == "shifted" else 0
        if start: self.send_header("Content-Range", f"bytes {start + shift}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        few = {"cut": 130_000, "shifted": 130_000, "untagged": 130_000, "drip": 40_000}.get(way)
        if way in ("rangeless", "changed", "shrunk") and not before: few = 130_000
        if way == "hopeless": few = 100
        sent = content[start + shift:][:few]
        if way == "crawl":
            for i in range(0, len(sent), 10_000):
                self.wfile.write(sent[i:i + 10_000])
                time.sleep(0.05)
        else: self.wfile.write(sent)

    def start(self, way, edition):
        asked = self.headers.get("Range")
        if asked is None or way in ("rangeless", "hopeless"): return 0
        if way != "shrunk" and self.headers.get("If-Range") != edition: return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}"
    server.handle_error = lambda *_: None  # a client that hangs up
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()

def left(folder): return sorted(o.name for o in folder.iterdir() if not o.name.endswith(".lock"))


@pytest.mark.parametrize("way, ranges", [
    ("whole", [None]), ("encoded", [None]), ("unmeasured", [None]),
    ("busy", [None]*3), ("stumbling", [None]*2),
    ("cut", [None, "bytes=130000-", "bytes=260000-"]),
    ("drip", [None, *(f"bytes={i}-" for i in range(40_000, 300_000, 40_000))]),
    ("rangeless", [None, "bytes=130000-"]), ("changed", [None, "bytes=130000-"]),
])
def test_a_file_comes_whole_from_a_server_that(server, tmp_path, way, ranges):
    path = fetch(f"{server.url}/{way}", tmp_path/"a/file.gz", SHA, **IMPATIENT.get(way, QUICK))
    assert path.read_bytes() == CONTENT and left(path.parent) == ["file.gz"]
    assert [o[1] for o in server.asked] == ranges
    assert fetch(f"{server.url}/{way}", path, SHA) == path and len(server.asked) == len(ranges)

def test_a_file_that_shrank_while_it_was_broken_off_is_fetched_anew(server, tmp_path):
    "The server knows no If-Range: the length tells."
    assert fetch(f"{server.url}/shrunk", tmp_path/"f", SHA, **QUICK).read_bytes() == CONTENT

def test_git_hashes_and_no_hashes_are_taken(server, tmp_path):
    git = hashlib.sha1(b"blob 300000\0" + CONTENT).hexdigest()
    assert git_blob_hash(fetch(f"{server.url}/cut", tmp_path/"git", f"git:{git}", **QUICK)) == git
    assert fetch(f"{server.url}/cut", tmp_path/"none", **QUICK).read_bytes() == CONTENT
    assert oct((tmp_path/"none").stat().st_mode & 0o777) == "0o644"

@pytest.mark.parametrize("way, reason, asked", [
    ("absent", "404 Client Error", 1), ("silent", "imed out", 3), ("hopeless", "IncompleteRead", 3),
    ("shifted", "IncompleteRead", 3), ("untagged", "IncompleteRead", 3), ("wrong", "got sha256:", 1),
])
def test_an_error_names_address_cause_and_what_to_do(server, tmp_path, way, reason, asked):
    path, start = tmp_path/"file.gz", time.time()
    with pytest.raises(DataError) as e: fetch(f"{server.url}/{way}", path, SHA, **IMPATIENT.get(way, QUICK))
    assert f"{server.url}/{way} " in str(e.value) and reason in str(e.value) and len(str(e.value)) < 500
    assert f"save {server.url}/{way} as {path}" in str(e.value)
    assert not path.exists() and len(server.asked) == asked and time.time() - start < 5

def test_nothing_of_a_wrong_file_is_left(server, tmp_path):
    with pytest.raises(DataError, match="sends another file"): fetch(f"{server.url}/wrong", tmp_path/"f", SHA, **QUICK)
    assert [o for o in left(tmp_path) if not o.endswith(".json")] == []

def test_a_damaged_part_is_not_built_upon(server, tmp_path):
    (tmp_path/".f.part").write_bytes(bytes(100_000))
    (tmp_path/".f.json").write_text('{"total": 300000, "tag": "\\"1\\""}')
    assert fetch(f"{server.url}/whole", tmp_path/"f", SHA, **QUICK).read_bytes() == CONTENT
    assert [o[1] for o in server.asked] == ["bytes=100000-", None]

def test_without_a_connection(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}/f"
    with pytest.raises(DataError, match="ConnectionRefusedError"): fetch(url, tmp_path/"f", SHA, **QUICK)
    with pytest.raises(DataError, match="cannot be down"): fetch("http://no.such.invalid/f", tmp_path/"f", **QUICK)

def test_what_is_there_is_not_replaced(server, tmp_path):
    (tmp_path/"f").write_bytes(b"mine")
    with pytest.raises(DataError, match="f is not the file that was published: .*Remove it"):
        fetch(f"{server.url}/whole", tmp_path/"f", SHA, **QUICK)
    assert (tmp_path/"f").read_bytes() == b"mine" and not server.asked

DOWNLOAD = """
import sys
from signs_nbdev.download import fetch
fetch(*sys.argv[1:4], timeout=5, wait=0.01)
"""
def start(server, way, path):
    return subprocess.Popen([sys.executable, "-c", DOWNLOAD, f"{server.url}/{way}", path, SHA], stderr=subprocess.PIPE)

def test_a_killed_download_goes_on(server, tmp_path):
    process, part = start(server, "crawl", tmp_path/"f"), tmp_path/".f.part"
    while not part.exists() or part.stat().st_size < 65536:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = part.stat().st_size
    assert left(tmp_path)[:2] == [".f.json", ".f.part"] and 0 < kept < 300_000
    assert fetch(f"{server.url}/crawl", tmp_path/"f", SHA).read_bytes() == CONTENT
    assert server.asked == [("crawl", None), ("crawl", f"bytes={kept}-")]

def test_two_processes_share_one_download(server, tmp_path):
    processes = [start(server, "crawl", tmp_path/"f") for _ in range(2)]
    for o in processes: assert o.wait(60) == 0, o.stderr.read()
    assert (tmp_path/"f").read_bytes() == CONTENT and len(server.asked) == 1

def test_no_room(server, tmp_path):
    "No file may grow beyond 100 kB."
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n{DOWNLOAD}"
    done = subprocess.run([sys.executable, "-c", code, f"{server.url}/whole", tmp_path/"f", SHA], capture_output=True,
        text=True)
    assert "f cannot be written: got [Errno 27] File too large; wanted 300,000 bytes there" in done.stderr
    assert not (tmp_path/"f").exists()


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc" if kind == tarfile.SYMTYPE else "a"
            info.mode = 0o4777
            tar.addfile(info, io.BytesIO(content))
    return path

def write_zip(path, members):
    modes = {tarfile.REGTYPE: stat.S_IFREG, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.LNKTYPE: stat.S_IFLNK,
        tarfile.FIFOTYPE: stat.S_IFIFO, tarfile.CHRTYPE: stat.S_IFCHR, tarfile.DIRTYPE: stat.S_IFDIR}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, kind in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes[kind] | 0o4777) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return path

WRITERS = dict(tar=write_tar, zip=write_zip)
PLAIN, GOOD = tarfile.REGTYPE, ("a", b"pixels", tarfile.REGTYPE)

@pytest.mark.parametrize("form", WRITERS)
def test_an_archive_comes_out_as_it_went_in(tmp_path, form):
    rng = random.Random(0)
    for n in (0, 1, 20):
        names = ["/".join([*rng.choices("xyz", k=rng.randrange(3)), f"{i}.bmp"]) for i in range(n)]
        files = {o: rng.randbytes(rng.randrange(5000)) for o in names}
        archive = WRITERS[form](tmp_path/f"{n}.{form}", [(k, v, PLAIN) for k, v in files.items()])
        out = extract(archive, tmp_path/f"out{n}")
        assert {o.relative_to(out).as_posix(): o.read_bytes() for o in out.rglob("*") if o.is_file()} == files
        assert not any(o.stat().st_mode & 0o7022 for o in out.rglob("*.bmp"))  # no mode of the archive's

@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("members, told", [
    ([("../b", b"", PLAIN)], "'../b' leads out"), ([("c/../../b", b"", PLAIN)], "leads out"),
    ([("/tmp/b", b"", PLAIN)], "leads out"), ([("C:/b", b"", PLAIN)], "leads out"),
    ([("..\\b", b"", PLAIN)], "leads out"),
    ([("out", b"/etc", tarfile.SYMTYPE), ("out/b", b"", PLAIN)], "out is a link or device"),
    ([("b", b"", tarfile.LNKTYPE)], "b is a link"), ([("b", b"", tarfile.FIFOTYPE)], "b is a link or device"),
    ([("b", b"", tarfile.CHRTYPE)], "b is a link or device"),
    ([("b", bytes(3_000_000), PLAIN)], "b makes it too large"),
    ([(f"c/{i}", b"", PLAIN) for i in range(300)], "makes it too large"),
    ([GOOD], "a is there twice"),
], ids=lambda o: o if isinstance(o, str) else "")
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_archive_leaves_nothing(tmp_path, form, members, told):
    archive = WRITERS[form](tmp_path/f"bad.{form}", [GOOD, *members])
    (tmp_path/"in").mkdir()
    with pytest.raises(DataError, match=f"bad.{form}: .*{told}"): extract(archive, tmp_path/"in/out", limit=1e6)
    assert left(tmp_path/"in") == [] and left(tmp_path) == [f"bad.{form}", "in"]

@pytest.mark.parametrize("form", WRITERS)
def test_a_damaged_archive_is_named_with_its_member(tmp_path, form):
    archive = WRITERS[form](tmp_path/f"bad.{form}", [GOOD, ("b/noise", CONTENT, PLAIN)])
    whole = archive.read_bytes()
    middle = len(whole)//2
    archive.write_bytes(whole[:middle] + bytes(2000) + whole[middle + 2000:])
    with pytest.raises(DataError, match=f"bad.{form}: (b/noise|its list of members) cannot be unpacked"):
        extract(archive, tmp_path/"out")
    archive.write_bytes(whole[:middle])
    with pytest.raises(DataError, match=f"bad.{form}"): extract(archive, tmp_path/"out")
    archive.write_bytes(whole)
    assert (extract(archive, tmp_path/"out")/"b/noise").read_bytes() == CONTENT  # a failed call is made again

def test_an_encrypted_zip_is_refused_by_name(tmp_path):
    path = write_zip(tmp_path/"locked.zip", [("secret", b"pixels", PLAIN)])
    raw = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)): raw[raw.find(mark) + at] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="locked.zip: secret cannot be unpacked: got .*encrypted"):
        extract(path, tmp_path/"out")

def test_a_killed_extraction_is_made_anew(tmp_path):
    archive = write_tar(tmp_path/"a.tar.gz", [(f"{i}", CONTENT, PLAIN) for i in range(60)])
    code = f"from signs_nbdev.download import extract; extract({str(archive)!r}, {str(tmp_path/'out')!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path/".out.part").exists() or len(os.listdir(tmp_path/".out.part")) < 3: time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (tmp_path/"out").exists()
    assert len(list(extract(archive, tmp_path/"out").iterdir())) == 60 and left(tmp_path) == ["a.tar.gz", "out"]
