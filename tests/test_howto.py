"The how-to pages' commands: all of them are ones that exist, and those that take no other machine are run as they stand."
import json
import os
import re
import shlex
import subprocess

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from PIL import Image

from conftest import BIN, ROOT
from signs_nbdev.cli import COMMANDS, make_parser
from signs_nbdev.sessions import draw_session

PAGES = sorted((ROOT/"nbs/how-to").glob("*.ipynb"))
ELSEWHERE = {"git", "cd", "docker", "sudo", "./config.sh", "export", "srun"} # programs that are not ours


def blocks(page, language):
    "The fenced blocks of a language on a page."
    cells = [o for o in json.loads(page.read_text())["cells"] if o["cell_type"] == "markdown"]
    return [o for cell in cells for o in re.findall(rf"(?s)```{language}\n(.*?)```", "".join(cell["source"]))]

def lines(block): return [o for o in block.replace("\\\n", "").splitlines() if o and o[0] != "#"]

def shell(commands, place):
    "Runs a block as somebody in that folder would."
    done = subprocess.run(["sh", "-ec", commands], cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}, timeout=600)
    assert done.returncode == 0, f"{commands}\n{done.stdout[-3000:]}"
    return done.stdout

@pytest.mark.parametrize("page", PAGES, ids=lambda o: o.stem)
def test_commands_are_ones_that_exist(page):
    form = yaml.safe_load((ROOT/".github/workflows/train.yml").read_text())[True]["workflow_dispatch"]["inputs"]
    targets = re.findall(r"(?m)^([a-z]+):", (ROOT/"Makefile").read_text())
    for line in (o for block in blocks(page, "sh") for o in lines(block)):
        words = [o for o in shlex.split(line, comments=True) if not re.match(r"[A-Z]+=", o)]
        match words:
            case ["signs", name, *rest] if name in COMMANDS: make_parser(name).parse_args(rest)
            case ["make", target]: assert target in targets, line
            case ["accelerate", "launch", *rest]: launch_command_parser().parse_args(rest)
            case ["gh", "workflow", "run", "train", *rest]: assert {o.split("=")[0] for o in rest if o != "-f"} <= {*form}, line
            case ["gh", *_]: pass
            case [program, *_]: assert program in ELSEWHERE, line

@pytest.fixture(scope="module")
def my_pictures(tmp_path_factory):
    "Films of three letters, whole ones held out, as the page on own data wants them."
    place = tmp_path_factory.mktemp("own")
    for film in range(6):
        for letter in "CLV":
            folder = place/"my_pictures"/("test" if film == 5 else "train")/letter
            folder.mkdir(parents=True, exist_ok=True)
            for i, x in enumerate(draw_session(2*film, 8, 48, 0, (letter,))):
                Image.fromarray(x.mul(255).byte().permute(1, 2, 0).numpy()).save(folder/f"film{film}-{i}.png")
    return place

def test_own_pictures_from_folder_to_answer(my_pictures):
    look_and_train, use = blocks(ROOT/"nbs/how-to/own-data.ipynb", "sh")
    assert "No leak found" in shell(look_and_train, my_pictures)
    assert re.search(r"film5-0\.png: .*[CLV]", shell(use, my_pictures))

def test_one_training_in_several_processes(my_pictures):
    page = ROOT/"nbs/how-to/many-machines.ipynb"
    [script], commands = blocks(page, "python"), [o for block in blocks(page, "sh") for o in lines(block)]
    small = f'dataset="folder", data_root={str(my_pictures/"my_pictures")!r}, size=16, arch="signnet_tiny", epochs=1, recipe="none"'
    assert 'dataset="hands_wide", batch_size=512' in script
    (my_pictures/"train.py").write_text(script.replace('dataset="hands_wide", batch_size=512', f"{small}, batch_size=16"))
    [command] = [o for o in commands if "--cpu" in o]
    shell(command, my_pictures)
    assert (my_pictures/"runs/shared/metrics.json").exists()
