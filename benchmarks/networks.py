"""What the arguments of SignNet are worth: the same small training on Oracle-MNIST with one of them turned.

    .venv/bin/python benchmarks/networks.py               # all groups, about 15 minutes on one free core
    .venv/bin/python benchmarks/networks.py knobs stems   # some of them

Needs SIGNS_DATA. Every network sees the same pictures in the same order, in the first folds of five, and is judged on a
fifth of each fold's training part: test parts are not touched, so that what is chosen here is still to be tested. What
was measured stands in nbs/results/networks.json, and what stands there is not measured again.
The last line is JSON: {group: {name: {"correct": ..., "n": ...}}}."""
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import OneCycleLR

from signs_nbdev.augment import recipe
from signs_nbdev.core import progress, read_json, write_json
from signs_nbdev.data import SignData, batches
from signs_nbdev.fused import fuse
from signs_nbdev.machine import one_thread, seed_everything
from signs_nbdev.models import create_model
from signs_nbdev.sources import load

KEPT = Path(__file__).parents[1]/"nbs/results/networks.json"
BATCH, RATE = 64, 4e-3

KNOBS = {
    "nothing turned": {}, "kernel 1": dict(kernel=1), "kernel 5": dict(kernel=5),
    "stride (2, 2, 2, 1)": dict(stride=[2, 2, 2, 1]), "stride (1, 2, 1, 1)": dict(stride=[1, 2, 1, 1]),
    "padding (1, 0, 1, 1)": dict(padding=[1, 0, 1, 1]),
    'pool "avg"': dict(pool="avg"), 'pool "conv"': dict(pool="conv"), "depths (0, 0, 0, 0)": dict(depths=[0, 0, 0, 0]),
    "depths (0, 2, 2, 2)": dict(depths=[0, 2, 2, 2]), "residual": dict(residual=True),
    "residual, depths (0, 2, 2, 2)": dict(residual=True, depths=[0, 2, 2, 2])}
BLOCKS = {
    "as it stands": {}, 'act "silu"': dict(act="silu"), 'attn "eca"': dict(attn="eca"), 'attn "se"': dict(attn="se"),
    'pool "blur"': dict(pool="blur"), 'block "inverted", twice as many': dict(block="inverted", depths=[0, 2, 2, 2])}
NARROW = dict(widths=[24, 48, 64, 72])  # of signnet_tiny

GROUPS = {  # name -> epochs, folds, {what it is: (arch, arguments)}
    "knobs": (8, 2, {name: ("signnet_plain", {**NARROW, **o}) for name, o in KNOBS.items()}),
    "blocks": (8, 2, {name: ("signnet_tiny", o) for name, o in BLOCKS.items()}),
    "stems": (12, 1, {f"stem {o}": ("mobilenetv3_small_100", dict(stem=o)) for o in ("keep", "fine")}),
}

def train(data: SignData, fold: int, epochs: int, arch: str, kwargs: dict) -> dict:
    "One small training: how many pictures of the slice to choose by were read right"
    split = data.split("kfold", seed=0, fold=fold, valid=0.2)
    seed_everything(0)
    model, augment = create_model(arch, data.classes, 1, 28, **kwargs).train(), fuse(recipe("bones"), 0)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    schedule = OneCycleLR(optimizer, RATE, total_steps=epochs*math.ceil(len(split.train)/BATCH), pct_start=0.2)
    for epoch in range(epochs):
        order = split.train[torch.randperm(len(split.train), generator=torch.Generator().manual_seed(epoch))]
        for rows, images, labels in batches(data, order, BATCH):
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(augment(images, rows, epoch)), labels, label_smoothing=0.1)
            optimizer.zero_grad(); loss.backward(); optimizer.step(); schedule.step()
    right = model.predict(data.images[split.valid]).argmax(1) == data.labels[split.valid]
    return dict(fold=fold, correct=int(right.sum()), n=len(right))

def main():
    data, kept = load("oracle_mnist"), read_json(KEPT) if KEPT.is_file() else {}
    for group in sys.argv[1:] or GROUPS:
        epochs, folds, networks = GROUPS[group]
        with progress(folds*len(networks), group, " trainings") as bar, one_thread():
            for fold in range(folds):
                for name, (arch, kwargs) in networks.items():
                    new = dict(arch=arch, kwargs=kwargs, epochs=epochs, runs=[])
                    runs = kept.setdefault(group, {}).setdefault(name, new)["runs"]
                    if fold not in [o["fold"] for o in runs]:
                        runs.append(train(data, fold, epochs, arch, kwargs))
                        write_json(KEPT, kept)
                    bar.update()
    print(json.dumps({group: {name: {k: sum(r[k] for r in o["runs"]) for k in ("correct", "n")}
                              for name, o in networks.items()} for group, networks in kept.items()}))

if __name__ == "__main__": main()
