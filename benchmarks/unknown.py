"""When a run should not answer: what its threshold and its sets are worth on real pictures, and on foreign ones.

    .venv/bin/python benchmarks/unknown.py                   # all of WANTED, runs in runs/results/
    .venv/bin/python benchmarks/unknown.py asl RUN_FOLDER    # one of them, in another run folder

Needs SIGNS_DATA and finished runs with their weights. Nothing is written into the run folders (`fit_reject` does that).
Twenty test pictures of each sign stand for the test part, twenty of each for the features' means, and of each foreign
kind there are 300. Results go to nbs/results/unknown-*.json, from where nbs/05d_unknown.ipynb makes its tables.
The last line is JSON: {name: {"covered": {part: share}, "auroc": {score: {kind: share}}}}."""
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from results import ROOT, RUNS
from robust import EACH, of_each_sign, opened
from signs_nbdev.core import ASL_CLASSES, write_json
from signs_nbdev.cutouts import EMPTY
from signs_nbdev.data import SignData
from signs_nbdev.evaluate import evaluate
from signs_nbdev.explain import features
from signs_nbdev.machine import data_root
from signs_nbdev.metrics import Metrics
from signs_nbdev.sessions import hands_data
from signs_nbdev.sources import load
from signs_nbdev.unknown import (
    ODDNESS, SCORES, accuracy_curve, all_scores, auroc, conformal_sets, coverage_error, fit_clusters, foreign,
    limit_for, threshold_for)

WANTED = {"asl": "asl-block-scenes-0", "oracle": "oracle-fold-0"}
FOREIGN, KEEP, COVERAGES, POINTS = 300, 0.95, (0.9, 0.95), 100
LETTERS = 26 # the first classes of the manual alphabet; the rest are del, nothing, space

def others(name: str, size: int) -> dict[str, SignData]:
    "Known signs by other hands"
    if name != "asl": return {}
    found = {o: load("folder", data_root()/"asl_external"/o, size, classes=ASL_CLASSES) for o in ("desk", "studio")}
    return {o: data[data.labels < LETTERS] for o, data in found.items()}

def sets_on(metrics: Metrics, kind: str, limit: float) -> dict:
    sets = conformal_sets(metrics.chance, kind, limit)
    held = sets.gather(1, metrics.truth[:, None]).sum().item()
    return {"held": held, "n": metrics.n, "size": sets.sum(1).float().mean().item()}

def measured(name: str, folder: Path) -> dict:
    "All that is told of a run"
    model, data, split = opened(folder)
    size, channels = model.config["size"], model.config["channels"]
    tests = of_each_sign(data, split.test, EACH)
    parts = {"validation": evaluate(model, data, split.valid), "test": evaluate(model, data, tests)}
    parts |= {k: evaluate(model, o, of_each_sign(o, torch.arange(len(o)), EACH)) for k, o in others(name, size).items()}
    valid, test = parts["validation"], parts["test"]
    halves = test.chance[::2], test.truth[::2], Metrics(test.chance[1::2], test.truth[1::2], test.classes)
    sets = {f"{kind} {c:g}": {
        **{part: sets_on(o, kind, limit_for(valid.chance, valid.truth, kind, c)) for part, o in parts.items()},
        "half of the test by the other": sets_on(halves[2], kind, limit_for(*halves[:2], kind, c)),
        "error": coverage_error(c, valid.n, test.n)} for kind in ODDNESS for c in COVERAGES}

    clusters = fit_clusters(features(model, data, rows := of_each_sign(data, split.train, 20)), data.labels[rows])
    seen = lambda o, index: all_scores(features(model, o, index), model.network.get_classifier(), clusters)
    known = seen(data, tests)
    other = load("oracle_mnist") if channels == 3 else hands_data(size=size, sessions=12, frames=1)
    strange = foreign(size, channels, FOREIGN, other=mixed(other))
    made = {k: SignData(o, torch.zeros(len(o), dtype=torch.int64), model.classes, k) for k, o in strange.items()}
    scores = {k: seen(o, torch.arange(len(o))) for k, o in made.items()}
    limit, taken = threshold_for(SCORES["confidence"](valid.chance), KEEP), {}
    for kind, o in {**made, **others(name, size), "test": data[tests]}.items():
        chance, answer = model.predict(o.images).max(1)
        nothing = answer == (model.classes.index(EMPTY) if EMPTY in model.classes else -1)
        refused = chance < limit
        taken[kind] = {"n": len(o), "refused": refused.sum().item(), EMPTY: (nothing & ~refused).sum().item()}
    curves = {score: thinned(*accuracy_curve(known[score], test.answer == test.truth)) for score in known}
    return {"run": folder.name, "on": f"{data.name}, {split.kind} split", "keep": KEEP, "threshold": limit,
            "accuracy": {k: {"correct": o.correct, "n": o.n} for k, o in parts.items()}, "sets": sets,
            "auroc": {s: {k: auroc(known[s], o[s]) for k, o in scores.items()} for s in known},
            "foreign": taken, "curves": curves}

def mixed(data: SignData) -> SignData:
    "Some of its pictures, of all its signs"
    return data[torch.linspace(0, len(data) - 1, FOREIGN).long()]

def thinned(share: Tensor, accuracy: Tensor) -> list[list[float]]:
    at = torch.linspace(len(share)//20, len(share) - 1, POINTS).long()
    return [[round(v, 4) for v in o[at].tolist()] for o in (share, accuracy)]

def main():
    done, (only, *folder) = {}, sys.argv[1:] or [""]
    for name, ours in WANTED.items():
        if not name.startswith(only): continue
        found = measured(name, Path(folder[0]) if folder else RUNS/ours)
        write_json(ROOT/f"nbs/results/unknown-{name}.json", found)
        covered = {k: o["held"]/o["n"] for k, o in found["sets"]["lac 0.9"].items() if k != "error"}
        done[name] = {"covered": covered, "auroc": found["auroc"]}
    print(json.dumps(done))

if __name__ == "__main__": main()
