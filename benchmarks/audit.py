"""Which changes keep a sign and which turn it into another, and from that the limits of the recipes.

    .venv/bin/python benchmarks/audit.py          # all three, one after the other
    .venv/bin/python benchmarks/audit.py bones    # those whose names begin so

Needs SIGNS_DATA. Trains the readers first; runs go to runs/results/, and finished ones are kept, so it can be stopped
and started again. Results go to nbs/results/audit-*.json, where nbs/02e_audit.ipynb makes its figures.

photos    the ASL Alphabet, random split: neighbours of the frames are trained on, as the question is what becomes of
          pictures that the reader knows, not how well it reads new ones.
rendered  hands drawn from a skeleton, random split; only what may change a shape.
bones     Oracle-MNIST, asked about a fold that was not trained on.

They are asked about some pictures of each sign of the test part. They are taught, in plenty, what cannot change a sign:
its place and size, light, colour, noise, what hides a part of it. They are never taught what might: no turning, no
shear, no mirror, no bending.
The last line is JSON: {name: {"known": n, "asked": n, "limits": {...}, "beyond": {...}}}."""
import json
import sys

import torch

from results import ROOT, RUNS
from signs_nbdev.audit import Audit, audit, beyond, limits, record
from signs_nbdev.augment import RECIPES
from signs_nbdev.config import TrainConfig
from signs_nbdev.core import write_json
from signs_nbdev.evaluate import read_run, run
from signs_nbdev.machine import has_bf16
from signs_nbdev.models import load_model
from signs_nbdev.train import load_data

BONES = {"affine": dict(shift=0.15, scale=0.3), "brightness": dict(change=0.3, p=0.8), "contrast": dict(change=1),
         "blur": dict(sigma=1.5, p=0.3), "noise": dict(std=0.1, p=0.3), "erase": dict(area=0.2, p=0.3)}
HANDS = {"affine": dict(shift=0.15, scale=0.3), "saturation": dict(change=0.8), "hue": dict(turn=0.1, p=0.3),
         "lamp": dict(p=0.5), "grey": dict(p=0.2), "brightness": dict(change=0.3, p=0.8), "contrast": dict(change=1),
         "gamma": dict(change=1), "light": dict(gain=0.4, p=0.5), "equalize": dict(p=0.1),
         "blur": dict(sigma=1.5, p=0.3), "noise": dict(std=0.06, p=0.3), "erase": dict(area=0.2, p=0.3),
         "ghost": dict(share=0.45, p=0.5)}
READERS = {"photos": dict(dataset="asl_alphabet", split="random", recipe=HANDS, epochs=10),
           "rendered": dict(dataset="hands", split="random", recipe=HANDS, epochs=16),
           "bones": dict(dataset="oracle_mnist", split="kfold", fold=0, recipe=BONES)}
EACH = {"photos": 40, "rendered": 40, "bones": 60}  # pictures of each sign, if there are so many

def both(*sizes: float) -> tuple[float, ...]: return (*(-o for o in sizes[::-1]), *sizes)

SHAPE = {"affine.rotate": both(5, 10, 15, 20, 25, 30, 45, 60, 90, 120, 150, 180), "mirror": (1,),
         "affine.shear": (5, 8, 12, 16, 20, 30), "perspective.corner": (0.1, 0.15, 0.2, 0.3, 0.5),
         "elastic.push": (0.25, 0.5, 0.75, 1, 1.5), "thinplate.push": (0.05, 0.1, 0.15, 0.2, 0.3)}
LIGHT = {"affine.shift": (0.05, 0.07, 0.1, 0.12, 0.15, 0.2, 0.3), "affine.scale": both(0.12, 0.2, 0.3, 0.5, 1),
         "blur.sigma": (0.5, 0.8, 1, 1.5, 2), "noise.std": (0.03, 0.05, 0.1, 0.15, 0.2),
         "erase.area": (0.05, 0.1, 0.2, 0.3, 0.5),
         "brightness.change": both(0.1, 0.2, 0.3, 0.5), "contrast.change": both(0.3, 0.6, 1, 2)}
COLOUR = {"gamma.change": both(0.4, 0.8, 1.2, 2), "light.gain": (0.2, 0.3, 0.4, 0.6),
          "saturation.change": both(0.3, 0.6, 0.9), "hue.turn": both(0.04, 0.1, 0.2, 0.4),
          "ghost.share": (0.1, 0.2, 0.3, 0.4, 0.45, 0.49), "lamp": (1,), "grey": (1,), "equalize": (1,)}
LADDERS = {"photos": {**SHAPE, **LIGHT, **COLOUR, "hands": (0.5, 1, 1.5, 2, 3)}, "rendered": SHAPE,
           "bones": {**SHAPE, **LIGHT, "bones": (0.5, 1, 1.5, 2, 3)}}

def ask(name: str) -> Audit:
    "One reader's audit; it is trained first, unless it is there"
    config = TrainConfig(**READERS[name], out=str(RUNS/f"audit-{name}"))
    if not (RUNS/f"audit-{name}/metrics.json").is_file(): run(config)
    data, split, _ = load_data(config)
    of_sign = [split.test[data.labels[split.test] == k] for k in range(len(data.classes))]
    some = torch.cat([rows[::max(1, len(rows)//EACH[name])][:EACH[name]] for rows in of_sign])
    predict = load_model(RUNS/f"audit-{name}").predict
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16(torch.device("cpu"))):  # as it was trained
        return audit(predict, data, some, LADDERS[name])

def main():
    done = {}
    for name, parameters in READERS.items():
        if sys.argv[1:] and not name.startswith(tuple(sys.argv[1:])): continue
        found = ask(name)
        test = read_run(RUNS/f"audit-{name}").metrics["test"]
        summary = dict(known=found.n, asked=found.asked, limits=limits(found))
        write_json(ROOT/f"nbs/results/audit-{name}.json", {
            "reader": {**parameters, "correct": test["correct"], "n": test["n"]}, **summary, **record(found)})
        done[name] = {**summary, "beyond": beyond(RECIPES["bones" if name == "bones" else "hands"], summary["limits"])}
        print(name, done[name], flush=True)
    print(json.dumps(done))

if __name__ == "__main__": main()
