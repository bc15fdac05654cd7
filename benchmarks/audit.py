"""Which changes keep a sign and which turn it into another, and from that the limits of the recipes.

    .venv/bin/python benchmarks/audit.py          # all three, one after the other
    .venv/bin/python benchmarks/audit.py bones    # those whose names begin so

Needs SIGNS_DATA. Trains the readers first; runs go to runs/results/, and finished ones are kept, so it can be stopped
and started again. Results go to nbs/results/audit-*.json, where nbs/02e_audit.ipynb makes its figures.

photos    the ASL Alphabet, random split: neighbours of the frames are trained on, as the question is what becomes of
          pictures that the reader knows, not how well it reads new ones.
rendered  hands drawn from a skeleton, random split.
bones     Oracle-MNIST, five readers, each asked about the fold that it was not trained on.

They are asked 40 pictures of each sign of the test part, or as many as there are. The readers are taught what
cannot change a sign, in plenty: its place and size, light, colour, noise, what hides a part of it. They are never
taught what might: no turning, no shear, no mirror, no bending.
The last line is JSON: {name: {"known": n, "asked": n, "limits": {...}, "beyond": {...}}}."""
import json
import sys

import torch

from results import ROOT, RUNS
from signs_nbdev.audit import audit, beyond, limits, merged, record
from signs_nbdev.augment import RECIPES
from signs_nbdev.core import write_json
from signs_nbdev.evaluate import read_run, run
from signs_nbdev.models import load_model
from signs_nbdev.train import TrainConfig, load_data

BONES = {"affine": dict(shift=0.15, scale=0.3), "brightness": dict(change=0.3, p=0.8), "contrast": dict(change=1),
         "blur": dict(sigma=1.5, p=0.3), "noise": dict(std=0.1, p=0.3), "erase": dict(area=0.2, p=0.3)}
HANDS = {"affine": dict(shift=0.15, scale=0.3), "saturation": dict(change=0.8), "hue": dict(turn=0.1, p=0.3),
         "lamp": dict(p=0.5), "grey": dict(p=0.2), "brightness": dict(change=0.3, p=0.8), "contrast": dict(change=1),
         "gamma": dict(change=1), "light": dict(gain=0.4, p=0.5), "equalize": dict(p=0.1),
         "blur": dict(sigma=1.5, p=0.3), "noise": dict(std=0.06, p=0.3), "erase": dict(area=0.2, p=0.3),
         "ghost": dict(share=0.45, p=0.5)}
READERS = {"photos": [dict(dataset="asl_alphabet", split="random", recipe=HANDS, epochs=10)],
           "rendered": [dict(dataset="hands", split="random", recipe=HANDS, epochs=16)],
           "bones": [dict(dataset="oracle_mnist", split="kfold", fold=fold, recipe=BONES) for fold in range(5)]}

def both(*sizes: float) -> tuple[float, ...]: return (*(-o for o in sizes[::-1]), *sizes)

BOTH = {"affine.rotate": both(5, 10, 15, 20, 25, 30, 45, 60, 90, 120, 150, 180), "mirror": (1,),
        "affine.shift": (0.05, 0.07, 0.1, 0.12, 0.15, 0.2, 0.3), "affine.scale": both(0.12, 0.2, 0.3, 0.5, 0.75, 1),
        "affine.shear": (5, 8, 12, 16, 20, 30), "perspective.corner": (0.1, 0.15, 0.2, 0.3, 0.5),
        "elastic.push": (0.25, 0.5, 0.75, 1, 1.5), "thinplate.push": (0.05, 0.1, 0.15, 0.2, 0.3),
        "blur.sigma": (0.5, 0.8, 1, 1.5, 2, 3), "noise.std": (0.03, 0.05, 0.1, 0.15, 0.2),
        "erase.area": (0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
        "brightness.change": both(0.1, 0.2, 0.3, 0.4, 0.5), "contrast.change": both(0.3, 0.6, 1, 1.5, 2)}
PHOTOS = {"gamma.change": both(0.4, 0.8, 1.2, 2, 3), "light.gain": (0.2, 0.3, 0.4, 0.6, 0.8),
          "saturation.change": both(0.3, 0.6, 0.9), "hue.turn": both(0.04, 0.1, 0.2, 0.3, 0.5),
          "ghost.share": (0.1, 0.2, 0.3, 0.4, 0.45, 0.49), "lamp": (1,), "grey": (1,), "equalize": (1,)}
STRENGTHS = (0.5, 1, 1.5, 2, 3)
EACH = 40  # pictures of each sign, where there are so many

def reader(name: str, parameters: dict) -> TrainConfig:
    "Train a reader, unless it is there"
    config = TrainConfig(**parameters, out=str(RUNS/name))
    if not (RUNS/name/"metrics.json").is_file(): run(config)
    return config

def ask(name: str, parameters: dict, ladders: dict):
    "One reader's audit"
    data, split, _ = load_data(reader(name, parameters))
    of_sign = [split.test[data.labels[split.test] == k] for k in range(len(data.classes))]
    some = torch.cat([rows[::max(1, len(rows)//EACH)][:EACH] for rows in of_sign])
    return audit(load_model(RUNS/name).predict, data, some, ladders)

def main():
    done = {}
    for name, readers in READERS.items():
        if sys.argv[1:] and not name.startswith(tuple(sys.argv[1:])): continue
        usual = "bones" if name == "bones" else "hands"
        ladders = {**BOTH, **(PHOTOS if usual == "hands" else {}), usual: STRENGTHS}
        runs = [f"audit-{name}-{i}" for i in range(len(readers))]
        found = merged([ask(o, parameters, ladders) for o, parameters in zip(runs, readers)])
        tests = [read_run(RUNS/o).metrics["test"] for o in runs]
        bounds = limits(found)
        summary = dict(known=found.n, asked=found.asked, limits=bounds, beyond=beyond(RECIPES[usual], bounds))
        write_json(ROOT/f"nbs/results/audit-{name}.json", {
            "readers": [{**parameters, "correct": o["correct"], "n": o["n"]} for parameters, o in zip(readers, tests)],
            **summary, **record(found)})
        done[name] = summary
        print(name, summary, flush=True)
    print(json.dumps(done))

if __name__ == "__main__": main()
