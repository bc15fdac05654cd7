"Two processes that share each batch end where one ends that takes it whole."
import json
import sys

import pytest
import torch

from conftest import BIN, ROOT, run
from signs_nbdev.models import load_model

SCRIPT = """
import sys
import torch
from signs_nbdev.evaluate import run
from signs_nbdev.train import TrainConfig
torch.set_num_threads(1)
run(TrainConfig(dataset="folder", data_root=sys.argv[1], size=16, arch="signnet_tiny", epochs=2, batch_size=24, split="random",
                device="cpu", precision="fp32", optimizer="sgd", learning_rate=0.02, recipe="hands", class_weights=True,
                out=sys.argv[2]))
"""

@pytest.fixture(scope="module")
def ended(three_classes, tmp_path_factory):
    "The run folders of one process and of two."
    place = tmp_path_factory.mktemp("runs")
    (place/"train.py").write_text(SCRIPT)
    one = run(sys.executable, place/"train.py", three_classes, place/"one", cwd=ROOT)
    assert one.returncode == 0, one.stdout[-2000:]
    two = run(BIN/"accelerate", "launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
              "--dynamo_backend", "no", "--main_process_port", "0", place/"train.py", three_classes, place/"two", cwd=ROOT)
    assert two.returncode == 0, two.stdout[-2000:]
    return place/"one", place/"two"

def test_same_weights_within_rounding(ended):
    one, two = (load_model(o).network.state_dict() for o in ended)
    for name, weight in one.items():
        assert torch.allclose(weight.float(), two[name].float(), rtol=0.01, atol=0.002), name

def test_same_history_and_one_writer(ended):
    one, two = ([json.loads(o) for o in (folder/"history.jsonl").read_text().splitlines()] for folder in ended)
    assert len(one) == len(two) == 2
    assert one[0]["train_loss"] == pytest.approx(two[0]["train_loss"], rel=1e-3)
    assert {o.name for o in ended[0].iterdir()} == {o.name for o in ended[1].iterdir()}
