"""Do models look at the hand, on real frames that they have not seen?

    .venv/bin/python benchmarks/explain.py RUN [RUN ...]   # run folders of the ASL Alphabet, split by clips

Needs SIGNS_DATA. From each run's test clip it takes pictures whose hand can be cut out of the film (the test clip's own
film; no model is chosen by it), the same for every run: `EACH` of every sign. For each of them it asks how much of an
explanation of the model's answer lies on the hand: of Grad-CAM and of occlusion. What a map would have there that knows
nothing is the hand's share of the picture. Then the hand is laid over other scenes, and it asks again, and how many
answers stay right. Results go to nbs/results/explain.json (runs that are in it are not asked again), where
nbs/05b_explain.ipynb makes its figure; no picture leaves the machine.
The last line is JSON: {run: {scene: {"accuracy": share, "grad_cam": share, "occlusion": share}}}."""
import argparse
import json
from pathlib import Path

import torch
from results import ROOT
from signs_nbdev.config import TrainConfig
from signs_nbdev.core import read_json, write_json
from signs_nbdev.explain import grad_cam, mass_inside, occlusion
from signs_nbdev.machine import provenance
from signs_nbdev.models import load_model
from signs_nbdev.scenes import Scenes, backgrounds, cutouts
from signs_nbdev.train import load_data

RESULT, EACH, SEED = ROOT/"nbs/results/explain.json", 6, 1
WAYS = {"grad_cam": grad_cam, "occlusion": occlusion}


def chosen(data, split) -> tuple[torch.Tensor, torch.Tensor]:
    "Test pictures whose hand was cut out, `EACH` of every sign, evenly along the film, and all masks"
    masks, rows = cutouts(data, split.test), []
    for sign in data.labels[split.test].unique():
        here = split.test[data.labels[split.test] == sign]
        cut = here[(masks[here].flatten(1).amin(1) == 0) & (masks[here].flatten(1).amax(1) > 0)]
        rows.append(cut[torch.linspace(0, len(cut) - 1, min(EACH, len(cut))).long()])
    return torch.cat(rows), masks

def look(model, images, labels, masks) -> dict:
    "How many answers are right, and how much of their explanation lies on the hand, picture by picture"
    right = model.predict(images).argmax(1).cpu() == labels
    return {"correct": int(right.sum()), "right": right.int().tolist(),
            **{name: [round(o, 4) for o in mass_inside(explain(model, images).cpu(), masks).nan_to_num(0).tolist()]
               for name, explain in WAYS.items()}}

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a finished run folder")
    given = parser.parse_args()
    results = read_json(RESULT)["runs"] if RESULT.is_file() else {}
    for folder in given.runs:
        if folder.name in results: continue
        config = TrainConfig(**read_json(folder/"config.json"))
        data, split, _ = load_data(config)
        rows, masks = chosen(data, split)
        hands, model = masks[rows].float()/255, load_model(folder)
        elsewhere = Scenes(masks, backgrounds("textures+rooms", 300, config.size, SEED), 1.0, SEED)
        seen = {"as filmed": data.images[rows], "over other scenes": elsewhere(data.images[rows], rows, 0)}
        results[folder.name] = {
            "n": len(rows), "scenes": config.scenes, "data": data.hash, "split": split.kind,
            "hand": [round(o, 4) for o in hands.mean((1, 2)).tolist()],
            "seen": {name: look(model, images, data.labels[rows], hands) for name, images in seen.items()}}
        write_json(RESULT, {"commit": provenance()["commit"], "each": EACH, "runs": results})
        print(folder.name, len(rows), "pictures", flush=True)
    mean = lambda o: round(sum(o)/len(o), 4)
    print(json.dumps({run: {name: {"accuracy": mean(o["right"]), **{k: mean(o[k]) for k in WAYS}}
                            for name, o in found["seen"].items()} for run, found in results.items()}))

if __name__ == "__main__": main()
