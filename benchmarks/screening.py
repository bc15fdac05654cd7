"""What was tried to read Oracle-MNIST better, judged on slices of training parts: test folds are not touched.

    .venv/bin/python benchmarks/screening.py            # every variant, on the training part of fold 1
    .venv/bin/python benchmarks/screening.py --folds 0 1 2 mirror "weight decay 0.5"

Needs SIGNS_DATA. Each variant changes the usual training in one point or a few, learns four fifths of a fold's training
part (1,920 pictures) and is judged on the rest (480): as it stands after the last epoch, and with its weights averaged
along the way and nine views of each picture. What was measured stands in nbs/results/screening.json, from where
nbs/03_cnn.ipynb makes its table, and is not measured again. The last line is JSON: {variant: [correct, averaged, n]}."""
import argparse
import json
from pathlib import Path

from signs_nbdev.augment import RECIPES
from signs_nbdev.config import TrainConfig
from signs_nbdev.core import progress, read_json, write_json
from signs_nbdev.loop import Training, predict
from signs_nbdev.machine import one_thread, provenance
from signs_nbdev.train import load_data
from timm.utils.model_ema import ModelEmaV3

RESULT = Path(__file__).parents[1]/"nbs/results/screening.json"
BONES, DECAY = RECIPES["bones"], 0.995
WIDE = {"affine": dict(rotate=5, shift=0.1, scale=0.2, shear=8)}

VARIANTS = {
    "as usual": {},
    "strength 0.6": dict(strength=0.6),
    "more of everything, thin plate": dict(recipe={
        **WIDE, "elastic": dict(push=0.5, p=0.6), "thinplate": dict(push=0.1, p=0.5), "brightness": dict(change=0.2, p=0.5),
        "contrast": dict(change=0.6, p=0.5), "blur": dict(sigma=0.8, p=0.2), "noise": dict(std=0.1, p=0.2),
        "erase": dict(area=0.05, p=0.5)}),
    "mirror": dict(recipe={**BONES, "mirror": dict(p=0.5)}),
    "weight decay 0.5": dict(weight_decay=0.5),
    "cutmix, wider warps, 100 epochs": dict(epochs=100, recipe={
        **BONES, **WIDE, "elastic": dict(push=0.5, p=0.5), "cutmix": dict(share=0.5, p=0.5)}),
    "signnet_base": dict(arch="signnet_base"),
    "60 epochs": dict(epochs=60),
    "pretrained, 8 epochs": dict(arch="tf_efficientnet_lite0", pretrained="package", precision="fp32", epochs=8),
    "pretrained, lower layers slower, 8 epochs": dict(
        arch="tf_efficientnet_lite0", pretrained="package", precision="fp32", epochs=8, learning_rate=2e-3,
        layer_decay=0.85, frozen_epochs=1, thaw=30),
}

def train(fold: int, parameters: dict) -> dict:
    "One training: right answers on the slice, of the last weights and of the averaged ones with nine views"
    data, _, config = load_data(TrainConfig(dataset="oracle_mnist", split="kfold", fold=fold, **parameters))
    split = data.split("kfold", fold=fold, valid=0.2)
    training = Training(config, data, split.train)
    average, learn = ModelEmaV3(training.plain, DECAY, use_warmup=True), training.learn
    def learn_and_average(*given):
        loss = learn(*given)
        average.update(training.plain, training.step)
        return loss
    training.learn = learn_and_average
    for epoch in range(1, config.epochs + 1): training.walk(epoch)
    right = lambda model, views: int((predict(model, data, split.valid, views=views).argmax(1) == data.labels[split.valid]).sum())
    return dict(fold=fold, correct=right(training.plain, 1), averaged=right(average.module, 9), n=len(split.valid),
                commit=provenance()["commit"])

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help="which (default: all)")
    parser.add_argument("--folds", type=int, nargs="+", default=[1], help="of whose training parts (default: 1)")
    given = parser.parse_args()
    names, done = given.variants or [*VARIANTS], read_json(RESULT) if RESULT.is_file() else {}
    with progress(len(names)*len(given.folds), "screening", " trainings") as bar, one_thread():
        for fold in given.folds:
            for name in names:
                runs = done.setdefault(name, [])
                if fold not in [o["fold"] for o in runs]:
                    runs.append(train(fold, VARIANTS[name]))
                    write_json(RESULT, done)
                bar.update()
    print(json.dumps({name: [sum(o[k] for o in runs) for k in ("correct", "averaged", "n")] for name, runs in done.items()}))

if __name__ == "__main__": main()
