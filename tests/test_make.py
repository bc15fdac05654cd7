"The scripts behind make: what they write, and what they say when something is wrong."
import json
import sys

import pytest

from conftest import ROOT, run

CI = ROOT/".ci"
KERNEL = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}


def notebook(path, *cells):
    "Writes a notebook of `(type, source, outputs or tags)` cells."
    made = []
    for i, (kind, source, extra) in enumerate(cells):
        code = dict(outputs=[o for o in extra if isinstance(o, dict)], execution_count=None) if kind == "code" else {}
        tags = [o for o in extra if isinstance(o, str)]
        made.append(dict(cell_type=kind, id=f"cell{i}", metadata={"tags": tags} if tags else {}, source=source, **code))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": made, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}))
    return path

def result(mime, text):
    return {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": {mime: text}}

@pytest.fixture
def readme(monkeypatch):
    monkeypatch.syspath_prepend(CI)
    from readme import readme
    return readme

def test_readme_reads_as_the_notebook(readme, tmp_path):
    links = "![hand](images/a.png) [core](00_core.ipynb) [law](../LICENSE) [web](https://a.b) [up](#two)"
    path = notebook(tmp_path/"nbs/index.ipynb",
        ("raw", "---\ntitle: x\n---", []),
        ("code", "#| hide\nfrom secret import x", []),
        ("markdown", f"# Signs\n{links}", []),
        ("markdown", "```\n[kept](images/a.png)\n```", []),
        ("code", "#| echo: false\ntable()", [result("text/markdown", "| a |\n|---|\n| [x](01_data.ipynb) |")]),
        ("code", "1 + 1", [result("text/plain", "2"), {"output_type": "stream", "name": "stderr", "text": "noise"}]))
    assert readme(path).split("\n\n", 1)[1] == "\n\n".join([
        "# Signs\n![hand](nbs/images/a.png) [core](nbs/00_core.ipynb) [law](LICENSE) [web](https://a.b) [up](#two)",
        "```\n[kept](images/a.png)\n```",
        "| a |\n|---|\n| [x](nbs/01_data.ipynb) |",
        "```python\n1 + 1\n```", "```\n2\n```\n"])

def test_readme_refuses_a_picture_that_nobody_would_see(readme, tmp_path):
    path = notebook(tmp_path/"nbs/index.ipynb", ("code", "plot()", [result("image/png", "aGk=")]))
    with pytest.raises(ValueError, match="save it under nbs/images"): readme(path)

def test_the_tree_is_in_step(tree):
    done = run(sys.executable, tree/".ci/sync.py", "--check")
    assert done.returncode == 0, done.stdout

@pytest.mark.parametrize("path, old, new, line", [
    ("nbs/00_core.ipynb", '"execution_count": null', '"execution_count": 7', "nbs/00_core.ipynb is not clean"),
    ("signs_nbdev/core.py", "__all__", "# by hand\n__all__", "signs_nbdev/core.py differs from its notebook"),
    ("README.md", "\n", "\nby hand\n", "README.md differs from nbs/index.ipynb"),
    ("nbs/nbdev.yml", "website:", "website: ", "nbs/nbdev.yml differs from pyproject.toml")])
def test_check_names_what_is_out_of_step_and_changes_nothing(tree, path, old, new, line):
    changed = (tree/path).read_text().replace(old, new, 1)
    (tree/path).write_text(changed)
    done = run(sys.executable, tree/".ci/sync.py", "--check")
    assert done.returncode == 1 and done.stdout.splitlines()[0] == line and "make sync" in done.stdout
    assert (tree/path).read_text() == changed
    assert run(sys.executable, tree/".ci/sync.py").returncode == 0
    assert run(sys.executable, tree/".ci/sync.py", "--check").returncode == 0

def train(folder, *cells, args=()):
    "`make train` in a folder whose training notebook is made of `cells`."
    parameters = ("code", "dataset = 'hands'\nout = ''", ["parameters"])
    notebook(folder/"nbs/04_train.ipynb", parameters, *(("code", o, []) for o in cells))
    done = run(sys.executable, CI/"train.py", *args, cwd=folder)
    return done.returncode, done.stdout.strip().splitlines(), next(iter((folder/"runs").glob("*")), None)

def test_train_ends_with_the_result(tmp_path):
    test = {"accuracy": 0.9, "standard_error": 0.03, "correct": 90, "n": 100}
    metrics = {"split": "random", "leaky": True, "test": test}
    write = f"import json, pathlib\n(pathlib.Path(out)/'metrics.json').write_text(json.dumps({metrics}))"
    code, lines, out = train(tmp_path, "print('epoch 1')", write, args=["", "-p", "dataset", "oracle_mnist"])
    assert code == 0 and "epoch 1" in lines and out.name.endswith("-oracle_mnist")
    assert lines[-3:] == ["accuracy  90.00% +- 3.00% (90 of 100, random split, leaky)", f"notebook  runs/{out.name}/notebook.ipynb",
                          f"model     runs/{out.name}/model.safetensors"]

def test_train_that_fails_ends_with_the_notebooks_own_error(tmp_path):
    code, lines, out = train(tmp_path, "raise ValueError('no such data set')", args=["mine"])
    assert code and out.name.endswith("-mine")
    assert lines[-2:] == ["ValueError: no such data set",
                          f"No result. runs/{out.name}/notebook.ipynb shows how far it came."]

def test_train_without_metrics_is_no_result(tmp_path):
    code, lines, out = train(tmp_path, "1", args=[""])
    assert code and "without writing metrics.json" in lines[-2] and out.name.endswith("-hands")

def test_train_keeps_the_choice_of_folder(tmp_path):
    code, lines, out = train(tmp_path, "1", args=["", "-p", "out", "elsewhere"])
    assert code and "NAME=" in lines[-1] and out is None

def test_help_names_every_target():
    listed = run("make", cwd=ROOT).stdout
    for target in ("train", "test", "sync", "notebooks", "docs"): assert f"make {target} " in listed

def test_an_install_that_was_cut_off_starts_again(tmp_path):
    python, home = tmp_path/"venv/bin/python", tmp_path/"venv"
    assert run(sys.executable, CI/"venv.py", home).returncode == 0
    assert run(python, "-m", "pip", "--version").returncode == 0
    whole = home/"whole"
    whole.touch()
    assert run(sys.executable, CI/"venv.py", home).returncode == 0 and whole.exists()
    [packages] = home.glob("lib/python*/site-packages")
    (packages/"half-1.0.dist-info").mkdir()
    assert run(sys.executable, CI/"venv.py", home).returncode == 0
    assert not whole.exists() and run(python, "-m", "pip", "--version").returncode == 0
