"""What an evaluation costs beyond the forward pass: 20,000 pictures of 64 px, SignNet, all metrics.

    .venv/bin/python benchmarks/evaluate.py          # about five minutes on one free core
    .venv/bin/python benchmarks/evaluate.py 2000     # fewer pictures, for a first look

Two ways through the same network, in turns, each repeated and the median taken:
- `evaluate` with everything that a report asks of it: accuracy, loss, top-k, each class, confusion, groups, frames;
- the network's forward pass alone: one batch of floats that lies ready, as often as there are batches.
The last line is JSON: vs_forward is our time over the forward pass's."""
import json
import os
import statistics
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the Makefile sets it: threads that wait do not spin
import torch

from signs_nbdev.core import ASL_CLASSES
from signs_nbdev.data import SignData, to_float
from signs_nbdev.evaluate import evaluate
from signs_nbdev.machine import resolve_device
from signs_nbdev.models import create_model

COUNT = int(sys.argv[1]) if sys.argv[1:] else 20_000
SIZE, BATCH, ROUNDS = 64, 256, 3

device = resolve_device()
rng = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (COUNT, SIZE, SIZE, 3), dtype=torch.uint8, generator=rng)
data = SignData(images, torch.arange(COUNT) % len(ASL_CLASSES), ASL_CLASSES, "made up", groups=torch.arange(COUNT) % 4,
                group_names=("a", "b", "c", "d"), frames=torch.arange(COUNT)).to(device)
model = create_model("signnet", ASL_CLASSES, size=SIZE).to(device).eval()
batch = model.normalize(to_float(data.images[:BATCH])).contiguous(memory_format=torch.channels_last)
sizes = [min(BATCH, COUNT - i) for i in range(0, COUNT, BATCH)]


def forward():
    with torch.no_grad():
        for n in sizes: model.network(batch[:n])
    if device.type == "cuda": torch.cuda.synchronize()

def whole():
    metrics = evaluate(model, data)
    metrics.summary(), metrics.per_class, metrics.pairs(), metrics.by_group(), metrics.along()

def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

for work in (whole, forward): work()  # warm up
times = [(seconds(whole), seconds(forward)) for _ in range(ROUNDS)]  # in turns, so that a busy moment hits both
ours, theirs = (statistics.median(o) for o in zip(*times))
print(f"{COUNT:,} pictures of {SIZE} px on {device.type}, median of {ROUNDS}")
print(f"  evaluate, all metrics  {ours:8.2f} s")
print(f"  forward pass alone     {theirs:8.2f} s")
print(json.dumps({"vs_forward": round(statistics.median(a/b for a, b in times), 3)}))
