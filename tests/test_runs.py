"Runs listed, compared, made again and searched, with what goes wrong: folders that are no runs, sweeps that are killed."
import json
import math
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
import torch
from statsmodels.stats.contingency_tables import mcnemar as peer

from conftest import ROOT
from signs_nbdev.core import ConfigError, RunError, read_json, write_json
from signs_nbdev.evaluate import run as run_training
from signs_nbdev.paired import mcnemar, paired_bootstrap
from signs_nbdev.runs import compare_runs, list_runs, reproduce
from signs_nbdev.sweep import Trial, propose, read_sweep, sweep
from signs_nbdev.train import TrainConfig

RESULTS = ROOT/"nbs/results"
SMALL = dict(dataset="folder", size=16, arch="signnet_tiny", epochs=2, batch_size=16, recipe="none", split="random", device="cpu")


def cpu_seconds(f):
    start = time.process_time()
    result = f()
    return time.process_time() - start, result

def test_two_hundred_runs_are_listed_in_two_seconds(tmp_path):
    runs = [o.parent for o in RESULTS.glob("*/config.json")]
    for i in range(200): shutil.copytree(runs[i % len(runs)], tmp_path/f"{i//50}/run-{i:03}")
    seconds, table = cpu_seconds(lambda: list_runs(tmp_path))
    assert (len(table), table.skipped) == (200, {})
    assert seconds < 2
    assert cpu_seconds(lambda: table._repr_markdown_())[0] < 1

def test_whatever_lies_there_the_finished_runs_are_listed_and_the_rest_is_named(tmp_path):
    for name in "abcdefg": shutil.copytree(RESULTS/"hands-block", tmp_path/name)
    (tmp_path/"a/metrics.json").write_bytes((tmp_path/"a/metrics.json").read_bytes()[:100])
    (tmp_path/"b/config.json").write_bytes(b"\xff\xfe")
    (tmp_path/"c/history.jsonl").unlink()
    write_json(tmp_path/"d/metrics.json", {"loss": 1})
    (tmp_path/"e/provenance.json").unlink()
    write_json(tmp_path/"f/metrics.json", [1, 2])
    table = list_runs(tmp_path)
    assert table.column("run") == ["g"] and set(table.skipped) == set("abcdef")
    assert all(why and str(tmp_path) not in why for why in table.skipped.values()), table.skipped

def test_time_is_shown_where_a_run_tells_it(tmp_path):
    for name, seconds in (("a", 21), ("b", 75)):
        shutil.copytree(RESULTS/"hands-block", tmp_path/name)
        (tmp_path/name/"speed.jsonl").write_text(f'{{"epoch": 1, "seconds": {seconds}}}\n{{"epoch": 2, "seconds": {seconds}}}\n')
    heading, *rows = list_runs(tmp_path).cells()
    assert [o[heading.index("seconds")] for o in rows] == ["42", "150"]

def test_mcnemar_agrees_with_statsmodels():
    for first in (*range(0, 26, 3), 40, 301):
        for second in (*range(0, 26, 4), 55, 290):
            assert math.isclose(mcnemar(first, second), peer([[9, first], [second, 9]], exact=True).pvalue, rel_tol=1e-9)
    assert math.isclose(mcnemar(450, 520), peer([[9, 450], [520, 9]], exact=False).pvalue, rel_tol=0.01)  # where chi2 is good

def test_bootstrap_interval_covers_the_true_difference_as_often_as_it_says():
    chance, covered = torch.Generator().manual_seed(0), 0
    for i in range(200):
        draw = torch.rand(300, generator=chance)
        gain = (draw < 0.15).int() - (draw > 0.9).int()  # the second is 5 points better
        low, high = paired_bootstrap(gain, draws=300, seed=i)
        covered += low <= 0.05 <= high
    assert 0.9 <= covered/200 <= 0.99

@pytest.fixture(scope="module")
def made(three_classes, tmp_path_factory):
    "Two small runs of one split."
    place = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate("ab"):
        run_training(TrainConfig(**SMALL, learning_rate=(8e-3, 1e-4)[seed], data_root=three_classes, out=str(place/name)))
    return place

def test_runs_are_compared_on_the_pictures_they_were_tested_on_or_not_at_all(made, three_classes, tmp_path):
    compared = compare_runs(made/"a", made/"b", three_classes)
    test = [read_json(made/o/"metrics.json")["test"] for o in "ab"]
    assert compared.right.sum(1).tolist() == [o["correct"] for o in test]
    twin = shutil.copytree(made/"a", tmp_path/"elsewhere/a")
    same = compare_runs(made/"a", twin, three_classes)
    assert (same.p, same.difference, same.interval) == (1, 0, (0, 0)) and same.names[1] == "elsewhere/a"
    fewer = shutil.copytree(three_classes, tmp_path/"pictures")
    (fewer/"a/0.png").unlink()
    with pytest.raises(RunError, match="a was made with other data"): compare_runs(made/"a", made/"b", fewer)
    shutil.copytree(made/"b", tmp_path/"c")
    changed = read_json(made/"b/provenance.json")
    write_json(tmp_path/"c/provenance.json", {**changed, "data": {**changed["data"], "hash": "0"*16}})
    with pytest.raises(RunError, match="a and c were made with other data"): compare_runs(made/"a", tmp_path/"c", three_classes)

def test_run_from_elsewhere_is_made_again_and_what_differs_is_named(made, three_classes, tmp_path):
    "As it comes from another machine: without weights, of another commit and torch; and one of its figures is wrong."
    there = shutil.copytree(made/"a", tmp_path/"there", ignore=shutil.ignore_patterns("model*"))
    told, metrics = read_json(there/"provenance.json"), read_json(there/"metrics.json")
    write_json(there/"provenance.json", {**told, "commit": "0"*40, "packages": {**told["packages"], "torch": "2.0"}})
    write_json(there/"metrics.json", {**metrics, "test": {**metrics["test"], "loss": 99.0}})
    again = reproduce(there, tmp_path/"again", three_classes)
    assert again.outcome == {"test.loss": (99.0, metrics["test"]["loss"])} and not again.equal
    assert {"commit", "packages.torch"} <= set(again.circumstances)
    assert "made again: 1 figure differs" in again._repr_markdown_()

# A notebook that pretends to train: its accuracy is one minus the weight decay, an epoch takes as long as is said between
# checkpoints, and with weight decay 0.5 it breaks.
PARAMETERS = 'out, resume, epochs, weight_decay, checkpoint, learning_rate = "", False, 3, 0.0, 0.01, 0.1'
PRETENDED = """
import json, time
from pathlib import Path
place = Path(out)
with (place/"begun").open("a") as f: f.write("begun ")
if weight_decay == 0.5: raise ValueError("no training can bear this")
history = place/"history.jsonl"
told = dict(dataset="pretended", epochs=epochs, weight_decay=weight_decay, learning_rate=learning_rate)
(place/"config.json").write_text(json.dumps(told))
(place/"provenance.json").write_text(json.dumps(dict(commit=None, data=dict(hash="0"))))
for epoch in range(len(history.read_text().splitlines()) + 1 if history.exists() else 1, epochs + 1):
    with history.open("a") as f: f.write(json.dumps(dict(epoch=epoch, valid_accuracy=1 - weight_decay)) + chr(10))
    time.sleep(checkpoint)
figures = dict(accuracy=1 - weight_decay, standard_error=0, correct=1, n=1, macro_f1=1)
(place/"metrics.json").write_text(json.dumps(dict(valid=figures, test=figures, leaky=False)))
"""

@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    path, cell = tmp_path_factory.mktemp("nb")/"pretended.ipynb", nbformat.v4.new_code_cell
    cells = [cell(PARAMETERS, metadata=dict(tags=["parameters"])), cell(PRETENDED)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=dict(name="python3", language="python", display_name="python3"))), path)
    return path

SPACE = {"weight_decay": (0.0, 0.4), "learning_rate": (1e-3, 1e-1, "log")}

def processes_of(folder):
    return [o for o in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(o.info["cmdline"] or [])]

def test_killed_sweep_goes_on_as_if_nothing_had_been(notebook, tmp_path):
    said = []
    whole = sweep(SPACE, 3, tmp_path/"whole", dict(checkpoint=0.01), notebook=notebook, line=said.append)
    assert [o.state for o in whole.trials] == ["complete"]*3 and len(said) == 3
    out = tmp_path/"killed"  # its first trial is done, and the second would go on for minutes
    shutil.copytree(tmp_path/"whole", out, ignore=shutil.ignore_patterns("trial-001*", "trial-002*", ".lock"))
    code = (f"from signs_nbdev.sweep import sweep; "
            f"sweep({SPACE}, 3, {str(out)!r}, dict(checkpoint=100.0), notebook=__import__('pathlib').Path({str(notebook)!r}))")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, cwd=ROOT)
    while not (out/"trial-001/history.jsonl").is_file():
        assert process.poll() is None, "the sweep ended by itself"
        time.sleep(0.1)
    with pytest.raises(RunError, match="another process is at the sweep"):
        sweep(SPACE, 3, out, dict(checkpoint=0.01), notebook=notebook)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 60
    while processes_of(out):
        assert time.monotonic() < until, "the run outlived its sweep"
        time.sleep(0.1)
    assert read_sweep(out).trials[1].state == "open" and "incomplete" in list_runs(out).skipped["trial-001"]
    resumed = sweep(SPACE, 3, out, dict(checkpoint=0.01), notebook=notebook, line=said.append)
    assert resumed.trials == whole.trials
    assert [(out/f"trial-{i:03}/begun").read_text() for i in range(3)] == ["begun ", "begun begun ", "begun "]
    assert str(out) not in (out/"sweep.html").read_text() + (out/"sweep.json").read_text()

def test_hopeless_run_is_pruned_failed_run_is_named_and_the_sweep_goes_on(notebook, tmp_path):
    def lies_there(number, weight_decay, curve):
        folder = tmp_path/f"trial-{number:03}"
        write_json(folder.with_suffix(".json"), {"weight_decay": weight_decay, "learning_rate": 1e-2})
        if not curve: return
        write_json(folder/"config.json", {"dataset": "pretended", "weight_decay": weight_decay})
        write_json(folder/"provenance.json", {"commit": None, "data": {"hash": "0"}})
        (folder/"history.jsonl").write_text("".join(json.dumps({"epoch": i, "valid_accuracy": o}) + "\n" for i, o in enumerate(curve, 1)))
        figures = dict(accuracy=curve[-1], standard_error=0, correct=1, n=1, macro_f1=1)
        write_json(folder/"metrics.json", {"valid": figures, "test": figures, "leaky": False})
    for i in range(4): lies_there(i, i/100, [0.5, 0.9 - i/100, 0.95 - i/100])
    lies_there(4, 0.3, ())
    lies_there(5, 0.5, ())
    found = sweep({"weight_decay": (0.0, 0.6), "learning_rate": (1e-3, 1e-1, "log")}, 6, tmp_path, dict(epochs=200, checkpoint=0.5),
                  jobs=2, notebook=notebook)
    assert [o.state for o in found.trials] == ["complete"]*4 + ["pruned", "failed"]
    assert found.best.number == 0 and 2 <= len(found.trials[4].curve) < 200
    skipped = list_runs(tmp_path).skipped
    assert "pruned: 70.00% after epoch" in skipped["trial-004"]
    assert "failed: ValueError: no training can bear this" in skipped["trial-005"]
    page = (tmp_path/"sweep.html").read_text()
    assert "no training can bear this" in page and "<svg" in page
    assert not processes_of(tmp_path)

def test_another_space_or_seed_is_refused_in_the_same_folder(notebook, tmp_path):
    sweep(SPACE, 0, tmp_path, notebook=notebook)
    assert read_sweep(tmp_path).space == SPACE
    for wrong in (dict(seed=1), dict(fixed=dict(epochs=2))):
        with pytest.raises(RunError, match="holds another sweep"): sweep(SPACE, 0, tmp_path, notebook=notebook, **wrong)

def test_choices_of_any_kind_come_back_as_they_were():
    space = {"recipe": ["none", None, {"gamma": {"change": 1.0}}], "ema": [0, 0.99], "class_weights": [True, False], "epochs": (2, 5)}
    trials = []
    for i in range(12):
        tried = propose(space, trials)
        assert all(tried[k] in space[k] and type(tried[k]) in {type(o) for o in space[k]} for k in ("recipe", "ema", "class_weights"))
        assert type(tried["epochs"]) is int and 2 <= tried["epochs"] <= 5
        trials.append(Trial(i, tried, value=0.5, state="complete"))

def test_without_optuna_the_command_to_install_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r'pip install "signs_nbdev\[sweep\]"'): sweep(SPACE, 1, tmp_path/"a")
    assert not (tmp_path/"a").exists()
