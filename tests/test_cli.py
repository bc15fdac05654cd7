"The `signs` command as a shell calls it: other processes, pipes, signals, odd names, missing packages, damaged pictures."
import json
import os
import shutil
import signal
import subprocess
import sys
from socket import create_server
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import nbformat
import numpy as np
import psutil
import pytest
from PIL import Image

from conftest import BIN
from signs_nbdev.cli import COMMANDS, ENDS, FAILED, INTERRUPTED, UNHEARD, USAGE, WELL
from signs_nbdev.reader import Reader

HEAVY = ("torch", "torchvision", "timm", "kornia", "matplotlib", "IPython", "papermill", "pydantic", "fastapi", "optuna", "onnx")
START = "import sys; sys.modules |= dict.fromkeys({}); from signs_nbdev.cli import main; code = main(); print({}, file=sys.stderr); sys.exit(code)"


def signs(*words, without=(), then="end=''", **more):
    "Calls `signs` in a process of its own; `without` are modules that cannot be imported in it."
    command = [sys.executable, "-c", START.format(repr(without), then), *map(str, words)]
    return subprocess.run(command, **dict(stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300) | more)

def answers(done): return [json.loads(o) for o in done.stdout.splitlines()]

def told_in_a_line(done, *parts):
    "What every failure has to be."
    assert done.stderr.startswith("signs: ") and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr, done.stderr
    for o in parts: assert o in done.stderr, done.stderr

@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    "Pictures as they lie about: nested, oddly named, of several formats and sizes, some of them damaged."
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    image = lambda *shape: Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8))
    (place/"good/deep er").mkdir(parents=True)
    (place/"bad").mkdir()
    for name in ("a.png", "b.JPG", "deep er/c d.webp", "deep er/ü\n.bmp"): image(40, 30, 3).save(place/"good"/name)
    image(50, 60).save(place/"good/grey.gif")
    with open(os.fsencode(place/"good")+b"/\xff.png", "wb") as f: image(9, 9, 3).save(f, "PNG")
    (place/"good/notes.txt").write_text("no picture")
    whole = (place/"good/a.png").read_bytes()
    (place/"bad/empty.png").touch()
    (place/"bad/cut.png").write_bytes(whole[:-200])
    (place/"bad/page.png").write_text("<html><script>alert()</script></html>")
    (place/"bad/drawn.svg").write_text("<svg/>")
    (place/"bad/whole.png").write_bytes(whole)
    Image.new("L", (9, 9)).save(place/"bad/moves.gif", save_all=True, append_images=[Image.new("L", (9, 9), 255)])
    return place

def test_who_only_reads_pictures_loads_nothing_heavy(pictures):
    seen = f"sorted({{*{HEAVY}}} & {{*sys.modules}})"
    for words in (["--help"], ["predict", "--help"], ["predict", "--json", pictures/"good/a.png"]):
        done = signs(*words, then=seen)
        assert (done.returncode, done.stderr) == (WELL, "[]\n")

def test_help_needs_nothing_installed():
    overview = signs("--help", without=HEAVY)
    for name, command in COMMANDS.items():
        assert f"{name}  " in overview.stdout and command.about in overview.stdout
        done = signs(name, "--help", without=HEAVY)
        assert (done.returncode, done.stderr) == (WELL, "") and all(o in done.stdout for o in ("--json", *command.examples)), name
    for code, why in ENDS.items(): assert f"{code}  " in overview.stdout and why in overview.stdout
    listed = signs("train", "--help", without=HEAVY).stdout
    assert "epochs " in listed and "passes over the training pictures" in listed

@pytest.mark.parametrize("words, extra", [
    (["train"], "train"), (["data"], "train"), (["evaluate", "run"], "train"), (["runs"], "train"),
    (["sweep", "out", "seed=1,2"], "train,sweep"), (["export", "run"], "export"), (["serve"], "serve"), (["demo"], "serve")])
def test_what_is_missing_is_named_with_the_way_to_get_it(words, extra):
    told_in_a_line(done := signs(*words, without=HEAVY), "not installed", f"pip install 'signs_nbdev[{extra}]'")
    assert done.returncode == FAILED and not done.stdout

@pytest.mark.parametrize("words, said", [
    ([], "commands (each explains itself"), (["predicted"], "Did you mean 'predict'?"), (["predict"], "PICTURE"),
    (["predict", "--top", "3", "x"], "Did you mean '--topk'?"), (["predict", "--topk", "0", "x"], "'0'"), (["evaluate", "a", "b"], "'b'"),
    (["train", "epoch=3"], "Did you mean 'epochs'?"), (["train", "epochs=three"], "got three; wanted int"),
    (["train", "epochs"], "NAME=VALUE"), (["train", "--epochs", "3"], "NAME=VALUE"), (["sweep", "out", "epoch=1,2"], "Did you mean 'epochs'?"),
    (["runs", "compare", "one"], "compare takes 2 RUNs, got 1"), (["runs", "compered"], "compered"), (["train", "lr=1"], "learning_rate"),
    (["serve", "--port", "0"], "got '0'; wanted 1 to 65535"), (["data", "--picture", "a.txt"], ".png, .jpg")])
def test_wrong_usage_is_told_before_any_work(words, said, tmp_path):
    done = signs(*words, cwd=tmp_path, then="[o for o in sys.modules if o in ('torch', 'papermill')]")
    assert done.returncode == USAGE and said in done.stderr and done.stderr.endswith("[]\n") and not done.stdout
    assert "Traceback" not in done.stderr and not [*tmp_path.iterdir()]

def test_pictures_by_every_name_give_the_same_answer(pictures):
    folder, file = pictures/"good", pictures/"good/a.png"
    [alone] = answers(signs("predict", "--json", file))
    assert [*alone] == ["path", "label", "probability", "unknown", "signs", "topk"] and alone["path"] == str(file)
    assert alone["label"] == Reader("hands").read(file)[0].label == alone["topk"][0]["label"] and len(alone["topk"]) == 5
    found = {o.pop("path"): o for o in answers(signs("predict", "--json", folder))}
    assert len(found) == 6 and not any("notes" in o for o in found)
    assert {os.fsencode(o) for o in found} == {os.fsencode(o) for o in map(str, folder.rglob("*.*")) if not o.endswith("txt")}
    pattern = {o.pop("path"): o for o in answers(signs("predict", "--json", "*/*.png", "**/b.*", cwd=pictures))}
    assert {"good/a.png", "good/b.JPG", "bad/whole.png"} < {*pattern} and found[str(file)] == pattern["good/a.png"]
    with open(file, "rb") as f: [piped] = answers(signs("predict", "--json", "-", stdin=f))
    assert {**piped, "path": str(file)} == alone
    names = b"\n".join(os.fsencode(o) for o in found if "\n" not in o) + b"\r\n\n"
    listed = subprocess.run([BIN/"signs", "predict", "--list", "-", "--json"], input=names, capture_output=True)
    assert listed.returncode == WELL and {o.pop("path"): o for o in answers(listed)} == {k: v for k, v in found.items() if "\n" not in k}

def test_damaged_pictures_are_told_and_the_rest_is_read(pictures):
    done = signs("predict", "--json", pictures/"bad", pictures/"bad/drawn.svg", "absent.jpg", "*.none", pictures/"bad/whole.png")
    rows = [(o["path"].rpartition("/")[2], "error" in o) for o in answers(done)]
    assert done.returncode == FAILED and not done.stderr and len(rows) == 9
    assert rows[-4:] == [("drawn.svg", True), ("absent.jpg", True), ("*.none", True), ("whole.png", False)]
    assert {k for k, failed in rows[:5] if failed} == {"cut.png", "empty.png", "moves.gif", "page.png"}
    people = signs("predict", pictures/"bad")
    assert people.returncode == FAILED and people.stdout.count("\n") == 1 and "whole.png" in people.stdout
    lines = people.stderr.splitlines()
    assert len(lines) == 4 and all(o.startswith("signs: ") for o in lines)

def test_any_terminal_can_show_it(pictures):
    done = signs("predict", pictures/"good", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (WELL, "") and "\\udcff.png" in done.stdout
    assert all(o.isascii() for o in done.stdout)

def test_nobody_reads_on(pictures):
    many = f"{pictures}/good "*30  # more than a pipe holds by itself
    done = subprocess.run(f"{BIN}/signs predict --json --topk 29 {many} | head -n 1; echo ${{PIPESTATUS[0]}}", shell=True,
                          executable="/bin/bash", capture_output=True, text=True)
    first, code = done.stdout.splitlines()
    assert json.loads(first) and (int(code), done.stderr) == (UNHEARD, "")

def hear():
    "A job in the background is deaf to Ctrl-C, and so is all that it starts."
    signal.signal(signal.SIGINT, signal.SIG_DFL)

def interrupt(process, seconds=60):
    "As Ctrl-C does: everyone at the terminal hears it."
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=seconds)

def test_interrupted_it_ends_quietly(pictures):
    process = subprocess.Popen([BIN/"signs", "predict", "--json", *[pictures/"good"]*2000], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hear)
    assert json.loads(process.stdout.readline())
    _, said = interrupt(process)
    assert (process.returncode, said) == (INTERRUPTED, "")

@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux to tell the most memory that was used")
def test_thousands_are_read_in_bounded_memory(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8))
    image.save(tmp_path/"one.png")
    image.resize((6000, 4000)).save(tmp_path/"large.jpg")
    peak = "int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])//1024"  # rusage would tell this process' own
    def megabytes(name, n):
        (tmp_path/"list").write_text(f"{tmp_path/name}\n"*n)
        done = signs("predict", "--json", "--model", "bones", "--list", tmp_path/"list", then=peak)
        assert done.returncode == WELL and len(answers(done)) == n
        return int(done.stderr)
    few = megabytes("one.png", 40)
    assert few < 250 and megabytes("one.png", 600) < few + 50
    assert megabytes("large.jpg", 6) < 2000

def test_bad_models_are_refused_in_a_line(tmp_path, pictures):
    file = pictures/"good/a.png"
    (tmp_path/"text.onnx").write_text("no model")
    for model, said in (("feet", "no model 'feet'"), (tmp_path/"text.onnx", "text.onnx is no model"), (tmp_path, "no model")):
        done = signs("predict", "--model", model, file)
        assert done.returncode == FAILED and not done.stdout
        told_in_a_line(done, said)
    done = signs("predict", "--list", tmp_path/"absent")
    assert done.returncode == FAILED
    told_in_a_line(done, f"{tmp_path}/absent: No such file or directory")

# A notebook that pretends to train, with parameters as the true one has them.
PARAMETERS = """
dataset: str = "hands"       # data set
data_root: str = None        # its folder
epochs: int = 3              # epochs
weight_decay: float = 0.1    # decay
resume: bool = False         # go on
out: str = None              # folder
"""
PRETENDED = """
import json, time
from pathlib import Path
place = Path(out)
from signs_nbdev.core import ConfigError
if weight_decay == 0.5: raise ValueError("no training can bear this")
if weight_decay == 0.7: __import__("os").kill(__import__("os").getpid(), 9)
if weight_decay == 0.6: raise ConfigError("weight_decay", got=0.6, do="Choose less.")
(place/"config.json").write_text(json.dumps(dict(dataset=dataset, epochs=epochs, weight_decay=weight_decay)))
(place/"provenance.json").write_text(json.dumps(dict(commit=None, data=dict(hash="0"))))
for epoch in range(1, epochs + 1):
    with (place/"history.jsonl").open("a") as f: f.write(json.dumps(dict(epoch=epoch, valid_accuracy=1 - weight_decay)) + chr(10))
    print(f"epoch {epoch}")
    if epochs > 100: time.sleep(0.2)
figures = dict(accuracy=1 - weight_decay, standard_error=0.01, correct=9, n=10, macro_f1=1)
_ = (place/"metrics.json").write_text(json.dumps(dict(valid=figures, test=figures, dataset=dataset, leaky=False, split="random")))
"""

@pytest.fixture
def project(tmp_path):
    "A project whose training notebook only pretends."
    cell, path = nbformat.v4.new_code_cell, tmp_path/"nbs/04_train.ipynb"
    path.parent.mkdir()
    (tmp_path/"settings.ini").touch()
    cells = [cell(PARAMETERS, metadata=dict(tags=["parameters"])), cell(PRETENDED)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=dict(name="python3", language="python", display_name="python3"))), path)
    return tmp_path

def test_train_tells_what_the_notebook_says_and_the_result(project):
    done = signs("train", "epochs=2", "out=here", cwd=project)
    assert (done.returncode, done.stderr) == (WELL, "")
    assert done.stdout.splitlines() == ["epoch 1", "epoch 2", "accuracy  90.00% +- 1.00% (9 of 10) on hands, random split",
        "notebook  here/notebook.ipynb", "model     here/model.safetensors", "go on     signs evaluate here; signs export here"]
    told_in_a_line(again := signs("train", "out=here", cwd=project), "here holds a run already")
    assert again.returncode == FAILED
    before = (project/"here/notebook.ipynb").read_bytes()
    told_in_a_line(again := signs("train", "out=here", "resume=true", cwd=project), "here holds a finished run. There is nothing")
    assert again.returncode == FAILED and (project/"here/notebook.ipynb").read_bytes() == before
    (project/"below").mkdir()
    done = signs("train", "--json", "dataset=asl_alphabet", "epochs=1", cwd=project/"below")
    [told] = answers(done)
    assert told["correct"] == 9 and "epoch 1" in done.stderr and "-asl_alphabet" in told["run"]
    assert (project/"runs").is_dir() and not [*(project/"below").iterdir()]  # runs lie in the project's folder

def test_train_that_fails_says_the_notebooks_own_error_and_leaves_nothing(project):
    for value, said in ((0.5, "signs: ValueError: no training can bear this\n"), (0.6, "signs: weight_decay: got 0.6. Choose less.\n"),
                        (0.7, "signs: Kernel died: was it killed, or out of memory?\n")):
        done = signs("train", f"weight_decay={value}", "out=never", cwd=project)
        assert (done.returncode, done.stderr) == (FAILED, said) and not (project/"never").exists()

def test_interrupted_train_leaves_no_process_and_says_how_to_go_on(project):
    process = subprocess.Popen([BIN/"signs", "train", "epochs=1000", "out=long"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, cwd=project, start_new_session=True, preexec_fn=hear)
    assert process.stdout.readline() == "epoch 1\n"
    kernels = psutil.Process(process.pid).children(recursive=True)
    _, said = interrupt(process)
    assert process.returncode == INTERRUPTED and kernels
    assert said.strip() == "long is not finished; the same command with out=long resume=true goes on"
    assert not psutil.wait_procs(kernels, timeout=20)[1]

def test_sweep_from_a_terminal(project):
    words = ["sweep", "search", "weight_decay=0.1,0.3", "epochs=1", "-n", 2]
    done = signs(*words, "--json", cwd=project)
    assert done.returncode == WELL, done.stderr
    [told] = answers(done)
    assert told["best"]["value"] == max(o["value"] for o in told["trials"]) and (project/told["page"]).is_file()
    assert done.stderr.startswith("trial   0  ")
    done = signs(*words, cwd=project)
    assert done.stdout.splitlines()[-1] == "page  search/sweep.html" and done.stdout.startswith("best  ")
    for words, said in ((["weight_decay=0.1"], "an empty space"), (["weight_decay=0.3..0.1"], "weight_decay")):
        told_in_a_line(done := signs("sweep", "search", *words, cwd=project), said)
        assert done.returncode == FAILED

def test_from_pictures_to_an_exported_run(three_classes, tmp_path):
    "The whole way, each step by the command that a user would type."
    def step(*words):
        done = signs(*words, "--json", cwd=tmp_path)
        assert done.returncode == WELL, done.stderr
        return done
    mine = shutil.copytree(three_classes, tmp_path/"mine")  # twice, for a promise takes some pictures to be made on
    for o in [*mine.glob("*/*.png")]: shutil.copy(o, o.with_stem(f"{o.stem}-again"))
    given = ["dataset=folder", "data_root=mine", "size=16", "arch=signnet_tiny", "epochs=2", "batch_size=16", "recipe=none",
             "split=random", "device=cpu", "out=runs/a"]
    [data] = answers(step("data", "folder", "--root", "mine", "--picture", "seen.png"))
    assert data["pictures"] == 210 and sum(data["classes"].values()) == 210 and Image.open(tmp_path/"seen.png").size[0] > 100
    [trained] = answers(step("train", *given))
    [judged] = answers(step("evaluate", "a", "--root", "mine"))
    assert judged["test"]["correct"] == trained["correct"] and (tmp_path/judged["page"]).is_file()
    [listed] = answers(step("runs"))
    assert [o["run"] for o in listed["runs"]] == ["a"] and listed["runs"][0]["test"] == trained["accuracy"]
    [again] = answers(step("runs", "reproduce", "a", "--root", "mine", "--out", "again"))
    assert again["equal"] and (tmp_path/"again/metrics.json").is_file()
    [compared] = answers(step("runs", "compare", "a", "again", "--root", "mine"))
    assert (compared["runs"], compared["difference"], compared["p"]) == (["a", "again"], 0, 1)
    [exported] = answers(step("export", "a", "--root", "mine", "--agree", 0.5))
    assert exported["files"]["model.onnx"]["same_labels"] == exported["pictures"]["n"] == trained["n"]
    rows = answers(step("predict", "--model", "runs/a", "mine"))
    assert len(rows) == 210 and {o["label"] for o in rows} <= {*"abc"}
    told_in_a_line(signs("evaluate", "b", cwd=tmp_path), "unknown run 'b'")

def free_port():
    with create_server(("127.0.0.1", 0)) as o: return o.getsockname()[1]

def test_serve_keeps_its_key_out_of_sight_and_ends_well(pictures, tmp_path):
    content = (pictures/"good/a.png").read_bytes()
    process = subprocess.Popen([BIN/"signs", "serve", "--port", str(port := free_port()), "--json"], stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"SIGNS_API_KEY": "a secret"})
    try:
        while (line := json.loads(process.stdout.readline())).keys() != {"url"}: assert process.poll() is None
        assert "a secret" not in " ".join(psutil.Process(process.pid).cmdline())
        ask = lambda **headers: urlopen(Request(f"{line['url']}/predict", content, {"Content-Type": "image/png", **headers}))
        with pytest.raises(HTTPError, match="401"): ask()
        with ask(Authorization="Bearer a secret") as answer: [found] = json.load(answer)["predictions"]
        [told] = answers(signs("predict", "--json", pictures/"good/a.png"))
        assert (found["label"], found["topk"]) == (told["label"], told["topk"])
        taken = signs("serve", "--port", port)
        assert taken.returncode == FAILED
        told_in_a_line(taken, f"cannot listen at 127.0.0.1, port {port}")
    finally: process.terminate()
    assert process.wait(20) == WELL
