"Our figures against those of scikit-learn, torchmetrics and statsmodels; and the report, whatever is missing."
import json
import re
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score, log_loss, precision_recall_fscore_support, top_k_accuracy_score
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from signs_nbdev.calibrate import BINNINGS, calibrate_run, fit_temperature, reliability, soften
from signs_nbdev.config import TrainConfig
from signs_nbdev.core import DataError, RunError, read_json, write_json
from signs_nbdev.data import SignData
from signs_nbdev.evaluate import evaluate, evaluate_run, report, run
from signs_nbdev.metrics import Counts, Metrics, difference, wilson
from signs_nbdev.models import load_model
from signs_nbdev.report import SECTIONS, Section, siblings
from signs_nbdev.sources import load

SMALL = dict(size=28, arch="signnet_tiny", recipe="none", epochs=1, device="cpu", precision="fp32")


def drawn(seed, n=400, k=9):
    "Probabilities that know something, and a truth in which a class may be rare or absent."
    rng = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, k - seed % 3, (n,), generator=rng)
    logits = 2*torch.randn(n, k, generator=rng)
    logits[torch.arange(n), truth] += 2
    return Metrics(logits.softmax(1), truth, tuple(map(str, range(k))))

@pytest.mark.parametrize("seed", range(6))
def test_metrics_agree_with_scikit_learn(seed):
    m = drawn(seed)
    truth, answer, labels = m.truth.numpy(), m.answer.numpy(), range(len(m.classes))
    assert (m.confusion.numpy() == confusion_matrix(truth, answer, labels=labels)).all()
    columns = precision_recall_fscore_support(truth, answer, labels=labels, zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "n"), columns):
        assert [o[name] for o in m.per_class.values()] == pytest.approx(list(column))
    assert m.macro_f1 == pytest.approx(f1_score(truth, answer, labels=np.unique(truth), average="macro"))
    chance = m.chance.double()/m.chance.double().sum(1, keepdim=True)
    assert m.loss == pytest.approx(log_loss(truth, chance.numpy(), labels=labels), rel=1e-5)
    for k in (1, 3, 5): assert m.top(k) == top_k_accuracy_score(truth, m.chance.numpy(), k=k, labels=labels, normalize=False)

@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_torchmetrics(seed):
    m = drawn(seed)
    for k in (1, 3): assert m.top(k)/m.n == pytest.approx(multiclass_accuracy(m.chance, m.truth, 9, "micro", k).item())
    for bins in (10, 15):
        theirs = multiclass_calibration_error(m.chance, m.truth, 9, bins).item()
        assert reliability(m.chance, m.truth, bins).ece == pytest.approx(theirs, abs=1e-6)

@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("correct, n", [(0, 1), (1, 1), (0, 50), (3, 10), (118, 118), (117, 118), (3028, 3411), (2880, 3000)])
def test_intervals_agree_with_statsmodels(correct, n, level):
    assert wilson(correct, n, level) == pytest.approx(proportion_confint(correct, n, 1 - level, "wilson"), abs=1e-12)
    other = (n//2, n)
    low, high = confint_proportions_2indep(correct, n, *other, method="newcomb", compare="diff", alpha=1 - level)
    assert difference((correct, n), other, level) == pytest.approx((correct/n - (n//2)/n, low, high), abs=1e-9)

@pytest.mark.parametrize("correct, n", [(0, 0), (5, 4), (-1, 4)])
def test_no_interval_of_nothing(correct, n):
    with pytest.raises(DataError, match=f"got {correct} of {n}"): wilson(correct, n)

def test_groups_and_film_add_up_to_the_whole():
    m = drawn(1)
    m.groups, m.group_names, m.frames = torch.arange(m.n) % 7, tuple("abcdefg"), torch.arange(m.n)//3 + 100
    assert sum(o["correct"] for o in m.by_group().values()) == m.correct and len(m.by_group()) == 7
    for pieces in (1, 10, 1000):
        film = m.along(pieces)
        assert (np.sum(film["n"]), np.sum(film["correct"])) == (m.n, m.correct)
        assert len(film["edges"]) == len(film["n"][0]) + 1 and film["edges"][0] == 100

@pytest.mark.parametrize("binning", BINNINGS)
def test_every_answer_is_in_one_bin(binning):
    "Certain ones too; and equal confidences change nothing about the sums."
    chance = torch.cat([torch.eye(4), torch.full((6, 4), 0.25), torch.eye(4)[[0]*5]*0.9 + 0.025])
    truth = torch.arange(15) % 4
    for bins in (1, 4, 15, 100):
        o = reliability(chance, truth, bins, binning)
        assert o.n.sum() == 15 and (o.n*o.accuracy).sum().item() == pytest.approx((chance.argmax(1) == truth).sum().item())

@pytest.mark.parametrize("warm", [0.5, 1.0, 2.5])
def test_temperature_is_found_and_undone(warm):
    rng = torch.Generator().manual_seed(0)
    logits = 3*torch.randn(4000, 6, generator=rng)
    truth = (logits/warm).softmax(1).multinomial(1, generator=rng)[:, 0]
    found = fit_temperature(logits.softmax(1), truth)
    assert found == pytest.approx(warm, rel=0.06)
    assert fit_temperature(soften(logits.softmax(1).double(), found), truth) == pytest.approx(1, abs=1e-3)

@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "Two small runs, alike but for their split."
    place = tmp_path_factory.mktemp("runs")
    for split in ("random", "block"): run(TrainConfig(**SMALL, split=split, out=str(place/split)))
    return place

@pytest.fixture
def folder(runs, tmp_path):
    "A copy of the block run, beside the random one, somewhere else."
    shutil.copytree(runs, tmp_path/"runs")
    return tmp_path/"runs/block"

def test_metrics_file_keeps_its_keys(runs):
    kept = read_json(runs/"block/metrics.json")
    assert {"accuracy", "standard_error", "correct", "n", "loss", "macro_f1", "interval", "top"} <= kept["test"].keys()
    assert {"accuracy", "correct", "n", "loss"} <= kept["valid"].keys()
    assert sum(o["n"] for o in kept["groups"].values()) == kept["test"]["n"] == np.sum(kept["frames"]["n"])
    assert kept["test"]["top"]["3"]["correct"] >= kept["test"]["correct"]

def test_report_is_one_page_that_asks_nobody(folder):
    made = report(folder)
    page = (folder/"report.html").read_text()
    assert not re.search(r"http|<script|src=|@import|file:", page)
    assert [*made.sections] == ["optimism", "confusion", "classes", "recording", "calibration", "training"]
    assert page.count("<svg") == sum(len(o.figures) for o in made.sections.values())
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))  # no figure takes another's parts
    assert {o.suffix for o in (folder/"figures").iterdir()} == {".png", ".svg"}
    kept = read_json(folder/"report.json")
    assert kept["test"]["correct"] == read_json(folder/"metrics.json")["test"]["correct"] and not kept["leaky"]
    assert [o["kind"] for o in kept["sections"]["optimism"]["tests"]] == ["leaky", "honest"]
    assert str(folder.parent) not in page + json.dumps(kept)

def test_report_is_the_same_twice(folder):
    files = ("report.html", "report.json", "figures/confusion-confusion.svg")
    report(folder)
    before = [(folder/o).read_bytes() for o in files]
    report(folder)
    assert [(folder/o).read_bytes() for o in files] == before

def test_leaky_run_is_marked(runs):
    made = report(runs/"random", beside=[])
    assert "LEAKY" in made.page.read_text() and "LEAKY" in made._repr_markdown_() and "optimism" not in made.sections

@pytest.mark.parametrize("lost", ["model.safetensors", "data"])
def test_report_says_what_is_missing(folder, lost):
    if lost == "data":
        config = read_json(folder/"config.json")
        write_json(folder/"config.json", {**config, "dataset": "asl_alphabet"})
        (folder/"../random/config.json").write_text(json.dumps({**read_json(folder/"../random/config.json"), "dataset": "asl_alphabet"}))
        made = report(folder, root=folder/"figures")
    else:
        (folder/lost).unlink()
        made = report(folder)
    [note] = made.values["notes"]
    assert ("not where they were looked for (--root, SIGNS_DATA)" if lost == "data" else "weights are not in the run's folder") in note
    assert [*made.sections] == ["optimism", "confusion", "classes", "recording", "training"]
    assert note.replace("'", "&#x27;") in made.page.read_text()

def test_report_from_before_groups_were_kept(folder):
    (folder/"model.safetensors").unlink()
    old = read_json(folder/"metrics.json")
    for k in ("groups", "frames"): old.pop(k)
    for o in ("interval", "top"): old["test"].pop(o)
    write_json(folder/"metrics.json", old)
    assert [*report(folder).sections] == ["optimism", "confusion", "classes", "training"]

def test_sections_can_be_added_and_may_fail(folder):
    def about_weather(context): return Section("How is the weather?", "Fine & <b>dry</b>.", values={"sun": 1})
    def about_nothing(context): return None
    def about_failure(context): raise DataError("no clouds to look at")
    made = report(folder, sections=(*SECTIONS[:1], about_weather, about_nothing, about_failure))
    assert [*made.sections] == ["optimism", "weather"] and made.values["sections"]["weather"] == {"sun": 1}
    assert made.values["notes"] == ["Nothing about failure: no clouds to look at"]
    assert "Fine &amp; &lt;b&gt;dry&lt;/b&gt;." in made.page.read_text()

def test_wrong_model_data_or_run_is_refused(folder, tmp_path):
    hands, model = load("hands", size=28), load_model(folder)
    with pytest.raises(RunError, match="was made with other data"): evaluate_run(folder, hands[:3000])
    with pytest.raises(RunError, match="was made with other data"): report(folder, data=hands[:3000])
    with pytest.raises(DataError, match="does not know these classes"):
        evaluate(model, SignData(hands.images, hands.labels, tuple(reversed(hands.classes))))
    with pytest.raises(DataError, match="no pictures to evaluate"): evaluate(model, hands[:0])
    other = shutil.copytree(folder, tmp_path/"other")
    write_json(other/"config.json", {**read_json(folder/"config.json"), "dataset": "oracle_mnist"})
    with pytest.raises(RunError, match="beside: other is of another data set: got oracle_mnist"): report(folder, beside=[other])
    shutil.copy(tmp_path/"other/config.json", folder/"model.json")
    with pytest.raises(RunError, match="is not the side-car of a model"): report(folder)

def test_siblings_leave_out_what_is_no_run(folder):
    (folder.parent/"torn").mkdir()
    (folder.parent/"torn/metrics.json").write_text("{")
    shutil.copytree(folder, folder.parent/"other recipe")
    write_json(folder.parent/"other recipe/config.json", {**read_json(folder/"config.json"), "recipe": "hands"})
    from signs_nbdev.evaluate import read_run
    assert [o.folder.name for o in siblings(read_run(folder))] == ["random"]

def test_temperature_goes_where_the_model_goes(folder, tmp_path):
    "Calibrated once, it answers so from any place; weights, answers and a second calibration stay the same."
    pictures = load("hands", size=28).images[:200]
    before, weights = load_model(folder).predict(pictures), (folder/"model.safetensors").read_bytes()
    write_json(folder/"model.json", {**read_json(folder/"model.json"), "reject": {"threshold": 0.5}})
    found = calibrate_run(folder)
    assert "reject" not in read_json(folder/"model.json")  # it was fitted to other probabilities
    assert (folder/"model.safetensors").read_bytes() == weights
    after = load_model(shutil.copytree(folder, tmp_path/"elsewhere")).predict(pictures)
    assert torch.equal(after.argmax(1), before.argmax(1))
    assert torch.allclose(after, soften(before, found.temperature), atol=1e-5)
    assert calibrate_run(folder).temperature == pytest.approx(found.temperature, rel=1e-6)
    told = report(folder).values["sections"]["calibration"]
    assert told["stored"] == pytest.approx(found.temperature) and told["temperature"] == pytest.approx(found.temperature, rel=1e-3)
    assert told["parts"]["valid"]["after"]["loss"] <= told["parts"]["valid"]["before"]["loss"]

def test_counts_of_another_shape_are_refused():
    with pytest.raises(DataError, match=r"confusion matrix: got \(2, 2\); wanted \(3, 3\)"): Counts(torch.eye(2).long(), ("a", "b", "c"))
