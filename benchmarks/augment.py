"""Images a second of the recipe for hands: ours (`fuse`) against Kornia, torchvision v2 and albumentations.

    .venv/bin/python benchmarks/augment.py                        # albumentations goes to a folder of its own, in /tmp
    .venv/bin/python benchmarks/augment.py --target FOLDER        # or to this one, kept for the next time
    .venv/bin/python benchmarks/augment.py --sizes 64 --no-compile

The same operations with the same ranges and shares, from bytes (N, H, W, C) to floats (N, C, H, W), a draw of its own
for each picture. Kornia: the recipe as it is, and after torch.compile. torchvision draws once for a whole batch,
which is another thing, so it goes picture by picture; its rate with one draw a batch is kept beside it.
albumentations goes picture by picture on bytes, in as many threads or processes as there are cores, whichever is
faster. Where a library has no such operation, the nearest one it has stands in (see `torchvision_ops`,
`albumentations_ops`).

All in one run and in turns: in a round each works for a third of a second at least, and the median of the rounds
counts. Time is the clock's; beside it stands the time that cores spent (images per core second), which says how they
compare on a machine that has other things to do. On a GPU, where there is one, the same without albumentations. Also
measured: what share of a training step of SignNet ours takes at 64 px.

What is measured goes to nbs/results/augment-benchmark.json, from where nbs/02c_fused.ipynb makes its table. The last
line is JSON, how many times faster we are:
{device: {size: {vs_kornia, vs_kornia_compiled, vs_torchvision, vs_albumentations}}}."""
import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the Makefile sets it: threads that wait do not spin
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from signs_nbdev.augment import recipe
from signs_nbdev.core import read_json, write_json
from signs_nbdev.data import to_float
from signs_nbdev.fused import fuse
from signs_nbdev.models import create_model

KEPT = Path(__file__).parents[1]/"nbs/results/augment-benchmark.json"
PEER = ["albumentationsx==2.5.1", "opencv-python-headless"]  # the library's name since 2025; AGPL-3.0, so only here
BATCH = {28: 256, 64: 256, 128: 128, 224: 64}
CORES = os.cpu_count()


def pictures(count: int, size: int) -> torch.Tensor:
    "Smooth coloured noise with some grain"
    g = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.rand(count, 3, 6, 6, generator=g), (size, size), mode="bicubic")
    grainy = (smooth + 0.03*torch.randn(smooth.shape, generator=g)).clamp(0, 1)
    return grainy.mul(255).byte().permute(0, 2, 3, 1).contiguous()

class Drawn(nn.Module):
    "An operation of the benchmark's own for torchvision, which has no such"
    def __init__(self, change): super().__init__(); self.change = change
    def forward(self, x): return self.change(x)

def lamp(x):
    warmth = torch.linspace(1, -1, 3, device=x.device)*(1.2*torch.rand(1, device=x.device) - 0.6)
    return (x*(1 + warmth)[:, None, None]).clamp(0, 1)

def light(x):
    ramp = torch.linspace(0, 1, x.shape[-1], device=x.device)*(0.15 + 0.15*torch.rand(1, device=x.device))
    return (x + (ramp if torch.rand(1) < 0.5 else -ramp)).clamp(0, 1)

def torchvision_ops() -> v2.Transform:
    "From bytes (..., C, H, W); on bytes as long as it can be, which is what torchvision advises"
    sometimes = lambda p, *ops: v2.RandomApply(list(ops), p)
    gamma = lambda x: v2.functional.adjust_gamma(x, float(torch.empty(()).uniform_(1/1.8, 1.8)))
    return v2.Compose([
        v2.RandomAffine(10, (0.12, 0.12), (1/1.2, 1.2), (-8, 8, -8, 8), v2.InterpolationMode.BILINEAR),
        v2.RandomPerspective(0.15, 0.2),
        v2.ColorJitter(saturation=(0.4, 1.6)), sometimes(0.5, v2.ColorJitter(hue=0.04)),
        v2.ToDtype(torch.float32, scale=True), sometimes(0.5, Drawn(lamp)), v2.RandomGrayscale(0.2),
        sometimes(0.8, v2.ColorJitter(brightness=0.2)), v2.ColorJitter(contrast=(1/1.6, 1.6)), Drawn(gamma),
        sometimes(0.5, Drawn(light)), v2.RandomEqualize(0.1), sometimes(0.2, v2.GaussianBlur(5, (0.1, 1))),
        sometimes(0.2, v2.GaussianNoise(0, 0.03)), v2.RandomErasing(0.2, (0.02, 0.1))])

def albumentations_ops():
    "On bytes (H, W, C)"
    import albumentations as A
    import cv2
    cv2.setNumThreads(1)
    return A.Compose([
        A.Affine(rotate=(-10, 10), translate_percent=(-0.12, 0.12), scale=(1/1.2, 1.2), shear=(-8, 8), p=1),
        A.Perspective(scale=(0, 0.075), p=0.2), A.ColorJitter((1, 1), (1, 1), (0.4, 1.6), (0, 0), p=1),
        A.ColorJitter((1, 1), (1, 1), (1, 1), (-0.04, 0.04), p=0.5), A.PlanckianJitter(p=0.5), A.ToGray(p=0.2),
        A.RandomBrightnessContrast((-0.2, 0.2), (0, 0), brightness_by_max=True, p=0.8),
        A.RandomBrightnessContrast((0, 0), (-0.375, 0.6), p=1), A.RandomGamma((55, 180), p=1),
        A.Illumination(intensity_range=(0.15, 0.2), p=0.5), A.Equalize(p=0.1), A.GaussianBlur((5, 5), (0.1, 1), p=0.2),
        A.GaussNoise((0.03, 0.03), per_channel=True, p=0.2), A.Erasing((0.02, 0.1), p=0.2)])

WORK = None

def begin(target: str):
    global WORK
    if target not in sys.path: sys.path.append(target)
    WORK = albumentations_ops()

def one_by_one(images: np.ndarray) -> np.ndarray: return np.stack([WORK(image=o)["image"] for o in images])

def contenders(images: torch.Tensor, device: str, target: str, compiled: bool) -> dict:
    "Name -> what takes a batch of bytes to a batch of floats"
    index, epoch, ours = torch.arange(len(images), device=device), iter(range(10**9)), fuse(recipe("hands")).to(device)
    theirs, tv = recipe("hands").to(device), torchvision_ops()
    if device != "cpu":
        for o in theirs.ops.values(): o.set_rng_device_and_dtype(torch.device(device), torch.float32)
    images = images.to(device)
    turned = lambda: images.permute(0, 3, 1, 2)
    found = {"ours": lambda: ours(images, index, next(epoch)), "kornia": lambda: theirs(to_float(images)),
             "torchvision": lambda: torch.stack([tv(o) for o in turned()]),
             "torchvision, one draw a batch": lambda: tv(turned())}
    if compiled:
        torch._dynamo.reset()  # or it gives up after a few sizes
        quick = torch.compile(recipe("hands").to(device))
        found["kornia_compiled"] = lambda: quick(to_float(images))
    if device == "cpu":
        begin(target)
        halves = np.array_split(images.numpy(), CORES)
        whole = lambda pool: to_float(torch.from_numpy(np.concatenate(list(pool.map(one_by_one, halves)))))
        threads, workers = pools(target)
        for name, pool in (("threads", threads), ("processes", workers)):
            found[f"albumentations, {name}"] = partial(whole, pool)
    return found

@cache
def pools(target: str) -> tuple[ThreadPoolExecutor, ProcessPoolExecutor]:
    return ThreadPoolExecutor(CORES), ProcessPoolExecutor(CORES, get_context("spawn"), begin, (target,))

def seconds(work, device: str, least: float = 0) -> tuple[float, float]:
    "Time of a call and time that cores spent on it, each a mean over as many calls as fill `least` seconds"
    calls, spent, start = 0, time.process_time(), time.perf_counter()
    while not calls or time.perf_counter() - start < least:
        work()
        calls += 1
    if device != "cpu": torch.cuda.synchronize()
    return (time.perf_counter() - start)/calls, (time.process_time() - spent)/calls

def measure(size: int, device: str, target: str, compiled: bool, rounds: int) -> dict[str, dict]:
    "Contender -> images a second, by the clock and by core"
    images, times = pictures(BATCH[size], size), {}
    entrants = contenders(images, device, target, compiled)
    for name, work in entrants.items():
        try: first = seconds(work, device)[0] + seconds(work, device)[0]
        except Exception as e: print(f"  {name} failed: {type(e).__name__}: {str(e).splitlines()[0][:100]}", flush=True)
        else:
            times[name] = []
            if name == "kornia_compiled": print(f"  compiled in {first:.0f} s", flush=True)
    for _ in range(rounds):
        for name in times: times[name].append(seconds(entrants[name], device, 1/3))
    rate = lambda values: round(len(images)/statistics.median(values), 1)
    rates = {"clock": {k: rate([o[0] for o in v]) for k, v in times.items()},
             "core": {k: rate([o[1] for o in v]) for k, v in times.items() if "processes" not in k}}
    for o in rates.values():
        peers = [v for k, v in o.items() if k.startswith("albumentations")]
        if peers: o["albumentations"] = max(peers)
    for k, v in rates["clock"].items():
        print(f"  {size:>3} px  {k:<32} {v:>9,.0f} images/s {rates['core'].get(k, 0):>9,.0f} per core", flush=True)
    return rates

def ratios(rates: dict[str, float]) -> dict[str, float | None]:
    "How many times faster we are"
    peers = ("kornia", "kornia_compiled", "torchvision", "albumentations")
    return {f"vs_{o}": round(rates["ours"]/rates[o], 2) if o in rates else None for o in peers}

def share_of_a_step(device: str, rounds: int, size: int = 64) -> float:
    "What ours takes, as a share of a training step of SignNet on the same pictures"
    images, labels = pictures(BATCH[size], size).to(device), torch.arange(BATCH[size], device=device) % 29
    model = create_model("signnet", [str(i) for i in range(29)], 3, size).to(device).train()
    ours = fuse(recipe("hands")).to(device)
    optimizer, index = torch.optim.AdamW(model.parameters()), torch.arange(len(images), device=device)
    x = to_float(images)
    def step():
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"): loss = F.cross_entropy(model(x), labels)
        loss.backward(); optimizer.step(); optimizer.zero_grad()
    works = {"ours": lambda: ours(images, index, 1), "step": step}
    for work in works.values(): seconds(work, device)
    times = [{k: seconds(work, device, 1/3)[0] for k, work in works.items()} for _ in range(rounds)]
    return round(statistics.median(o["ours"]/o["step"] for o in times), 4)

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", default=f"{tempfile.gettempdir()}/signs-albumentations")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(BATCH), choices=list(BATCH))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    a = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("torch").setLevel(logging.CRITICAL)
    if not Path(a.target, "albumentations").is_dir():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", a.target, *PEER], check=True)
    kept, last = read_json(KEPT) if KEPT.is_file() else {}, {}
    for device in ["cpu"] + ["cuda"]*torch.cuda.is_available():
        name = torch.cuda.get_device_name() if device == "cuda" else f"{CORES} cores"
        print(f"{device}: {name}, {torch.get_num_threads()} threads", flush=True)
        rates = {str(size): measure(size, device, a.target, not a.no_compile, a.rounds) for size in a.sizes}
        last[device] = {size: ratios(o["clock"]) for size, o in rates.items()}
        share = share_of_a_step(device, a.rounds)
        print(f"  {share:.1%} of a training step of SignNet at 64 px", flush=True)
        kept[device] = {"machine": name, "threads": torch.get_num_threads(), "note": a.note, "rounds": a.rounds,
                        "batch": {str(o): BATCH[o] for o in a.sizes}, "rates": rates, "ratios": last[device],
                        "ratios_by_core": {size: ratios(o["core"]) for size, o in rates.items()},
                        "share_of_a_signnet_step": share,
                        "versions": {o: version(o) for o in ("torch", "torchvision", "kornia", "albumentationsx")}}
    write_json(KEPT, kept)
    print(json.dumps(last))

if __name__ == "__main__": main()
