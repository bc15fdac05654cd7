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
