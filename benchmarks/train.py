"""What training costs beside the bare network: our loop against PyTorch's, timm's and fastai's, the same work for all.

    .venv/bin/python benchmarks/train.py                       # fastai goes to a folder of its own, in /tmp
    .venv/bin/python benchmarks/train.py --target FOLDER       # or to this one, kept for the next time
    .venv/bin/python benchmarks/train.py --rounds 3 --parts steps peers --workers 0

SignNet tiny learns rendered hands of 64 px, decoded and in memory for all, in batches of 64, by AdamW. Nobody mirrors.
- ours: `Training.walk`, an epoch with the recipe for hands: order, gathering, augmentation, forward, backward,
  clipping, optimizer, schedule;
- bare: the same network and optimizer as often, on one batch of random numbers that lies ready, and nothing else;
- dataloader: a DataLoader whose pictures go one by one through the nearest operations of torchvision v2
  (`torchvision_ops` of augment.py);
- timm: `create_loader` with timm's own transforms: crop, colour jitter, grey, blur, erasing;
- fastai: a DataBlock, `aug_transforms` with hue, saturation and erasing besides, `Learner.fit`.
Each of the three gets our precision, and as many workers as suit it best (none, or one a core), found in a first round.
Beside that stands what they take in float32, as their pages show them.

All in one run and in turns: in a round each makes an epoch, and the median of the rounds' ratios counts. Time is the
clock's; beside it stands the time that cores spent, workers' included, which says how they compare on a machine that
has other things to do. On a GPU, where there is one, the same. Also measured: what `deterministic` costs, and how fast
two processes under `accelerate launch` are on the cores on which one process has as many threads. Parts may be measured
one by one; the others stay as they were.

What is measured goes to nbs/results/train-benchmark.json, from where nbs/03e_loop.ipynb makes its table. The last line
is JSON: {device: {vs_bare_step: our time over the bare, vs_dataloader, vs_timm, vs_fastai: theirs over ours, ...}}."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the Makefile sets it: threads that wait do not spin
import psutil
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from augment import torchvision_ops
from signs_nbdev.config import TrainConfig
from signs_nbdev.core import read_json, write_json
from signs_nbdev.data import SignData
from signs_nbdev.loop import Training
from signs_nbdev.machine import has_bf16
from signs_nbdev.models import create_model
from signs_nbdev.optimize import make_optimizer
from signs_nbdev.sessions import hands_data
from signs_nbdev.train import same_bits

KEPT = Path(__file__).parents[1]/"nbs/results/train-benchmark.json"
PEER = ["fastai==2.8.12", "fasttransform==0.0.5", "fastprogress==1.0.3", "fastdownload==0.0.8", "plum-dispatch==2.9.0",
        "cloudpickle", "beartype", "rich", "markdown-it-py", "mdurl"]  # what else they need is here already
SIZE, BATCH, RATE, SMOOTH = 64, 64, 4e-3, 0.1
CORES = os.cpu_count()
PEERS, PARTS = ("dataloader", "timm", "fastai"), ("steps", "peers", "processes")
KINDS = ("ratios", "ratios_by_core") # by the clock and by what cores spent


class Rounded(nn.Module):
    "A model whose forward pass is in some precision, whoever calls it"
    def __init__(self, model: nn.Module, device: str, half: bool):
        super().__init__()
        self.model, self.precision = model, partial(torch.autocast, device, torch.bfloat16, enabled=half)
    def forward(self, x):
        with self.precision(): return self.model(x).float()

class Pictures(Dataset):
    "Pictures in memory, one by one"
    def __init__(self, pictures, labels, transform=None):
        self.pictures, self.labels, self.transform = pictures, labels, transform
    def __len__(self): return len(self.pictures)
    def __getitem__(self, i): return self.transform(self.pictures[i]), self.labels[i]

def make_model(data: SignData, device: str, half: bool) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = create_model("signnet_tiny", data.classes, 3, SIZE).to(device).train()
    return Rounded(model, device, half), make_optimizer(model, "adamw", RATE)

def learn(model, optimizer, x, y):
    F.cross_entropy(model(x), y, label_smoothing=SMOOTH).backward()
    optimizer.step(); optimizer.zero_grad()

def make_training(data: SignData, device: str, half: bool) -> Training:
    return Training(TrainConfig(
        dataset="hands", arch="signnet_tiny", recipe="hands", size=SIZE, epochs=1000, batch_size=BATCH,
        learning_rate=RATE, label_smoothing=SMOOTH, precision="bf16" if half else "fp32", device=device),
        data, torch.arange(len(data)))

def make_ours(data: SignData, device: str, half: bool) -> Callable[[], None]:
    training, epochs = make_training(data, device, half), iter(range(1, 1001))
    return lambda: training.walk(next(epochs))

def make_bare(data: SignData, device: str, half: bool) -> Callable[[], None]:
    model, optimizer = make_model(data, device, half)
    x, y = torch.rand(BATCH, 3, SIZE, SIZE, device=device), torch.arange(BATCH, device=device) % len(data.classes)
    x = x.contiguous(memory_format=torch.channels_last)
    def epoch():
        for _ in range(len(data)//BATCH): learn(model, optimizer, x, y)
    return epoch

def make_loop(loader, data: SignData, device: str, half: bool) -> Callable[[], None]:
    model, optimizer = make_model(data, device, half)
    def epoch():
        for x, y in loader: learn(model, optimizer, x.to(device, non_blocking=True), y.to(device, non_blocking=True))
    return epoch

def make_dataloader(data: SignData, device: str, half: bool, workers: int) -> Callable[[], None]:
    pictures = Pictures(data.images.permute(0, 3, 1, 2).contiguous(), data.labels, torchvision_ops())
    loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0,
                        pin_memory=device != "cpu")
    return make_loop(loader, data, device, half)

def make_timm(data: SignData, device: str, half: bool, workers: int) -> Callable[[], None]:
    from timm.data import create_loader
    pictures = Pictures([Image.fromarray(o) for o in data.images.numpy()], data.labels.tolist())
    loader = create_loader(
        pictures, (3, SIZE, SIZE), BATCH, is_training=True, scale=(0.7, 1), ratio=(0.9, 1.1), hflip=0,
        color_jitter=(0.2, 0.4, 0.6, 0.04), grayscale_prob=0.2, gaussian_blur_prob=0.2, re_prob=0.2, mean=(0, 0, 0),
        std=(1, 1, 1), num_workers=workers, persistent_workers=workers > 0, pin_memory=device != "cpu",
        device=torch.device(device))
    return make_loop(loader, data, device, half)

def make_fastai(data: SignData, device: str, half: bool, workers: int) -> Callable[[], None]:
    from fastai.optimizer import OptimWrapper
    from fastai.vision.all import (
        CategoryBlock, DataBlock, Hue, ImageBlock, LabelSmoothingCrossEntropyFlat, Learner, RandomErasing, Saturation,
        aug_transforms)
    pictures, names = data.images.numpy(), [data.classes[o] for o in data.labels]
    changes = aug_transforms(do_flip=False, max_rotate=10, max_zoom=1.2, max_lighting=0.2, max_warp=0.15, xtra_tfms=[
        Saturation(0.6), Hue(0.04, p=0.5), RandomErasing(0.2, max_count=1)])
    block = DataBlock((ImageBlock, CategoryBlock), get_x=lambda i: pictures[i], get_y=lambda i: names[i],
                      batch_tfms=changes, splitter=lambda items: (items, []))
    loaders = block.dataloaders(range(len(data)), bs=BATCH, num_workers=workers, device=torch.device(device))
    model, _ = make_model(data, device, half)
    learner = Learner(loaders, model, LabelSmoothingCrossEntropyFlat(eps=SMOOTH), lr=RATE,
                      opt_func=partial(OptimWrapper, opt=torch.optim.AdamW))
    def epoch():
        with learner.no_bar(), learner.no_logging(): learner.fit(1)
    return epoch

MAKE = {"dataloader": make_dataloader, "timm": make_timm, "fastai": make_fastai}

def core_seconds() -> float:
    "What this process and its workers have spent, those that ended included"
    spent, workers = os.times(), psutil.Process().children(recursive=True)
    return sum(spent[:4]) + sum(sum(o.cpu_times()[:2]) for o in workers)

def seconds(work: Callable[[], None], device: str) -> tuple[float, float]:
    "What a call takes by the clock and of the cores"
    spent, start = core_seconds(), time.perf_counter()
    work()
    if device != "cpu": torch.cuda.synchronize()
    return time.perf_counter() - start, core_seconds() - spent

def all_turns(works: dict[str, Callable[[], None]], device: str, rounds: int) -> list[dict[str, tuple[float, float]]]:
    "In each round everyone once, each time with another first"
    names, done = list(works), []
    for i in range(rounds):
        begin = i % len(names)
        took = {o: seconds(works[o], device) for o in names[begin:] + names[:begin]}
        done.append({o: took[o] for o in names})
        shown = ", ".join(f"{name} {clock:.2f} s ({core:.2f})" for name, (clock, core) in done[-1].items())
        print(f"  round {i + 1}/{rounds}: {shown}", flush=True)
    return done

def ratio(rounds: list[dict], what: str, to: str, of: int) -> float:
    return round(statistics.median(o[what][of]/o[to][of] for o in rounds), 3)

def with_workers(name: str, data: SignData, device: str, half: bool, tried: list[int]) -> tuple[int, Callable]:
    "A peer with as many workers as suit it, after an epoch that warms up"
    found = []
    for workers in tried:
        work = MAKE[name](data, device, half, workers)
        work()
        found.append((seconds(work, device)[0] if len(tried) > 1 else 0, workers, work))
    if len(tried) > 1: print(f"  {name}: {', '.join(f'{w} workers {t:.2f} s' for t, w, _ in found)}", flush=True)
    return min(found, key=lambda o: o[0])[1:]

def measure_steps(data: SignData, device: str, half: bool, rounds: int) -> dict:
    "Our steps, the same refusing what is not deterministic, and the bare ones"
    exact = make_ours(data, device, half)
    def deterministic():
        with same_bits(True): exact()
    works = {"ours": make_ours(data, device, half), "bare": make_bare(data, device, half),
             "deterministic": deterministic}
    for work in works.values(): work()
    done = all_turns(works, device, 2*rounds)
    return {o: {"vs_bare_step": ratio(done, "ours", "bare", i),
                "deterministic": ratio(done, "deterministic", "ours", i)} for i, o in enumerate(KINDS)}

def measure_peers(data: SignData, device: str, half: bool, rounds: int, tried: list[int]) -> dict:
    "Our epoch, the bare one, and the peers' in our precision and in float32"
    works = {"ours": make_ours(data, device, half), "bare": make_bare(data, device, half)}
    for work in works.values(): work()
    workers = {}
    for name in PEERS: workers[name], works[name] = with_workers(name, data, device, half, tried)
    for name in PEERS if half else ():
        works[f"{name}_fp32"] = MAKE[name](data, device, False, workers[name])
        works[f"{name}_fp32"]()
    done = all_turns(works, device, rounds)
    peers = [o for o in works if o not in ("ours", "bare")]
    return {"workers": workers, **{
        o: {**{f"vs_{p}": ratio(done, p, "ours", i) for p in peers},
            **{f"bare_vs_{p}": ratio(done, p, "bare", i) for p in PEERS}} for i, o in enumerate(KINDS)}}

def process(steps: int, turns: int):
    "What one of some processes does; the first prints pictures a second, by the clock and by core"
    count = steps*BATCH
    pictures = torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8)
    data = SignData(pictures, torch.arange(count) % 29, tuple(map(str, range(29))))
    training = make_training(data, "cpu", has_bf16(torch.device("cpu")))
    training.walk(1)
    rates = []
    for epoch in range(2, 2 + turns):
        training.accelerator.wait_for_everyone()
        clock, core = seconds(lambda: training.walk(epoch), "cpu")
        core = training.accelerator.reduce(torch.tensor(core), "sum").item()
        rates.append([count/clock, count/core])
    if training.accelerator.is_main_process: print(json.dumps(rates))

def measure_processes(steps: int, turns: int) -> dict:
    "Two processes under Accelerate over one with as many threads: ratio of pictures a second, by the clock and by core"
    own = [__file__, "--process", str(turns), "--steps", str(steps)]
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    rates = {1: [], 2: []}
    for count in (1, 2, 2, 1):
        ran = subprocess.run([sys.executable, *(launch if count == 2 else []), *own], capture_output=True, text=True,
                             env={**os.environ, "OMP_NUM_THREADS": str(max(1, CORES//count))})
        if ran.returncode: raise SystemExit(f"{count} processes failed: {ran.stderr[-2000:]}")
        rates[count] += json.loads(ran.stdout.strip().splitlines()[-1])
    middle = {count: [statistics.median(o) for o in zip(*rates[count])] for count in rates}
    for count, (clock, core) in middle.items():
        print(f"  {count} process{'es'*(count > 1)}: {clock:,.0f} pictures/s, {core:,.0f} per core", flush=True)
    return {o: {"two_processes": round(middle[2][i]/middle[1][i], 3)} for i, o in enumerate(KINDS)}

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", default=f"{tempfile.gettempdir()}/signs-fastai")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=14, help="of an epoch")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="what to measure")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, CORES], help="of the loaders: the best of these")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--process", type=int, metavar="TURNS", help="be one of some processes")
    a = parser.parse_args()
    warnings.filterwarnings("ignore")
    if a.process: return process(a.steps, a.process)
    if not Path(a.target, "fastai").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", a.target, *PEER]
        subprocess.run(pip, check=True)
    sys.path.append(a.target)
    data = hands_data(sessions=4, frames=1 + a.steps*BATCH//(4*29), size=SIZE)
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:a.steps*BATCH]
    data = SignData(data.images[rows], data.labels[rows], data.classes)
    last = {}
    for device in ["cpu"] + ["cuda"]*torch.cuda.is_available():
        name = torch.cuda.get_device_name() if device == "cuda" else f"{CORES} cores"
        print(f"{device}: {name}, {torch.get_num_threads()} threads, epochs of {len(data)} pictures", flush=True)
        half, found = has_bf16(torch.device(device)), []
        if "steps" in a.parts: found.append(measure_steps(data, device, half, a.rounds))
        if "peers" in a.parts: found.append(measure_peers(data, device, half, a.rounds, a.workers))
        if "processes" in a.parts and device == "cpu": found.append(measure_processes(a.steps, a.rounds))
        kept = read_json(KEPT) if KEPT.is_file() else {}
        was = kept.get(device, {})
        kept[device] = {
            "machine": name, "threads": torch.get_num_threads(), "note": a.note, "rounds": a.rounds,
            "pictures": len(data), "batch": BATCH, "precision": "bf16" if half else "fp32",
            "workers": next((o["workers"] for o in found if "workers" in o), was.get("workers", {})),
            **{k: {**was.get(k, {}), **{name: v for o in found for name, v in o[k].items()}} for k in KINDS},
            "versions": {**{o: version(o) for o in ("torch", "torchvision", "timm", "accelerate")},
                         "fastai": PEER[0].partition("==")[2]}}
        write_json(KEPT, kept)
        last[device] = {**kept[device]["ratios"], "by_core": kept[device]["ratios_by_core"]}
    print(json.dumps(last))

if __name__ == "__main__": main()
