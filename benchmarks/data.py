"""What a batch costs: 512 of 20,000 pictures of 64 px, shuffled, against a plain tensor index and a torch DataLoader.

    .venv/bin/python benchmarks/data.py

Three ways through the same pictures in the same shuffled order, in one run, each repeated and the median taken:
- `batches`, as training draws them (pictures and labels);
- the index alone, `images[rows], labels[rows]`, with the rows made beforehand;
- a DataLoader that decodes JPEG files with PIL, at the best of several numbers of workers, workers kept between epochs.
It also times the leak report on the 20,000 pictures, and opening a built cache of them.
The last line is JSON: vs_index is our time over the index's, vs_dataloader the DataLoader's time over ours."""
import json
import os
import statistics
import tempfile
import time

import numpy as np
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the Makefile sets it: threads that wait do not spin
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from signs_nbdev.cache import cached_array
from signs_nbdev.data import SignData, batches
from signs_nbdev.leaks import leak_report

COUNT, SIZE, BATCH, CLASSES = 20_000, 64, 512, 29


def pictures(seed: int = 0) -> torch.Tensor:
    "Smooth coloured noise, which JPEG makes as small as it makes photos"
    coarse = torch.randint(0, 256, (COUNT, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return torch.cat([torch.nn.functional.interpolate(o.float(), (SIZE, SIZE), mode="bilinear").byte().permute(0, 2, 3, 1)
                      for o in coarse.split(1000)]).contiguous()

class Files(Dataset):
    "What tutorials do: open, decode, convert, one picture at a time"
    def __init__(self, files, labels): self.files, self.labels = files, labels
    def __len__(self): return len(self.files)
    def __getitem__(self, i):
        with Image.open(self.files[i]) as image: return torch.from_numpy(np.array(image.convert("RGB"))), self.labels[i]

def seconds(work, repeats: int) -> float:
    "Median time of one call, after one that warms up"
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])

def drain(batches_of):
    for *_, xb, yb in batches_of: assert len(xb) == len(yb)

images, labels = pictures(), torch.arange(COUNT) % CLASSES
data, everything = SignData(images, labels, tuple(map(str, range(CLASSES)))), torch.arange(COUNT)
order = lambda: torch.Generator().manual_seed(0)
rows = torch.randperm(COUNT, generator=order()).split(BATCH)

def index_alone():
    for o in rows: images[o], labels[o]

ours, index = [], []
for _ in range(5):  # in turns, so that a busy moment hits both
    ours.append(seconds(lambda: drain(batches(data, everything, BATCH, order())), 3))
    index.append(seconds(index_alone, 3))
ours, index = statistics.median(ours), statistics.median(index)
print(f"epoch of {COUNT:,} pictures of {SIZE} px in batches of {BATCH}")
print(f"  batches       {1000*ours:8.1f} ms")
print(f"  index alone   {1000*index:8.1f} ms")

with tempfile.TemporaryDirectory() as folder:
    files = [f"{folder}/{i}.jpg" for i in range(COUNT)]
    for file, image in zip(files, images.numpy()): Image.fromarray(image).save(file, quality=90)
    best = float("inf")
    for workers in sorted({0, 1, 2, os.cpu_count()}):
        loader = DataLoader(Files(files, labels.tolist()), BATCH, shuffle=True, num_workers=workers,
                            persistent_workers=workers > 0, generator=order())
        took = seconds(lambda: drain(loader), 2)
        print(f"  DataLoader    {1000*took:8.1f} ms with {workers} workers")
        best = min(best, took)
    decode = lambda i: np.asarray(Image.open(files[i]).convert("RGB"))
    os.environ["SIGNS_CACHE"] = f"{folder}/cache"
    opened = lambda: cached_array(folder, files, (SIZE, SIZE, 3), decode, "as it is")
    opened()
    print(f"opening a built cache of them:  {seconds(opened, 3):.3f} s")

split = data.split("random")
print(f"leak report on them:            {seconds(lambda: leak_report(data, split), 1):.1f} s")
print(json.dumps({"vs_index": round(ours/index, 3), "vs_dataloader": round(best/ours, 1)}))
