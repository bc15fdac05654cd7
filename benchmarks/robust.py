"""What spoilt pictures cost a run, beside a baseline: test pictures of each sign, all corruptions, five severities.

    .venv/bin/python benchmarks/robust.py                            # all of WANTED, runs in runs/results/
    .venv/bin/python benchmarks/robust.py asl                        # one of them
    .venv/bin/python benchmarks/robust.py asl RUN_FOLDER BASELINE    # the same for other run folders

Needs SIGNS_DATA and finished runs with their weights (benchmarks/results.py trains them; the baseline of oracle is
trained here, unless it is there). Twenty pictures of each sign are asked about. Results go to
nbs/results/robust-*.json, from where nbs/05a_robust.ipynb draws them.
The last line is JSON: {name: {"clean": share, "spoilt": share, "mce": ratio, "n": n}}."""
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from results import ROOT, RUNS
from signs_nbdev.config import TrainConfig
from signs_nbdev.core import read_json, write_json
from signs_nbdev.data import SignData, Split
from signs_nbdev.evaluate import run
from signs_nbdev.models import SignModel, load_model
from signs_nbdev.robust import robustness
from signs_nbdev.sources import load

WANTED = {"asl": ("asl-block-scenes-0", "asl-block-none-0"), "oracle": ("oracle-fold-0", "oracle-fold-0-none")}
NAMES = {"asl": ("recipe and other scenes", "no augmentation"), "oracle": ("recipe", "no augmentation")}
EACH = 20 # pictures of each sign

def opened(folder: Path) -> tuple[SignModel, SignData, Split]:
    "A run's model, data and split; runs of older versions too"
    config = read_json(folder/"config.json")
    data = load(config["dataset"], size=config["size"])
    return load_model(folder), data, data.split(config["split"], seed=config["seed"], fold=config.get("fold", 0))

def of_each_sign(data: SignData, index: Tensor, each: int) -> Tensor:
    "Some pictures of each sign, from all over the selection"
    of_sign = [index[data.labels[index] == k] for k in range(len(data.classes))]
    return torch.cat([rows[torch.linspace(0, len(rows) - 1, min(each, len(rows))).long()] for rows in of_sign])

def main():
    done, (only, *folders) = {}, sys.argv[1:] or [""]
    for name, ours in WANTED.items():
        if not name.startswith(only): continue
        taught, baseline = map(Path, folders) if folders else (RUNS/o for o in ours)
        if name == "oracle" and not (baseline/"metrics.json").is_file():
            run(TrainConfig(dataset="oracle_mnist", split="kfold", recipe="none", epochs=15, out=str(baseline)))
        found = None
        for folder, called in zip((baseline, taught), NAMES[name][::-1]):
            model, data, split = opened(folder)
            on = f"{data.name}, {split.kind} split"
            found = robustness(model, data, of_each_sign(data, split.test, EACH), baseline=found, name=called, on=on)
            print(found, flush=True)
        write_json(ROOT/f"nbs/results/robust-{name}.json", asdict(found))
        done[name] = {"clean": found.clean/found.n, "spoilt": found.mean_accuracy, "mce": found.mce, "n": found.n}
    print(json.dumps(done))

if __name__ == "__main__": main()
