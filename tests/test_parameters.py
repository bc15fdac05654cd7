"Every parameter of the training notebook does something, and what it does is what it says."
import json

import pytest
import torch

from signs_nbdev.core import ConfigError, one_thread
from signs_nbdev.evaluate import read_history, run
from signs_nbdev.loop import Training
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
    dict(class_weights=True), dict(ema=0.9), dict(frozen_epochs=1), dict(frozen_epochs=1, thaw=2), dict(seed=1), dict(precision="bf16"), dict(recipe={"mixup": {"share": 0.5}}),
], ids=str)
def test_other_value_other_weights(usual, three_classes, tmp_path, change):
    folder, _ = trained(three_classes, tmp_path/"a", **change)
    assert (folder/"model.safetensors").read_bytes() != (usual[0]/"model.safetensors").read_bytes()
    stored = json.loads((folder/"config.json").read_text())
    assert {k: stored[k] for k in change} == change

def test_same_values_same_bits(usual, three_classes, tmp_path):
    for name, more in dict(again={}, deterministic=dict(deterministic=True)).items():
        folder, _ = trained(three_classes, tmp_path/name, **more)
        for file in ("model.safetensors", "history.jsonl", "metrics.json"):
            assert (folder/file).read_bytes() == (usual[0]/file).read_bytes(), (name, file)

def test_deterministic_is_on_while_training_and_off_afterwards(three_classes, tmp_path, monkeypatch):
    learn, seen = Training.learn, set()
    def looking(self, rows, epoch):
        seen.add(torch.are_deterministic_algorithms_enabled())
        return learn(self, rows, epoch)
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

def test_tracker_that_is_not_installed_is_refused():
    with pytest.raises(ConfigError, match="unknown tracker 'aim'"): TrainConfig(tracker="aim")

def test_learning_rates_are_tried(config_and_data):
    config, data, split = config_and_data
    found = Training(config, data, split.train).find_rates(20)
    assert 3 <= len(found) <= 20 and 1e-5 < found.steepest < 1
