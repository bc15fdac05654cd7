"The images' own steps, run without an engine: each RUN, COPY and ENTRYPOINT as it stands in its Dockerfile."
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from conftest import BIN, ROOT, run

DOCKERFILES = sorted(ROOT.glob("docker/*.Dockerfile"))
by_name = dict(ids=lambda o: o.name)


def instructions(dockerfile):
    "Pairs such as ('RUN', 'make all'), comments dropped and lines joined."
    lines = [o for o in dockerfile.read_text().splitlines() if not o.startswith("#")]
    whole = re.sub(r"\\\n", "", "\n".join(lines)).split("\n")
    return [tuple(o.split(None, 1)) for o in whole if o.strip()]

def last(dockerfile, name): return [value for key, value in instructions(dockerfile) if key == name][-1]

def copied(value):
    "What a COPY takes and where to, and the stage it takes it from."
    flags, paths = [], shlex.split(value)
    while paths[0].startswith("--"): flags.append(paths.pop(0))
    return paths[:-1], paths[-1], next((o.removeprefix("--from=") for o in flags if o.startswith("--from=")), None)

def compose(): return yaml.safe_load((ROOT/"compose.yaml").read_text())

class Replay:
    "Runs a Dockerfile's steps under a folder that stands for the image's root."
    def __init__(self, folder):
        self.root, self.stages, self.stage, self.time = folder/"root", folder/"stages", None, {}
        self.stages.mkdir()

    def at(self, text): return re.sub(r"(?<![\w./])/(opt|src|work|data)\b", rf"{self.root}/\1", text)

    def run(self, dockerfile):
        for name, value in instructions(dockerfile):
            begun = time.monotonic()
            getattr(self, name)(value)
            self.time[name] = self.time.get(name, 0) + time.monotonic() - begun
        return self

    # A venv knows its own path, so each stage is made under the same one and then put away.
    def FROM(self, value):
        if self.stage: self.root.rename(self.stages/self.stage)
        self.stage = value.partition(" AS ")[2] or "final"
        self.root.mkdir()
        self.cwd, self.env = self.root, dict(os.environ, PATH=f"{BIN}:{os.environ['PATH']}")
        self.env.pop("PIP_CONSTRAINT", None)  # the image has its own

    def WORKDIR(self, value):
        self.cwd = Path(self.at(value)) if value != "/tmp" else self.root/"tmp"
        self.cwd.mkdir(parents=True, exist_ok=True)

    def COPY(self, value):
        sources, target, stage = copied(value)
        target = self.cwd/self.at(target) if target != "." else self.cwd
        for o in sources:
            source = self.stages/stage/o.lstrip("/") if stage else ROOT/o
            into = target/source.name if value.endswith("/") else target
            into.parent.mkdir(parents=True, exist_ok=True)
            if source.is_file(): shutil.copy(source, into)
            else: shutil.copytree(source, into, symlinks=True, dirs_exist_ok=True,
                                  ignore=shutil.ignore_patterns(*(["__pycache__"] if not stage else [])))

    def ENV(self, value):
        for o in shlex.split(value):
            name, _, text = o.partition("=")
            self.env[name] = self.at(text).replace("$PATH", self.env["PATH"])

    def RUN(self, value):
        done = run("sh", "-c", self.at(value), cwd=self.cwd, env=self.env)
        assert done.returncode == 0, f"{value}\n{done.stdout}"

    def ENTRYPOINT(self, value): self.entrypoint = json.loads(value)
    def HEALTHCHECK(self, value): self.health = json.loads(value.partition("CMD ")[2])
    def USER(self, value): self.user = value
    def EXPOSE(self, value): self.port = int(value)

def test_lines_are_joined_and_comments_dropped(tmp_path):
    (tmp_path/"Dockerfile").write_text("# why\nFROM a AS b\nRUN one \\\n && two\n\nCOPY --from=b x y/\n")
    assert instructions(tmp_path/"Dockerfile") == [
        ("FROM", "a AS b"), ("RUN", "one  && two"), ("COPY", "--from=b x y/")]
    assert copied("--from=b x y/") == (["x"], "y/", "b")

@pytest.mark.parametrize("dockerfile", DOCKERFILES, **by_name)
def test_image_is_pinned_runs_as_nobody_and_takes_signals(dockerfile):
    stages = {}
    for o in (value for key, value in instructions(dockerfile) if key == "FROM"):
        image, _, name = o.partition(" AS ")
        assert image in stages or re.search(r":\d+\.\d+", image), f"{image} may be another image tomorrow"
        stages[name] = image
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last(dockerfile, "USER")), "a number, which runAsNonRoot can check"
    assert json.loads(last(dockerfile, "ENTRYPOINT"))[0] == "signs", "exec form: SIGTERM reaches Python, no shell between"
    assert "ADD" not in dict(instructions(dockerfile))

@pytest.mark.parametrize("dockerfile", DOCKERFILES, **by_name)
def test_what_is_copied_is_there_and_let_in(dockerfile):
    rules = [o for o in (ROOT/".dockerignore").read_text().split("\n") if o and not o.startswith("#")]
    assert rules[0] == "*", "everything stays out but what is named"
    allowed = [o[1:] for o in rules if o.startswith("!")]
    wanted = [o for key, value in instructions(dockerfile) if key == "COPY" and not copied(value)[2] for o in copied(value)[0]]
    for o in wanted:
        assert (ROOT/o).exists(), o
        assert any(fnmatch(o, rule) or o.startswith(f"{rule}/") for rule in allowed), f".dockerignore keeps {o} out"
    asked = set().union(*([*copied(value)[0]] for f in DOCKERFILES for key, value in instructions(f)
                          if key == "COPY" and not copied(value)[2]))
    assert set(allowed) <= asked, f"let in but used by no image: {set(allowed) - asked}"

def test_compose_serves_with_as_little_as_can_be():
    serve, train = (compose()["services"][o] for o in ("serve", "train"))
    assert serve["read_only"] and all("noexec" in o for o in serve["tmpfs"]) and "volumes" not in serve
    assert all(o.startswith("127.0.0.1:") for o in serve["ports"]), "no other machine reaches it unless one says so"
    assert serve["mem_limit"] and serve["pids_limit"] and serve["healthcheck"]
    for o in (serve, train):
        assert o["cap_drop"] == ["ALL"] and o["security_opt"] == ["no-new-privileges:true"]
        assert (ROOT/o["build"]["dockerfile"]).exists() and "privileged" not in o
    assert train["profiles"] == ["train"]
    [gpu] = train["deploy"]["resources"]["reservations"]["devices"]
    assert gpu["driver"] == "nvidia" and gpu["capabilities"] == ["gpu"]

def test_train_image_starts_the_training_command_where_its_notebook_lies():
    steps = instructions(ROOT/"docker/train.Dockerfile")
    assert ("COPY", "nbs/04_train.ipynb nbs/") in steps and json.loads(last(ROOT/"docker/train.Dockerfile", "ENTRYPOINT")) == ["signs", "train"]
    volumes = [o.split(":")[-1] for o in compose()["services"]["train"]["volumes"]]
    assert volumes == ["/work/runs", "/data", "/cache"]
    assert ("RUN", "install --directory --mode=1777 runs /data /cache") in steps, "whoever runs it may write there"

def test_sizes_add_up():
    rows = re.findall(r"(?m)^\| (.+?) \| \**(\d+)\** \|$", (ROOT/"docker/README.md").read_text())
    *parts, (_, whole) = [(name, int(mb)) for name, mb in rows]
    base = parts[0][1]
    assert sum(mb for _, mb in parts) == whole
    assert f"About {whole} MB: {whole - base} MB of ours" in (ROOT/"docker/serve.Dockerfile").read_text()

@pytest.fixture(scope="module")
def served():
    "The serve image's own folder, made by its own steps and then closed for writing."
    # Not pytest's folder: nobody but its owner may look into that.
    with tempfile.TemporaryDirectory(prefix="signs-") as tmp:
        replay = Replay(Path(tmp)).run(ROOT/"docker/serve.Dockerfile")
        paths = [replay.root, *replay.root.rglob("*")]
        for o in paths:
            if not o.is_symlink(): o.chmod(o.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
        yield replay
        for o in paths:
            if o.is_dir() and not o.is_symlink(): o.chmod(0o755)

def test_serve_image_is_small_and_knows_no_torch(served):
    python = served.root/"opt/signs/bin/python"
    done = run(python, "-I", "-c", "import signs_nbdev, onnxruntime, fastapi; print(signs_nbdev.__file__); import torch")
    assert str(served.root) in done.stdout and "No module named 'torch'" in done.stdout
    pip = sys.executable, "-m", "pip", "--python", python
    assert "Required" not in run(*pip, "check").stdout
    held = {o for o in run(*pip, "freeze").stdout.split("\n") if "==" in o}
    assert held and not held - {*(ROOT/"constraints.txt").read_text().split()}, "other versions than those that were tested"
    size = sum(o.lstat().st_size for o in (served.root/"opt/signs").rglob("*") if not o.is_dir()) / 1e6
    stated = int(re.search(r"(\d+) MB of ours", (ROOT/"docker/serve.Dockerfile").read_text())[1])
    print(f"{size:.0f} MB in the layer, {served.time['RUN']:.0f} s to install")
    assert abs(size - stated) < 0.1*stated, f"docker/serve.Dockerfile states {stated} MB, it is {size:.0f}"

def ask(port, path):
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer: return answer.status, json.load(answer)

def test_serve_image_answers_with_nothing_to_write_to_but_tmp(served, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Root without capabilities may write only where the mode says so, as in a container with cap_drop.
    bare = [shutil.which("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] if os.geteuid() == 0 else []
    env = {"PATH": served.env["PATH"].split(":")[0], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [shutil.which(served.entrypoint[0], path=env["PATH"]), *served.entrypoint[1:], "--port", str(port)]
    before = {o: o.lstat().st_mtime_ns for o in served.root.rglob("*")}
    begun = time.monotonic()
    with open(tmp_path/"log", "w+") as log, subprocess.Popen([*bare, *command], cwd=tmp_path, env=env, stdout=log, stderr=log) as server:
        try:
            while True:
                try: status, ready = ask(port, "/readyz")
                except OSError:
                    assert server.poll() is None and time.monotonic() - begun < 30, (tmp_path/"log").read_text()
                    time.sleep(.05)
                else: break
            print(f"ready after {time.monotonic() - begun:.2f} s")
            assert status == 200
            check = [o.replace(str(served.port), str(port)) for o in served.health]
            assert run(*bare, *check, env=env).returncode == 0
        finally: server.terminate()
        assert server.wait(timeout=30) == 0, "SIGTERM drains and ends well"
    assert run(*bare, *check, env=env).returncode != 0, "the health check tells a dead server"
    assert {o: o.lstat().st_mtime_ns for o in served.root.rglob("*")} == before, "it wrote into its own image"
