"""What each operation of a recipe is worth on the real ASL frames: one left out, or one alone, everything else equal.

    .venv/bin/python benchmarks/ablation.py              # all of it: three seeds
    .venv/bin/python benchmarks/ablation.py --seeds 0    # one seed, for instance in one of several processes
    .venv/bin/python benchmarks/ablation.py --confirm    # what it says of the recipe, at five times the cost

Needs SIGNS_DATA. Of the recording only frames 1 to 2000 are looked at, since the rest is for reporting: an even seed
learns every third frame of clip 1 and is judged on every second one of clip 2, an odd seed the other way round.
SignNet at 48 px, 8 epochs, the last weights. What a short training cannot yet use a longer one may need, so the changes
that it advises are confirmed on all frames of the clip in 14 epochs, as long as the real training. A finished run is a file in runs/ablation/, so it can be stopped and
started again; then all are gathered into nbs/results/ablation.json, from which nbs/02f_ablation.ipynb makes its chart.
The last line is JSON: {variant: [mean accuracy, deviation over seeds, number of seeds]}."""
import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from signs_nbdev.ablation import variants
from signs_nbdev.config import TrainConfig
from signs_nbdev.core import progress, read_json, write_json
from signs_nbdev.loop import Training, predict
from signs_nbdev.machine import provenance
from signs_nbdev.sources import load

ROOT = Path(__file__).parents[1]
RUNS, RESULT = ROOT/"runs/ablation", ROOT/"nbs/results/ablation.json"
SIZE, SHORT, LONG = 48, dict(every=3, epochs=8), dict(every=1, epochs=14)
TESTED = {  # the recipe before it was asked what it is worth
    "affine": dict(rotate=15, shift=0.12, scale=0.2, shear=8), "perspective": dict(corner=0.15, p=0.2),
    "saturation": dict(change=0.6), "hue": dict(turn=0.04, p=0.5), "lamp": dict(p=0.5), "grey": dict(p=0.2),
    "brightness": dict(change=0.2, p=0.8), "contrast": dict(change=0.6), "gamma": dict(change=0.8),
    "light": dict(gain=0.3, p=0.5), "equalize": dict(p=0.1), "blur": dict(sigma=1, p=0.2),
    "noise": dict(std=0.03, p=0.2), "erase": dict(area=0.1, p=0.2), "ghost": dict(share=0.45),
}
CANDIDATES = {  # operations that it does not have, at the doses other recipes give them
    "elastic": dict(push=0.5, p=0.5), "thinplate": dict(push=0.2, p=0.5), "mixup": dict(share=0.5, p=0.5),
    "cutmix": dict(share=0.5, p=0.5), "mirror": dict(p=0.5)}
ADVISED = {"whole, long": (), "without ghost, long": ("ghost",), "without ghost and grey, long": ("ghost", "grey")}

def learn(ops: dict, seed: int, data, every: int, epochs: int) -> dict:
    "Train on a part of one clip; right answers on a part of the other"
    here, there = (data.groups == seed % 2).nonzero()[:, 0][::every], (data.groups == 1 - seed % 2).nonzero()[:, 0][::2]
    training = Training(TrainConfig(dataset="asl_alphabet", recipe=ops, size=SIZE, epochs=epochs, seed=seed,
                                    learning_rate=8e-3, precision="bf16"), data, here)
    with progress(epochs*len(here), "training") as bar:
        losses = [training.walk(epoch, bar.update) for epoch in range(1, epochs + 1)]
    right = predict(training.plain, training.data, there).argmax(1) == data.labels[there]
    return dict(learnt=len(here), n=len(there), correct=right.sum().item(), last_loss=losses[-1])

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="which seeds (default: 0 1 2)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="variants whose names begin so")
    parser.add_argument("--confirm", action="store_true", help="the long runs instead of the short ones")
    given = parser.parse_args()
    cost = LONG if given.confirm else SHORT
    plan = {name: {k: v for k, v in TESTED.items() if k not in left_out} for name, left_out in ADVISED.items()}
    if not given.confirm: plan = variants(TESTED, CANDIDATES)
    data = load("asl_alphabet", size=SIZE)
    data = data[(data.part == 0) & (data.frames <= 2000)]
    for seed in given.seeds:
        for name, ops in plan.items():
            file = RUNS/f"{name} {seed}.json".replace(",", "").replace(" ", "-")
            if not name.startswith(tuple(given.only)) or file.is_file(): continue
            write_json(file, dict(variant=name, seed=seed, ops=ops, **learn(ops, seed, data, **cost),
                                  commit=provenance()["commit"]))
            print(file.stem, read_json(file)["correct"]/read_json(file)["n"], flush=True)
    rows = [{k: v for k, v in read_json(file).items() if k != "ops"} for file in sorted(RUNS.glob("*.json"))]
    write_json(RESULT, dict(size=SIZE, short=SHORT, long=LONG, recipe=TESTED, candidates=CANDIDATES, runs=rows))
    found = defaultdict(list)
    for o in rows: found[o["variant"]].append(o["correct"]/o["n"])
    print(json.dumps({k: [mean(v), stdev(v) if len(v) > 1 else None, len(v)] for k, v in found.items()}))

if __name__ == "__main__": main()
