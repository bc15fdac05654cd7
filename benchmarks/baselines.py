"""What each step brought: the networks that were there before and ours, on the same five folds of Oracle-MNIST.

    .venv/bin/python benchmarks/baselines.py                       # every method, seed 0
    .venv/bin/python benchmarks/baselines.py signnet --seeds 0 1 2 # one of them, more seeds: of folds, weights and draws
    .venv/bin/python benchmarks/baselines.py student-asl           # the student's network on ASL frames, two splits

Needs SIGNS_DATA, and signs_nbdev[weights] for the pretrained network. A method trained our way is run by `signs train`, as
a user would start it, and keeps a run folder; one trained as its authors did is a plain loop below, which learns the
slice to choose by too, for they had none, and keeps its last weights. What is finished is kept, so it can be stopped
and started again. All goes to nbs/results/baselines.json, from where nbs/03_cnn.ipynb makes its table. Seconds
are CPU time of one thread for learning one picture, all methods measured side by side: good for ratios.
The last line is JSON: {method: [correct, n]}."""
import argparse
import json
from functools import partial
from time import process_time

import torch
import torch.nn.functional as F
from results import ROOT, RUNS, keep, train
from torch.optim import SGD, Adam

from signs_nbdev.augment import RECIPES
from signs_nbdev.cnn import summary
from signs_nbdev.core import read_json, write_json
from signs_nbdev.config import TrainConfig
from signs_nbdev.data import SignData, to_float
from signs_nbdev.evaluate import read_run
from signs_nbdev.loop import Training
from signs_nbdev.machine import one_thread, provenance, seed_everything
from signs_nbdev.models import create_model, load_model
from signs_nbdev.sources import load
from signs_nbdev.train import load_data

RESULT, BATCH = ROOT/"nbs/results/baselines.json", 64

AUTHORS = {  # network, optimizer and passes of those who made it
    "student": ("mobilenetv3_small_100", partial(Adam, lr=1e-3), 15),
    "paper": ("paper_cnn", partial(SGD, lr=0.1, momentum=0.5), 15)}
OURS = {  # parameters of the training notebook
    "paper-our-way": dict(arch="paper_cnn"),
    "student-our-way": dict(arch="mobilenetv3_small_100"),
    "signnet-none": dict(recipe="none", epochs=10),  # by then it knows them by heart
    "signnet": {},
    "signnet-long": dict(epochs=100, views=9, recipe={
        **RECIPES["bones"], "affine": dict(rotate=5, shift=0.1, scale=0.2, shear=8), "elastic": dict(push=0.5, p=0.5),
        "cutmix": dict(share=0.5, p=0.5)}),
    "pretrained": dict(arch="tf_efficientnet_lite0", pretrained="package", precision="fp32", epochs=8)}
STUDENT_ASL = {f"student-asl-{split}": dict(dataset="asl_alphabet", split=split, arch="seed_cnn", size=64, recipe="none",
                                            epochs=3, learning_rate=1e-3, label_smoothing=0.0) for split in ("random", "block")}

def learn(data: SignData, rows: torch.Tensor, arch: str, optimizer, epochs: int, seed: int):
    "A training as in a tutorial: no augmentation, no schedule, the last weights"
    seed_everything(seed)
    model = create_model(arch, data.classes, 1, 28, normalize="pretrained", stem="keep")
    optimizer = optimizer(model.parameters())
    for some in (o for _ in range(epochs) for o in rows[torch.randperm(len(rows))].split(BATCH) if len(o) == BATCH):
        loss = F.cross_entropy(model(to_float(data.images[some])), data.labels[some])
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    return model

def by_authors(method: str, data: SignData, seed: int, fold: int) -> dict:
    "Right answers on a fold"
    split = data.split("kfold", seed=seed, fold=fold)
    model = learn(data, torch.cat([split.train, split.valid]), *AUTHORS[method], seed)
    right = model.predict(data.images[split.test]).argmax(1) == data.labels[split.test]
    return dict(correct=int(right.sum()), n=len(right), seed=seed, fold=fold, commit=provenance()["commit"])

def our_way(name: str, parameters: dict) -> dict:
    "Run the training notebook, unless it has run: right answers on the test part"
    if not (RUNS/name/"metrics.json").is_file(): train(RUNS/name, parameters)
    keep(name)
    run = read_run(RUNS/name)
    return {k: run.metrics["test"][k] for k in ("correct", "n")} | {k: run.config[k] for k in ("seed", "fold")}

def run_name(method: str, seed: int, fold: int) -> str:
    "Seed 0 of the usual method bears the name that benchmarks/results.py gave it"
    return f"oracle-fold-{fold}" if (method, seed) == ("signnet", 0) else f"oracle-{method}-{seed}-{fold}"

def costs(method: str, data: SignData, steps: int = 10) -> dict:
    "Of a method: parameters, multiply-adds, pictures learnt in a fold, and CPU seconds a picture, the best of three times"
    rows, times = torch.arange(BATCH*steps), []
    for _ in range(3):
        if method in AUTHORS:
            arch, optimizer, epochs = AUTHORS[method]
            start = process_time()
            model = learn(data, rows, arch, optimizer, 1, 0)
            pictures = epochs*(2400 // BATCH*BATCH)
        else:
            _, split, config = load_data(TrainConfig(dataset="oracle_mnist", **OURS[method]))
            training = Training(config, data, rows)
            start = process_time()
            training.walk(1)
            model, pictures = training.plain, config.epochs*len(split.train)
        times.append((process_time() - start)/len(rows))
    made = summary(model.eval())
    return dict(arch=model.config["arch"], parameters=made.params, multiply_adds=made.macs, pictures=pictures, seconds=min(times))

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help="which, of: " + ", ".join([*AUTHORS, *OURS, "student-asl"]))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="which seeds (default: 0)")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="which folds (default: all five)")
    given = parser.parse_args()
    wanted = given.methods or [*AUTHORS, *OURS, "student-asl"]
    done, data = read_json(RESULT) if RESULT.is_file() else {"methods": {}}, load("oracle_mnist")
    methods = done["methods"]
    for method in (o for o in (*AUTHORS, *OURS) if o in wanted):
        runs = methods.setdefault(method, {"runs": {}})["runs"]
        for seed, fold in ((seed, fold) for seed in given.seeds for fold in given.folds):
            name = run_name(method, seed, fold)
            if method in AUTHORS and name not in runs:
                with one_thread(): runs[name] = by_authors(method, data, seed, fold)
            elif method in OURS:
                runs[name] = our_way(name, dict(dataset="oracle_mnist", split="kfold", fold=fold, seed=seed, **OURS[method]))
            print(name, runs[name], flush=True)
            write_json(RESULT, done)
    if "student-asl" in wanted:
        for name, parameters in STUDENT_ASL.items():
            runs = {name: our_way(name, parameters)}
            methods[name] = {"runs": runs, "arch": "seed_cnn", "parameters": summary(load_model(RUNS/name)).params}
    with one_thread():
        for method in methods.keys() & {*AUTHORS, *OURS}: methods[method] |= costs(method, data)
    write_json(RESULT, done)
    print(json.dumps({k: [sum(o[what] for o in v["runs"].values()) for what in ("correct", "n")] for k, v in methods.items()}))

if __name__ == "__main__": main()
