"""The decode cache at full size: 87,000 JPEG photos of 200 px to one array of 128 px, 4.3 GB.

    .venv/bin/python benchmarks/cache.py            # 87,000 photos: about 1 GB of files and 4.3 GB of array, then removed
    .venv/bin/python benchmarks/cache.py 5000       # fewer, to try it

Generates the photos (Kaggle's layout: 29 class folders), then builds the cache in a process of its own and reads how
much memory that process held at most, above and below what it needs for its imports. Then the build is killed half-way,
started again, and the opening of the whole cache is timed. The peer is the plain way of the same work, Pillow in threads
into one array in memory, on the first 5,000 photos, in the same run.
The last line is JSON: {"photos", "photos_per_s", "vs_pillow", "peak_mb", "array_mb", "resumed_at", "open_s"}."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import numpy as np
from PIL import Image

from signs_nbdev.core import ASL_CLASSES, read_json
from signs_nbdev.sources import load

SIZE, PEERS = 128, 5000


def photo(i: int) -> Image.Image:
    "Smooth coloured noise with some grain: about 8 kB as JPEG, like a frame of the ASL Alphabet"
    rng = np.random.default_rng(i)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((200, 200), Image.Resampling.BICUBIC)
    return Image.fromarray((np.asarray(smooth)*0.9 + rng.integers(0, 16, (200, 200, 1))).astype(np.uint8))

def write_photos(root: Path, count: int):
    "The first so many photos, class after class, frame after frame"
    for name in ASL_CLASSES: (root/name).mkdir(parents=True)
    def write(i: int):
        name = ASL_CLASSES[i % len(ASL_CLASSES)]
        photo(i % 500).save(root/name/f"{name}{i//len(ASL_CLASSES) + 1}.jpg", quality=90)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write, range(count)): pass

def memory(of: str) -> float:
    "VmRSS (now) or VmHWM (at most) of this process, in MB, as Linux counts them"
    [kilobytes] = [o.split()[1] for o in Path("/proc/self/status").read_text().splitlines() if o.startswith(f"{of}:")]
    return int(kilobytes)/1000

def build(root: Path):
    "What the watched process does: load the set, and say how long it took and how much memory it held"
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest mark, which imports and parent have left
    before = memory("VmRSS")
    start = time.perf_counter()
    data = load("folder", root, size=SIZE)
    took = time.perf_counter() - start
    print(json.dumps({"seconds": took, "pictures": len(data), "sum": int(data.images[-1].sum()),
                      "imports_mb": before, "peak_mb": memory("VmHWM")}))

def started(root: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, "--build", root], stdout=subprocess.PIPE, text=True)

def told(process: subprocess.Popen) -> dict:
    lines = process.communicate()[0].splitlines()
    assert process.returncode == 0, "the build failed"
    return json.loads(lines[-1])

def counted(cache: Path) -> int:
    return max((read_json(o)["rows"] for o in cache.rglob("*.json")), default=0)

def plain(root: Path) -> float:
    "Photos a second of Pillow in threads into memory"
    files = sorted(root.rglob("*.jpg"))[:PEERS]
    array = np.empty((len(files), SIZE, SIZE, 3), np.uint8)
    def read(i: int):
        with Image.open(files[i]) as image:
            array[i] = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    start = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(files))): pass
    return len(files)/(time.perf_counter() - start)

def main(count: int):
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder)/"photos", Path(folder)/"cache"
        os.environ["SIGNS_CACHE"] = str(cache)
        write_photos(root, count)
        megabytes = sum(o.stat().st_size for o in root.rglob("*.jpg"))/1e6
        print(f"{count:,} photos written, {megabytes:,.0f} MB", flush=True)
        killed = started(root)
        while counted(cache) < count//2: time.sleep(0.2)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        resumed = counted(cache)
        print(f"killed after {resumed:,} rows", flush=True)
        rest = told(started(root))
        whole = told(started(root))
        print(f"the rest took {rest['seconds']:.0f} s, opening it then {whole['seconds']:.2f} s", flush=True)
        shutil.rmtree(cache)
        once = told(started(root))
        assert once["sum"] == whole["sum"] == rest["sum"]  # the killed and the undisturbed build agree
        print(f"undisturbed: {once['seconds']:.0f} s, {once['peak_mb']:.0f} MB at most, "
              f"of which {once['imports_mb']:.0f} MB before the first photo", flush=True)
        rate, peer = count/once["seconds"], plain(root)
        print(json.dumps({"photos": count, "photos_per_s": round(rate), "vs_pillow": round(rate/peer, 2),
                          "peak_mb": round(once["peak_mb"]), "array_mb": round(count*SIZE*SIZE*3/1e6),
                          "resumed_at": resumed, "open_s": round(whole["seconds"], 2)}))

if sys.argv[1:2] == ["--build"]: build(Path(sys.argv[2]))
elif __name__ == "__main__": main(int(sys.argv[1]) if sys.argv[1:] else 87_000)
