"""How fast raw scans become model input: our tensors against the plain Pillow script, same files, threads and run.

    .venv/bin/python benchmarks/prepare.py            # 4,000 files of 100x100 pixels, half of them BMP, half PNG
    .venv/bin/python benchmarks/prepare.py --files 800 --threads 1

Three ways from files on disk to an array (N, 28, 28, 1): `prepare` in threads, the Pillow script in as many threads,
and `load("folder", kind="scan")` as a user calls it. They take turns, and the best round of each counts. Then photos:
one of 200x200 and one of 4000x3000, decoded already, to 64 px. The last line is JSON: {"scans_per_s": ...,
"vs_pillow": ...} and more, where vs_pillow above 1 means that we are faster than the script."""
import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from signs_nbdev.machine import one_thread
from signs_nbdev.prepare import photo_to_square, prepare
from signs_nbdev.sources import load

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--files", type=int, default=4000)
parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
parser.add_argument("--rounds", type=int, default=5)
args = parser.parse_args()


def write_scans(folder: Path, n: int):
    "Scans of 100x100: strokes on a noisy ground, half of them in colour, half of them dark on bright"
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = rng.normal(60, 12, (100, 100, 3) if i % 2 else (100, 100))
        for _ in range(4):
            y, x = rng.integers(5, 75, 2)
            pixels[y:y + 8, x:x + 22] += 130
        pixels = pixels.clip(0, 255).astype(np.uint8)
        path = folder/"train"/f"{i % 10}"/f"{i}.{'bmp' if i % 4 < 2 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels if i % 3 else 255 - pixels).save(path)

def by_pillow(path: Path, size: int = 28) -> np.ndarray:
    "The script that one would write: Pillow to read and resize, NumPy for Otsu's threshold"
    image = Image.open(path).convert("L")
    grey = np.asarray(image)
    counts = np.bincount(grey.ravel(), minlength=256)
    n, s = counts.cumsum(), (counts*np.arange(256)).cumsum()
    apart = (n[-1]*s - n*s[-1]).astype(float)**2/np.maximum(n*(n[-1] - n), 1)
    if 2*(grey > apart.argmax()).sum() > grey.size: image = Image.fromarray(255 - grey)
    width, height = (max(1, round(o*size/max(image.size))) for o in image.size)
    square = Image.new("L", (size, size))
    square.paste(image.resize((width, height), Image.Resampling.BICUBIC), ((size - width)//2, (size - height)//2))
    return np.asarray(square)[..., None]

def in_threads(f, files: list[Path]) -> np.ndarray:
    with ThreadPoolExecutor(args.threads) as pool: return np.stack(list(pool.map(f, files)))

def seconds(f) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start

with tempfile.TemporaryDirectory() as folder, one_thread():
    root = Path(folder)/"train"
    write_scans(Path(folder), args.files)
    files = sorted(root.rglob("*.*"))
    ways = {"prepare": lambda: in_threads(lambda f: prepare(f, "scan", 28, 1), files),
            "pillow": lambda: in_threads(by_pillow, files),
            "folder": lambda: load("folder", root, 28, channels=1, kind="scan")}
    os.environ["SIGNS_CACHE"] = str(Path(folder)/"cache")
    gap = np.abs(ways["prepare"]().astype(int) - ways["pillow"]())
    taken = {name: [] for name in ways}
    for i in range(args.rounds):
        for name, way in ways.items():
            os.environ["SIGNS_CACHE"] = str(Path(folder)/f"cache{i}")  # nothing is kept from the last round
            taken[name].append(seconds(way))
    rate = {name: args.files/min(o) for name, o in taken.items()}
    ratio = min(taken["pillow"])/min(taken["prepare"])

    small = torch.randint(0, 256, (200, 200, 3), dtype=torch.uint8)
    large = torch.randint(0, 256, (3000, 4000, 3), dtype=torch.uint8)
    photo = min(seconds(lambda: photo_to_square(small, 64)) for _ in range(200))
    photo_12mp = min(seconds(lambda: photo_to_square(large, 64)) for _ in range(5))

print(f"{args.files:,} files of 100x100, {args.threads} threads, best of {args.rounds} rounds:")
for name, o in rate.items(): print(f"  {name:8} {o:7,.0f} scans/s")
print(f"largest difference from Pillow: {gap.max()} of 255 levels, in {100*(gap > 0).mean():.2f} % of the pixels")
print(f"a photo to 64 px, one thread: of 200x200 {1e6*photo:.0f} us, of 4000x3000 {1e3*photo_12mp:.0f} ms")
print(json.dumps({"scans_per_s": round(rate["prepare"]), "vs_pillow": round(ratio, 2),
                  "folder_scans_per_s": round(rate["folder"]), "photo_us": round(1e6*photo),
                  "photo_12mp_ms": round(1e3*photo_12mp, 1)}))
