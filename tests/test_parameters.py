"Every parameter of the training notebook does something, and what it does is what it says."
import ast
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from signs_nbdev.config import check_here
from signs_nbdev.core import ASL_CLASSES, ConfigError
from signs_nbdev.data import to_float
from signs_nbdev.evaluate import read_history, run
from signs_nbdev.loop import Training
from signs_nbdev.machine import one_thread
from signs_nbdev.models import load_model
from signs_nbdev.train import TrainConfig, load_data

USUAL = dict(dataset="folder", size=16, arch="signnet_tiny", epochs=2, batch_size=16, recipe="hands", split="random",
             learning_rate=4e-3, device="cpu", precision="fp32", checkpoint=0.0)

def trained(place, out, **more):
    with one_thread(): return run(TrainConfig(**{**USUAL, **more}, data_root=place, out=str(out)))

@pytest.fixture(scope="module")
def usual(three_classes, tmp_path_factory):
    return trained(three_classes, tmp_path_factory.mktemp("usual")/"a")

@pytest.mark.parametrize("change", [
    dict(size=24), dict(split="kfold"), dict(split="kfold", fold=1), dict(arch="signnet_plain"), dict(recipe="bones"),
    dict(recipe={"grey": {"p": 0.5}}), dict(strength=0.5), dict(epochs=3), dict(batch_size=8), dict(accumulate=2),
    dict(optimizer="muon"), dict(optimizer="sgd"), dict(schedule="cosine"), dict(schedule="linear"), dict(warmup=0.5),
    dict(learning_rate=1e-3), dict(weight_decay=0.5), dict(layer_decay=0.5), dict(max_norm=0.1), dict(label_smoothing=0.0),
    dict(class_weights=True), dict(ema=0.9), dict(seed=1), dict(precision="bf16"), dict(recipe={"mixup": {"share": 0.5}}),
], ids=str)
def test_other_value_other_weights(usual, three_classes, tmp_path, change):
    folder, _ = trained(three_classes, tmp_path/"a", **change)
    assert (folder/"model.safetensors").read_bytes() != (usual[0]/"model.safetensors").read_bytes()
    stored = json.loads((folder/"config.json").read_text())
    assert {k: stored[k] for k in change} == change

def test_weights_of_others_are_begun_with_and_thawed(usual, three_classes, tmp_path):
    "As a file or as a run, the same weights; frozen and thawed they go another way each time."
    ways = dict(run=dict(start_from=str(usual[0])), file=dict(pretrained=str(usual[0]/"model.safetensors")))
    ways |= {f"thaw {o}": dict(start_from=str(usual[0]), frozen_epochs=1, thaw=o) for o in (1, 2)}
    ways["head"] = dict(start_from=str(usual[0]), frozen_epochs=2)
    runs = {name: trained(three_classes, tmp_path/name, **more)[0] for name, more in ways.items()}
    assert len({(o/"model.safetensors").read_bytes() for o in (usual[0], *runs.values())}) == 6
    begun, ended = (load_model(o).network.state_dict() for o in (usual[0], runs["head"]))
    assert {k for k in begun if not begun[k].equal(ended[k])} == {"head.fc.weight", "head.fc.bias"}
    kept = json.loads((runs["file"]/"config.json").read_text())["pretrained"]
    assert kept.startswith("model.safetensors ") and len(kept.split()[1]) == 16  # a name and a hash, no path

def test_scenes_are_laid_behind_as_many_hands_as_asked(config_and_data, monkeypatch):
    config, data, split = config_and_data
    left = torch.zeros(data.images.shape[:3], dtype=torch.uint8)
    left[..., :8] = 255 # what counts as the hand
    monkeypatch.setattr("signs_nbdev.scenes.cutouts", lambda data, index: left)
    def changed(**more):
        seen = Training(config.model_copy(update=dict(recipe="none", **more)), data, split.train).show(split.train, 1)[0]
        return (seen != to_float(data.images[split.train])).flatten(1).any(1).float().mean().item()
    assert (changed(), changed(scenes="textures", scene_share=1.0)) == (0, 1) and 0.2 < changed(scenes="textures") < 0.8
    shown = lambda near: Training(config.model_copy(update=dict(recipe="none", scenes="plain", scene_near=near)), data,
                                  split.train).show(split.train, 1)[0]
    assert not shown(0.0).equal(shown(1.0))

def test_further_data_are_learnt_from_and_never_tested_on(tmp_path):
    for i, name in enumerate(ASL_CLASSES):
        (tmp_path/name).mkdir()
        for j in range(6): Image.new("RGB", (16, 16), (i, j, 0)).save(tmp_path/name/f"{j}.png")
    config = TrainConfig(dataset="folder", data_root=str(tmp_path), size=16, split="random", also="hands")
    alone, (data, split, _) = load_data(config.model_copy(update=dict(also=None)))[:2], load_data(config)
    assert len(data) > len(alone[0]) and len(split.train) == len(alone[1].train) + len(data) - len(alone[0])
    for part in ("valid", "test"): # the same pictures, though the classes' order may be another
        assert data.images[getattr(split, part)].equal(alone[0].images[getattr(alone[1], part)])

def test_same_values_same_bits(usual, three_classes, tmp_path):
    for name, more in dict(again={}, deterministic=dict(deterministic=True)).items():
        folder, _ = trained(three_classes, tmp_path/name, **more)
        for file in ("model.safetensors", "history.jsonl", "metrics.json"):
            assert (folder/file).read_bytes() == (usual[0]/file).read_bytes(), (name, file)

def test_deterministic_is_on_while_training_and_off_afterwards(three_classes, tmp_path, monkeypatch):
    learn, seen = Training.learn, set()
    def looking(self, *args):
        seen.add(torch.are_deterministic_algorithms_enabled())
        return learn(self, *args)
    monkeypatch.setattr(Training, "learn", looking)
    trained(three_classes, tmp_path/"a", deterministic=True)
    assert seen == {True} and not torch.are_deterministic_algorithms_enabled()

def test_views_change_the_answers_and_not_the_model(usual, three_classes, tmp_path):
    folder, metrics = trained(three_classes, tmp_path/"a", views=9)
    assert (folder/"model.safetensors").read_bytes() == (usual[0]/"model.safetensors").read_bytes()
    assert (metrics.chance != usual[1].chance).any()

def test_patience_ends_a_training_that_gains_nothing(three_classes, tmp_path):
    folder, _ = trained(three_classes, tmp_path/"a", learning_rate=1e-9, epochs=30, patience=1, ema=0.5)
    rows = read_history(folder)
    assert len(rows) < 30 and rows[-1]["valid_accuracy"] <= max(o["valid_accuracy"] for o in rows[:-1])

@pytest.fixture
def config_and_data(three_classes):
    config = TrainConfig(**USUAL, data_root=three_classes, out="unused")
    data, split, config = load_data(config)
    return config, data, split

def test_network_is_compiled_if_asked(config_and_data):
    config, data, split = config_and_data
    compiled = lambda o: Training(config.model_copy(update=dict(compile=o)), data, split.train).plain._compiled_call_impl is not None
    assert compiled(True) and not compiled(False)

def test_tracker_is_told_each_epoch(three_classes, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'signs_nbdev[track]'")
    folder, _ = trained(three_classes, tmp_path/"a", tracker="tensorboard")
    assert list((folder/"tracker").rglob("events.out.tfevents*"))

def test_what_was_left_open_is_checked_when_the_data_set_settles_it(three_classes):
    for wrong, said in ((dict(fold=1), "fold does nothing here"), (dict(patience=20), "patience does nothing here")):
        with pytest.raises(ConfigError, match=said): load_data(TrainConfig(dataset="folder", size=16, data_root=three_classes, **wrong))

def test_run_of_another_machine_can_be_read(usual, monkeypatch):
    "Its GPU, its tracker and its files need not be here."
    told = json.loads((usual[0]/"config.json").read_text()) | dict(device="cuda", precision="fp16", tracker="clearml", pretrained="a.pth 0123")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device 'cuda' is not on this machine"): check_here(TrainConfig(**told))

def test_every_parameter_is_tried():
    "What is neither above nor in the tests of whole runs is named here, with the place that tries it."
    changed = {o.arg for path in Path(__file__).parent.glob("test_*.py") for call in ast.walk(ast.parse(path.read_text()))
               if isinstance(call, ast.Call) for o in call.keywords}
    assert set(TrainConfig.model_fields) - changed <= {"download"}  # tests/test_download.py, test_sources.py: by `load`

def test_learning_rates_are_tried(config_and_data):
    config, data, split = config_and_data
    found = Training(config, data, split.train).find_rates(20)
    assert 3 <= len(found) <= 20 and 1e-5 < found.steepest < 1
