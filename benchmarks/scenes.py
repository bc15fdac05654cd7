"""What other scenes behind the hands are worth on the real ASL frames, and on other people's photos.

    .venv/bin/python benchmarks/scenes.py choose   # which scenes, and behind how many pictures: frames 1 to 2000 only
    .venv/bin/python benchmarks/scenes.py report   # the chosen ones against none, on what nothing was chosen by

Needs SIGNS_DATA. SignNet at 48 px with the recipe hands, 8 epochs, the last weights. choose: every third frame of
clip 1, judged on every second one of clip 2 (even seeds), or the other way round (odd seeds). report: every third frame
of clips 1 and 2, judged on frames 2001 to 2500 and on the letters of two sets of other people's photos; "wide"
adds rendered hands, as many as photos, in rooms of their own. Hands are cut out of the training pictures only. A
finished run is a file in runs/scenes/, so it can be stopped and started again; all are gathered into
nbs/results/scenes.json, from which nbs/02d_scenes.ipynb makes its tables. The last line is JSON:
{stage: {variant: {judged on: [mean accuracy, deviation over seeds, number of seeds]}}}."""
import argparse
import json
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from signs_nbdev.augment import recipe
from signs_nbdev.core import ASL_CLASSES, progress, read_json, write_json
from signs_nbdev.data import SignData, batches
from signs_nbdev.fused import fuse
from signs_nbdev.machine import data_root, provenance, seed_everything
from signs_nbdev.models import create_model
from signs_nbdev.scenes import prepare_scenes
from signs_nbdev.sources import load
from timm.optim import create_optimizer_v2
from torch.optim.lr_scheduler import OneCycleLR

ROOT = Path(__file__).parents[1]
RUNS, RESULT = ROOT/"runs/scenes", ROOT/"nbs/results/scenes.json"
SIZE, LETTERS, BATCH, RATE, DECAY = 48, 26, 64, 8e-3, 0.05
EPOCHS, STAGES = 8, ("choose", "report")
CHOICES = {"none": None, "textures 0.5": ("textures", 0.5), "rooms 0.5": ("rooms", 0.5),
           "textures+rooms 0.5": ("textures+rooms", 0.5), "textures+rooms 0.9": ("textures+rooms", 0.9)}
REPORTED = ("none", "textures+rooms 0.5")


def joined(data: SignData, more: SignData) -> SignData:
    "Photos, and behind them other pictures that belong to no film"
    return replace(data, images=torch.cat([data.images, more.images]), labels=torch.cat([data.labels, more.labels]),
                   frames=None, groups=None, group_names=(), train_groups=(), part=None, files=None)

def learn(scenes: tuple[str, float] | None, wide: bool, seed: int, data: SignData, here: torch.Tensor,
          judged: dict[str, SignData]) -> dict:
    "Train on the frames `here`; right answers on what is to be judged"
    made = scenes and prepare_scenes(data, here, *scenes, seed=seed)
    learnt = len(here)
    if wide:
        more = load("hands_wide", size=SIZE)
        more = more[torch.randperm(len(more), generator=torch.Generator().manual_seed(seed))[:learnt]]
        here, data = torch.cat([here, len(data) + torch.arange(len(more))]), joined(data, more)
        if made: made.masks = torch.cat([made.masks, made.masks.new_full((len(more), SIZE, SIZE), 255)])
    seed_everything(seed)
    model, augment = create_model("signnet", data.classes, 3, SIZE), fuse(recipe("hands"), seed)
    optimizer = create_optimizer_v2(model, "adamw", lr=RATE, weight_decay=DECAY)
    schedule = OneCycleLR(optimizer, RATE, total_steps=EPOCHS*math.ceil(len(here)/BATCH) + 1, pct_start=0.2)
    order, other = torch.Generator().manual_seed(seed), made or (lambda images, rows, epoch: images)
    with progress(EPOCHS*len(here), "training") as bar:
        for epoch in range(1, EPOCHS + 1):
            for rows, images, labels in batches(data, here, BATCH, order):
                partner = augment.partner(rows, epoch, here)
                shown = augment(other(images, rows, epoch), rows, epoch, other(data.images[partner], partner, epoch))
                with torch.autocast("cpu", torch.bfloat16):
                    loss = F.cross_entropy(model(shown), labels, label_smoothing=0.1)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
                optimizer.step(); schedule.step(); optimizer.zero_grad()
                bar.update(len(rows))
    answer = lambda o: torch.cat([model.predict(images) for images in o.images.split(512)]).argmax(1)
    right = {on: answer(o).eq(o.labels).sum().item() for on, o in judged.items()}
    return dict(learnt=learnt, rendered=len(here) - learnt, cut=made and repr(made), last_loss=loss.item(),
                judged={on: dict(correct=o, n=len(judged[on])) for on, o in right.items()})

def everyone() -> dict[str, SignData]:
    "Other people's photos of letters"
    photos = {o: load("folder", data_root()/"asl_external"/o, SIZE, classes=ASL_CLASSES) for o in ("desk", "studio")}
    return {o: data[data.labels < LETTERS] for o, data in photos.items()}

def gather() -> dict:
    "Keep all runs in one file; mean, deviation and number of seeds for each thing judged on"
    runs = [read_json(o) for o in sorted(RUNS.glob("*.json"))]
    write_json(RESULT, runs)
    shares = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for o in runs:
        for on, got in o["judged"].items(): shares[o["stage"]][o["variant"]][on].append(got["correct"]/got["n"])
    spread = lambda o: [torch.tensor(o).mean().item(), torch.tensor(o).std().item() if len(o) > 1 else None, len(o)]
    return {stage: {variant: {on: spread(o) for on, o in judged.items()} for variant, judged in found.items()}
            for stage, found in shares.items()}

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="which seeds (default: 0 1 2)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help='which variants, such as "textures+rooms 0.5"')
    parser.add_argument("--wide", action="store_true", help="with rendered hands among the photos (report)")
    given = parser.parse_args()
    data = load("asl_alphabet", size=SIZE)
    data = data[data.part == 0]
    clip = [(data.groups == o).nonzero()[:, 0] for o in range(3)]
    for seed in given.seeds:
        here, judged = clip[seed % 2][::3], {"the other clip": data[clip[1 - seed % 2][::2]]}
        if given.stage == "report":
            here, judged = torch.cat(clip[:2])[::3], {"frames 2001-2500": data[clip[2]], **everyone()}
        for name in given.only or (CHOICES if given.stage == "choose" else REPORTED):
            title = f"{name}, wide" if given.wide else name
            file = RUNS/f"{given.stage} {title} {seed}.json".replace(" ", "-")
            if file.is_file(): continue
            write_json(file, dict(stage=given.stage, variant=title, seed=seed, epochs=EPOCHS,
                                  **learn(CHOICES[name], given.wide, seed, data, here, judged),
                                  commit=provenance()["commit"]))
            print(title, seed, read_json(file)["judged"], flush=True)
            gather()
    print(json.dumps(gather()))

if __name__ == "__main__": main()
