"A real JupyterLab of the environment opens the training notebook and runs code with the environment's own Python."
import json
import os
import socket
import subprocess
import sys
import time
from urllib.request import Request, urlopen

import pytest
from jupyter_client import BlockingKernelClient

from conftest import BIN, ROOT

TOKEN = "only-for-this-test"


class Server:
    def __init__(self, port): self.url = f"http://127.0.0.1:{port}"
    def ask(self, path, method="GET", body=None):
        data = body and json.dumps(body).encode()
        request = Request(self.url + path, data, {"Authorization": f"token {TOKEN}"}, method=method)
        with urlopen(request, timeout=60) as reply: return reply.read().decode()

@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "JupyterLab as `make notebooks` starts it, without a browser, in a home where a kernel lies that must not be taken."
    home = tmp_path_factory.mktemp("home")
    kernel = home/".local/share/jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    (kernel/"kernel.json").write_text(json.dumps(dict(argv=["/bin/false"], display_name="wrong", language="python")))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    flags = f"--no-browser --allow-root --ip=127.0.0.1 --port={port} --port-retries=0 --IdentityProvider.token={TOKEN}"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "XDG", "IPYTHON", "MAKE"))}
    env |= dict(HOME=str(home), JUPYTER_RUNTIME_DIR=str(home/"runtime"), JUPYTER_PATH=str(kernel.parents[1]),
        JUPYTER_PREFER_ENV_PATH="0")
    with open(home/"log", "w") as log:
        venv = os.path.relpath(BIN.parent, ROOT)
        command = ["make", "-o", f"{venv}/.installed", f"VENV={venv}", "notebooks", f"ARGS={flags}"]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True)
    server = Server(port)
    server.runtime = home/"runtime"
    try:
        for _ in range(120):
            assert process.poll() is None, (home/"log").read_text()
            try: server.ask("/api"); break
            except OSError: time.sleep(0.5)
        else: pytest.fail((home/"log").read_text())
        yield server
        server.ask("/api/shutdown", "POST")
        process.wait(60)
    finally:
        if process.poll() is None: os.killpg(process.pid, 9)

def test_lab_page_and_training_notebook_open(server):
    assert "JupyterLab" in server.ask("/lab/tree/nbs/index.ipynb")
    model = json.loads(server.ask("/api/contents/nbs/04_train.ipynb"))
    tags = [o["metadata"].get("tags", []) for o in model["content"]["cells"]]
    assert model["type"] == "notebook" and tags.count(["parameters"]) == 1

def test_kernel_is_the_environments(server):
    kernel = json.loads(server.ask("/api/kernels", "POST", dict(name="python3", path="nbs/04_train.ipynb")))
    client = BlockingKernelClient(connection_file=str(server.runtime/f"kernel-{kernel['id']}.json"))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(60)
        printed = []
        client.execute_interactive("import sys, os, signs_nbdev; print(sys.prefix, os.getcwd(), sep='\\n')", timeout=60,
            output_hook=lambda o: printed.append(o["content"].get("text", "")))
        assert "".join(printed).splitlines() == [sys.prefix, str(ROOT/"nbs")]
    finally:
        client.stop_channels()
        server.ask(f"/api/kernels/{kernel['id']}", "DELETE")
