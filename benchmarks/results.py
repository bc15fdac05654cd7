"""Makes every figure that the README shows: each by `signs train`, as a user would call it.

    .venv/bin/python benchmarks/results.py                 # all of them, one after the other
    .venv/bin/python benchmarks/results.py oracle asl-block # those whose names begin so

Needs SIGNS_DATA. Runs go to runs/results/, and finished ones are kept, so it can be stopped and started again. What a
reader needs of them (no weights, no pictures) is copied to nbs/results/, from where nbs/index.ipynb makes its table.
The last line is JSON: {name: {"accuracy": ..., "correct": ..., "n": ...}}."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

from signs_nbdev.evaluate import read_run

ROOT = Path(__file__).parents[1]
KEPT = ("config.json", "provenance.json", "metrics.json", "external.json", "history.jsonl", "speed.jsonl")
RUNS = ROOT/"runs/results"

WANTED = {"hands-block": {}, "hands-random": dict(split="random")}
for split in ("random", "block"):
    for recipe in ("none", "hands"):
        for seed in range(3 if (split, recipe) == ("block", "hands") else 1):
            WANTED[f"asl-{split}-{recipe}-{seed}"] = dict(dataset="asl_alphabet", split=split, recipe=recipe, seed=seed)
            if recipe == "none": WANTED[f"asl-{split}-none-{seed}"] |= dict(epochs=10)  # by then it knows them by heart
for seed in range(3): # hands cut out of the training frames, over other scenes
    WANTED[f"asl-block-scenes-{seed}"] = WANTED[f"asl-block-hands-{seed}"] | dict(scenes="textures+rooms")
for seed in range(3): # brought near too, at 64 px, and with rendered hands to learn from beside them
    WANTED[f"asl-block-joint-{seed}"] = dict(
        dataset="asl_alphabet", split="block", seed=seed, size=64, epochs=8, also="hands_wide",
        scenes="textures+rooms+plain", scene_near=0.5)
    WANTED[f"asl-block-tiny-{seed}"] = WANTED[f"asl-block-joint-{seed}"] | dict(arch="signnet_tiny")
WANTED |= {f"oracle-fold-{fold}": dict(dataset="oracle_mnist", split="kfold", fold=fold) for fold in range(5)}


def train(folder: Path, parameters: dict):
    "Run the training notebook into `folder`, from its beginning"
    shutil.rmtree(folder, ignore_errors=True)
    given = [f"{k}={v}" for k, v in {**parameters, "out": folder}.items()]
    subprocess.run([Path(sys.executable).with_name("signs"), "train", *given], cwd=ROOT, check=True)

def keep(name: str):
    "Copy what a reader needs of a run"
    (ROOT/"nbs/results"/name).mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        if (RUNS/name/file).is_file(): shutil.copy(RUNS/name/file, ROOT/"nbs/results"/name/file)

def main():
    done = {}
    for name, parameters in WANTED.items():
        if sys.argv[1:] and not name.startswith(tuple(sys.argv[1:])): continue
        if not (RUNS/name/"metrics.json").is_file(): train(RUNS/name, parameters)
        run = read_run(RUNS/name)
        keep(name)
        done[name] = {k: run.metrics["test"][k] for k in ("accuracy", "correct", "n")}
        print(name, done[name], flush=True)
    print(json.dumps(done))

if __name__ == "__main__": main()
