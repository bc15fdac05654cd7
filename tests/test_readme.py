"What the front page tells a stranger to type works as it stands there."
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from conftest import BIN, ROOT, run

TEXT = (ROOT/"README.md").read_text()
SHELL = re.findall(r"(?s)```sh\n(.*?)```", TEXT)
ENV = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def block(start):
    "The one block of shell commands that begins so."
    [found] = [o for o in SHELL if o.startswith(start)]
    return found

def test_a_picture_is_read_at_the_command_line(tree):
    done = run("bash", "-ec", block("signs predict"), cwd=tree, env=ENV, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in TEXT  # what it prints stands under the block
    assert json.loads((tree/"answers.jsonl").read_text())["label"] == "W"

def test_a_picture_is_read_in_python(tree):
    code, printed = re.search(r"(?s)```python\n(from signs_nbdev.reader .*?)\n```\n\n```\n(.*?)\n```", TEXT).groups()
    *lines, last = code.splitlines()
    done = run(sys.executable, "-c", "\n".join([*lines, f"print({last})"]), cwd=tree)
    assert done.stdout.strip() == printed

@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on this machine")
def test_a_picture_is_read_over_http(serving):
    serve, ask = block("signs serve").splitlines()
    words = shlex.split(serve, comments=True)
    assert words[:2] == ["signs", "serve"]
    url = serving(*words[2:-2])  # but for its port, which another may hold
    ask = ask.replace(f"localhost:{words[-1]}/", url)
    answer = json.loads(run("bash", "-c", ask, cwd=ROOT, env=ENV).stdout)
    assert answer["predictions"][0]["label"] == "W" and len(answer["predictions"][0]["topk"]) == 2

def test_every_command_is_one_that_signs_understands():
    from signs_nbdev.cli import make_parser
    lines = [o for text in SHELL for o in text.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(o, comments=True) for o in lines if o.startswith("signs ")]
    assert len(commands) > 8
    for _, name, *words in commands: make_parser(name).parse_args(words[:words.index(">")] if ">" in words else words)

def test_every_parameter_is_one_that_a_training_takes():
    from signs_nbdev.config import TrainConfig
    for words in re.findall(r"(?m)^signs train (.*)$", "\n".join(SHELL).replace("\\\n", " ")):
        given = [o.partition("=")[0] for o in shlex.split(words, comments=True)]
        assert {*given} <= TrainConfig.model_fields.keys(), given
