"""What each operation of a recipe is worth on the real ASL frames: one left out, or one alone, everything else equal.

    .venv/bin/python benchmarks/ablation.py              # all of it: three seeds
    .venv/bin/python benchmarks/ablation.py --seeds 0    # one seed, for instance in one of several processes

Needs SIGNS_DATA. Of the recording only frames 1 to 2000 are looked at, since the rest is for reporting: an even seed
learns every third frame of clip 1 and is judged on every second one of clip 2, an odd seed the other way round.
SignNet at 48 px, 8 epochs, the last weights. A finished run is a file in runs/ablation/, so it can be stopped and
started again; then all are gathered into nbs/results/ablation.json, from which nbs/02f_ablation.ipynb makes its chart.
The last line is JSON: {variant: [mean accuracy, deviation over seeds, number of seeds]}."""
import argparse
import json
import math
from pathlib import Path

import torch
from signs_nbdev.ablation import variants
from signs_nbdev.augment import RECIPES
from signs_nbdev.core import progress, provenance, read_json, seed_everything, write_json
from signs_nbdev.models import create_model
from signs_nbdev.sources import load
from signs_nbdev.train import TrainConfig, load_data, make_accelerator, make_augment, make_optimizer, predict, train_epoch

ROOT = Path(__file__).parents[1]
RUNS, RESULT = ROOT/"runs/ablation", ROOT/"nbs/results/ablation.json"
SIZE, EPOCHS = 48, 8
CANDIDATES = {  # operations that the recipe does not have, at the doses other recipes give them
    "elastic": dict(push=0.5, p=0.5), "thinplate": dict(push=0.2, p=0.5), "mixup": dict(share=0.5, p=0.5),
    "cutmix": dict(share=0.5, p=0.5), "mirror": dict(p=0.5)}

def learn(ops: dict, seed: int, data, clips: torch.Tensor) -> dict:
    "Train on a part of one clip; right answers on a part of the other"
    here, there = (clips == seed % 2).nonzero()[:, 0][::3], (clips == 1 - seed % 2).nonzero()[:, 0][::2]
    config = TrainConfig(dataset="asl_alphabet", recipe=ops, size=SIZE, epochs=EPOCHS, seed=seed,
                         learning_rate=8e-3, precision="bf16")
    accelerator = make_accelerator(config)
    seed_everything(seed)
    model = create_model(config.arch, data.classes, 3, SIZE)
    steps = EPOCHS*math.ceil(len(here)/config.batch_size)
    parts = accelerator.prepare(model, *make_optimizer(model, config, steps))
    data, here, augment = (o.to(accelerator.device) for o in (data, here, make_augment(config)))
    with progress(EPOCHS*len(here), "training") as bar:
        losses = [train_epoch(parts[0], data, here, augment, *parts[1:], accelerator, config, epoch, bar.update)
                  for epoch in range(1, EPOCHS + 1)]
    right = predict(accelerator.unwrap_model(parts[0]), data, there).argmax(1) == data.labels[there].cpu()
    return dict(learnt=len(here), n=len(there), correct=right.sum().item(), last_loss=losses[-1])

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="which seeds (default: 0 1 2)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="variants whose names begin so")
    given = parser.parse_args()
    data = load("asl_alphabet", size=SIZE)
    data = data[(data.part == 0) & (data.frames <= 2000)]
    for seed in given.seeds:
        for name, ops in variants(RECIPES["hands"], CANDIDATES).items():
            file = RUNS/f"{name} {seed}.json".replace(" ", "-")
            if not name.startswith(tuple(given.only)) or file.is_file(): continue
            write_json(file, dict(variant=name, seed=seed, ops=ops, **learn(ops, seed, data, data.groups),
                                  commit=provenance()["commit"]))
            print(file.stem, read_json(file)["correct"]/read_json(file)["n"], flush=True)
    rows = [read_json(file) for file in sorted(RUNS.glob("*.json"))]
    write_json(RESULT, dict(size=SIZE, epochs=EPOCHS, recipe=RECIPES["hands"], candidates=CANDIDATES, runs=rows))

if __name__ == "__main__": main()
