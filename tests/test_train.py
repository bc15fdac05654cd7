"Runs as users start them: by papermill, killed in the middle, given wrong parameters, or on damaged data."
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from conftest import BIN, ROOT, run
from signs_nbdev.core import RunError
from signs_nbdev.evaluate import cross_validate, evaluate, evaluate_run, read_history, read_run
from signs_nbdev.evaluate import run as run_training
from signs_nbdev.leaks import leak_report
from signs_nbdev.models import load_model
from signs_nbdev.sources import load
from signs_nbdev.train import TrainConfig, load_external

SMALL = dict(size=28, arch="signnet_tiny", epochs=1, device="cpu")


def papermill(out, **parameters):
    out.mkdir(exist_ok=True)
    given = [o for k, v in dict(parameters, out=out).items() for o in ("-p", k, v)]
    return run(BIN/"papermill", ROOT/"nbs/04_train.ipynb", out/"notebook.ipynb", *given, "--log-output",
               "--no-progress-bar", "-k", "python3", cwd=ROOT)

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "A run of the training notebook on rendered hands."
    out = tmp_path_factory.mktemp("runs")/"a"
    result = papermill(out, **SMALL)
    assert result.returncode == 0, result.stdout[-3000:]
    return out, result.stdout

def test_papermill_makes_a_whole_run_folder(finished):
    out, printed = finished
    assert {o.name for o in out.iterdir()} == {"config.json", "provenance.json", "history.jsonl", "model.safetensors",
                                               "model.json", "metrics.json", "notebook.ipynb", "speed.jsonl"}
    assert re.search(r"epoch +1/1 .* pictures/s, \d\d:\d\d left, [\d,]+ MB", printed)
    kept = [o for c in json.loads((out/"notebook.ipynb").read_text())["cells"] for o in c.get("outputs", [])]
    assert "valid accuracy" in str(kept) and "pictures/s" not in str(kept)  # the page keeps what is true tomorrow
    read = read_run(out)
    assert read.config["size"] == 28 and read.config["split"] == "block" and not read.metrics["leaky"]
    assert read.metrics["test"]["n"] == sum(map(sum, read.metrics["confusion"]))
    assert str(out) not in "".join((out/o).read_text() for o in ("config.json", "provenance.json", "metrics.json", "model.json"))

def test_executed_notebook_shows_curves_confusion_and_mistakes(finished):
    cells = json.loads((finished[0]/"notebook.ipynb").read_text())["cells"]
    pictured = lambda cell: any(mime.startswith("image/") for o in cell.get("outputs", []) for mime in o.get("data", {}))
    drawn = ["".join(o["source"]) for o in cells if pictured(o)]
    for name in ("show_images", "show_split", "show_history", "show_confusion", "show_mistakes"):
        assert any(name in o for o in drawn), name

def test_same_seed_same_metrics(finished, tmp_path):
    "The library call after the notebook: the same numbers to the last byte, though another process."
    folder, metrics = run_training(TrainConfig(**SMALL, out=str(tmp_path/"b")))
    assert (folder/"metrics.json").read_bytes() == (finished[0]/"metrics.json").read_bytes()
    other, _ = run_training(TrainConfig(**SMALL, seed=1, out=str(tmp_path/"c")))
    assert (other/"metrics.json").read_bytes() != (folder/"metrics.json").read_bytes()

def test_run_is_evaluated_from_its_folder_alone(finished):
    before = (finished[0]/"metrics.json").read_bytes()
    evaluate_run(finished[0])
    assert (finished[0]/"metrics.json").read_bytes() == before

def test_run_begins_with_the_weights_of_another(finished, tmp_path):
    "It keeps their run's name and their hash, no path, and is evaluated without them."
    folder, metrics = run_training(TrainConfig(**SMALL, start_from=str(finished[0]), out=str(tmp_path/"b")))
    digest = json.loads((finished[0]/"model.json").read_text())["sha256"]
    assert read_run(folder).config["start_from"] == f"a {digest[:16]}"
    assert evaluate_run(folder).correct == metrics.correct
    with pytest.raises(RunError, match="start_from: arch"):
        run_training(TrainConfig(size=28, epochs=1, start_from=str(finished[0]), out=str(tmp_path/"c")))

@pytest.mark.parametrize("wrong, said", [
    (dict(epoch=3), "Did you mean 'epochs'?"),
    (dict(epochs="many"), "epochs: got 'many'; input should be a valid integer"),
    (dict(size=0), "size: got 0"),
    (dict(learning_rate=-1), "learning_rate: got -1"),
    (dict(dataset="hand"), "Did you mean 'hands'?"),
    (dict(dataset="asl_alphabet", data_root="/absent"), "no folder for asl_alphabet"),
])
def test_wrong_parameters_stop_before_any_work(tmp_path, wrong, said):
    result = papermill(tmp_path/"a", **wrong)
    assert result.returncode != 0 and said in result.stdout
    assert [o.name for o in (tmp_path/"a").iterdir()] == ["notebook.ipynb"]  # no run was begun

def test_existing_run_is_refused_and_kept(finished):
    out, _ = finished
    before = {o.name: o.read_bytes() for o in out.iterdir() if o.suffix != ".ipynb"}
    with pytest.raises(RunError, match="holds a run already"): run_training(TrainConfig(**SMALL, out=str(out)))
    assert {o.name: o.read_bytes() for o in out.iterdir() if o.suffix != ".ipynb"} == before

def test_killed_run_is_no_result(tmp_path):
    out = tmp_path/"killed"
    code = (f"from signs_nbdev.train import TrainConfig; from signs_nbdev.evaluate import run; "
            f"run(TrainConfig(size=28, arch='signnet_tiny', device='cpu', epochs=500, out={str(out)!r}))")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, cwd=ROOT)
    while not (out/"model.json").is_file():
        assert process.poll() is None, "the training ended by itself"
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(read_history(out)) >= 1
    with pytest.raises(RunError, match="incomplete: the run was killed"): read_run(out)
    with pytest.raises(RunError, match="holds a run already"): run_training(TrainConfig(**SMALL, out=str(out)))

@pytest.fixture
def pictures(tmp_path):
    "Two classes of 20 pictures, one file of them cut off."
    for name in ("light", "dark"):
        (tmp_path/"own"/name).mkdir(parents=True)
        for i in range(20): Image.new("L", (40, 30), 200*(name == "light") + i).save(tmp_path/"own"/name/f"{i}.jpg")
    cut = tmp_path/"own/dark/7.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    return tmp_path/"own"

def test_truncated_picture_is_refused_by_name(pictures, tmp_path):
    result = papermill(tmp_path/"a", dataset="folder", data_root=pictures, **SMALL)
    assert result.returncode != 0 and "1 of 40 pictures cannot be read" in result.stdout and "dark/7.jpg" in result.stdout

def test_truncated_picture_is_skipped_and_counted(pictures, tmp_path):
    result = papermill(tmp_path/"a", dataset="folder", data_root=pictures, bad_pictures="skip", **SMALL)
    assert result.returncode == 0, result.stdout[-3000:]
    read = read_run(tmp_path/"a")
    assert read.metrics["skipped"] == 1 and "1 of 40" in read.metrics["notes"][0]
    assert json.loads((tmp_path/"a/provenance.json").read_text())["data"]["skipped"] == ["dark/7.jpg"]

def test_oracle_without_training_images_says_so_and_offers_folds(signs_data, tmp_path):
    if (signs_data/"oracle_mnist/train-images-idx3-ubyte.gz").is_file(): pytest.skip("the training images are at hand")
    result = papermill(tmp_path/"official", dataset="oracle_mnist", split="official", **SMALL)
    assert result.returncode != 0
    for o in ("train-images-idx3-ubyte.gz (12.4 MB)", "https://", "kfold"): assert o in result.stdout
    result = papermill(tmp_path/"usual", dataset="oracle_mnist", **SMALL)
    assert result.returncode == 0, result.stdout[-3000:]
    read = read_run(tmp_path/"usual")
    assert (read.config["split"], read.metrics["test"]["n"], len(read.metrics["notes"])) == ("kfold", 600, 2)

def test_cross_validation_tests_each_image_once(signs_data, tmp_path):
    config = TrainConfig(**SMALL, dataset="oracle_mnist")
    result = cross_validate(config, tmp_path)
    if not (signs_data/"oracle_mnist/train-images-idx3-ubyte.gz").is_file(): assert result["n"] == 3000
    assert result["runs"] == 5 and 0.3 < result["mean"] < 1 and result["correct"] == round(result["mean"]*result["n"])
    before = {o: o.stat().st_mtime_ns for o in tmp_path.rglob("metrics.json")}
    assert cross_validate(config, tmp_path) == result
    assert {o: o.stat().st_mtime_ns for o in tmp_path.rglob("metrics.json")} == before  # finished folds are kept

def test_random_split_of_real_frames_leaks_and_block_does_not(signs_data, tmp_path):
    "The claim of the project, in a minute: the same small model, read off a leaky and an honest split."
    accuracy = {}
    for split in ("random", "block"):
        given = SMALL | dict(epochs=2, dataset="asl_alphabet", split=split, recipe="none", out=str(tmp_path/split))
        accuracy[split] = run_training(TrainConfig(**given))[1].accuracy
    assert accuracy["random"] > 0.9 and accuracy["block"] < 0.5
    data = load("asl_alphabet", size=28)
    assert leak_report(data, data.split("random")).share > 0.99
    assert leak_report(data, data.split("block")).share < 0.01
    found = load_external(TrainConfig(dataset="asl_alphabet", size=28))
    assert {k: len(o) for k, o in found.items()} == {"desk, letters": 780, "desk, all classes": 870, "studio, letters": 1815}
    assert evaluate(load_model(tmp_path/"random"), found["desk, all classes"]).accuracy < 0.5

def test_pictures_by_others_are_found_beside_the_data(tmp_path):
    for place in ("desk/A", "desk/B", "desk/nothing", "studio/A"):
        (tmp_path/"asl_external"/place).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path/"asl_external"/place/"1.png")
    for root in (tmp_path, tmp_path/"asl_alphabet"):
        found = load_external(TrainConfig(dataset="asl_alphabet", data_root=str(root), size=16))
        assert {k: len(o) for k, o in found.items()} == {"desk, letters": 2, "desk, all classes": 3, "studio, letters": 1}
    assert load_external(TrainConfig(dataset="hands", data_root=str(tmp_path), size=16)) == {}
