"""What serving costs beside bare ONNX Runtime, and what load, overload and a new model do to those who ask.

    .venv/bin/python benchmarks/serve.py                              # 64 clients for 60 s, and the rest: two minutes
    .venv/bin/python benchmarks/serve.py --seconds 5 --clients 16     # shorter

The real server as a process of its own, with its defaults, and clients over loopback on the same cores, each with one
connection, asking again as soon as it is answered. Pictures are 64 different JPEGs of 200x200, as photos of hands are.

- load: one picture a request, without a pause;
- bare: the exported graph on pictures that are decoded already, all of its outputs; in as many threads as there are
  cores or in one session with as many, in batches of 1 to 32, whatever takes the cores' least time;
- bare with decoding: the same threads decode the JPEGs too. After the load, bare, bare with decoding and the server
  take turns, and the median of the rounds' ratios counts. `vs_onnxruntime` is served pictures/s over bare pictures/s,
  so what HTTP, decoding, JSON and the clients themselves take of the cores counts against us; `vs_onnxruntime_decoding`
  is over the second one. `..._by_core` compares what cores spent on a picture, bare and in the server's process under
  load, which says how they compare on a machine that has other things to do;
- without batches: the same server told to read one by one; what its cores spent on a picture;
- forms: sixteen pictures a request, a quarter of the clients, in turns with bare too;
- clients: the same from 1 client to 128, shortly each, the median of three rounds;
- overload: a queue of 16 and all the clients, a refused one asking again after 0.1 s; then four clients only;
- reload: the model's file is replaced by another model's twice a second while a quarter of the clients ask.

What is measured goes to nbs/results/serve-benchmark.json, from where nbs/07_engine.ipynb and nbs/07c_serve.ipynb tell
it. The last line is JSON: `errors` (all answers that should have been 200 and were not), `p50_ms`, `p99_ms`,
`vs_onnxruntime`, ..."""
import argparse
import asyncio
import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from signs_nbdev.core import write_json
from signs_nbdev.engine import usable_cores
from signs_nbdev.reader import Reader, ready

KEPT = Path(__file__).parents[1]/"nbs/results/serve-benchmark.json"
CORES = usable_cores()
BATCHES, ROUNDS = (1, 2, 4, 8, 16, 32), 5


def photos(n: int, height: int, width: int) -> list[bytes]:
    "JPEGs of smooth random colours"
    rng, made = np.random.default_rng(0), []
    for _ in range(n):
        small = Image.fromarray(rng.integers(0, 256, (height//8, width//8, 3), np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).save(file := io.BytesIO(), "JPEG", quality=90)
        made.append(file.getvalue())
    return made

def rate(work, pictures: int, seconds: float, threads: int = 1) -> tuple[float, float]:
    "Pictures/s of `work`, which does some at a time, in so many threads, and what cores spent on one, seconds"
    def repeat(_):
        n = 0
        while time.perf_counter() < end:
            work()
            n += pictures
        return n
    work()
    begun, spent = time.perf_counter(), time.process_time()
    end = begun + seconds
    with ThreadPoolExecutor(threads) as pool: n = sum(pool.map(repeat, range(threads)))
    return n/(time.perf_counter() - begun), (time.process_time() - spent)/n

def by_batch(name: str, height: int, width: int) -> dict[str, float]:
    "Pictures that a core reads in a second of its time, by pictures in a batch"
    reader = Reader(name, threads=1)
    pixels = [reader.pixels(o) for o in photos(max(BATCHES), height, width)]
    return {n: 1/rate(lambda: reader.run(np.stack(pixels[:n])), n, 1)[1] for n in BATCHES}

class Bare:
    "ONNX Runtime alone, in its best way on this machine"
    def __init__(self, name: str, jpegs: list[bytes]):
        self.jpegs, self.one, all_cores = jpegs, Reader(name, threads=1), Reader(name, threads=CORES)
        self.pixels = np.stack([self.one.pixels(o) for o in jpegs])
        ways = [(reader, threads, n) for reader, threads in ((self.one, CORES), (all_cores, 1)) for n in BATCHES]
        self.reader, self.threads, self.batch = min(ways, key=lambda way: self.measure(*way, seconds=0.5)[1])
        self.how = f"{self.threads} threads of {CORES//self.threads}, batches of {self.batch}"

    def measure(self, reader: Reader, threads: int, n: int, seconds: float) -> tuple[float, float]:
        return rate(lambda: reader.session.run(None, {"pictures": self.pixels[:n]}), n, seconds, threads)

    def graph(self, seconds: float) -> tuple[float, float]:
        return self.measure(self.reader, self.threads, self.batch, seconds)

    def decoding(self, seconds: float) -> tuple[float, float]:
        def work():
            pixels = np.stack([self.one.pixels(o) for o in self.jpegs[:self.batch]])
            self.one.session.run(None, {"pictures": pixels})
        return rate(work, self.batch, seconds, CORES)

@contextmanager
def serving(models: dict, **options):
    "A server of its own; gives its port, its process and the seconds until it was ready"
    with socket.socket() as o:
        o.bind(("127.0.0.1", 0))
        port = o.getsockname()[1]
    code = f"from signs_nbdev.serve import serve; serve({models!r}, port={port}, **{options!r})"
    begun = time.perf_counter()
    command = [sys.executable, "-c", code]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port)): break
                except OSError:
                    if server.poll() is not None or time.perf_counter() - begun > 60:
                        log.seek(0)
                        raise SystemExit(f"the server does not start:\n{log.read().decode()}")
                    time.sleep(0.01)
            yield port, psutil.Process(server.pid), time.perf_counter() - begun
        finally:
            server.terminate()
            server.wait(60)

class Client:
    "One connection that stays open"
    async def open(self, port: int):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def ask(self, path: str, kind: str, body: bytes) -> tuple[int, float, bytes]:
        "Status, seconds and body of the answer"
        begun = time.perf_counter()
        self.writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n"
                          f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        answer = await self.reader.readexactly(length)
        return int(head[9:12]), time.perf_counter() - begun, answer

async def load(port: int, bodies: list[tuple[str, bytes]], clients: int, seconds: float, pause: float = 0,
               path: str = "/predict?model=hands", look=lambda answer: None) -> tuple[dict[int, list[float]], float]:
    "So many clients ask for so long; seconds of their answers by status (0: a broken line), and seconds until the last"
    times: dict[int, list[float]] = {}
    begun = time.perf_counter()
    end = begun + seconds
    async def keep_asking(i: int):
        client, n = await Client().open(port), i
        while time.perf_counter() < end:
            try: status, took, answer = await client.ask(path, *bodies[n % len(bodies)])
            except (OSError, EOFError, ValueError):
                times.setdefault(0, []).append(0.)
                client = await Client().open(port)
                continue
            times.setdefault(status, []).append(took)
            if status == 200: look(answer)
            elif pause: await asyncio.sleep(pause)
            n += 1
        client.writer.close()
    await asyncio.gather(*(keep_asking(i) for i in range(clients)))
    return times, time.perf_counter() - begun

def percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{q}_ms": round(float(np.percentile(seconds, q))*1000, 2) for q in (50, 95, 99)}

def form(jpegs: list[bytes]) -> tuple[str, bytes]:
    parts = [b'--b\r\nContent-Disposition: form-data; name="pictures"; filename="%d.jpg"\r\n'
             b"Content-Type: image/jpeg\r\n\r\n%s\r\n" % (i, o) for i, o in enumerate(jpegs)]
    return "multipart/form-data; boundary=b", b"".join(parts) + b"--b--\r\n"

def failures(times: dict[int, list[float]]) -> int: return sum(len(o) for status, o in times.items() if status != 200)


def watched(port: int, process: psutil.Process, bodies, clients: int, seconds: float) -> tuple[dict, float, float]:
    "`load` after a second of it, and what the server's cores spent on an answer, seconds"
    asyncio.run(load(port, bodies, clients, 1))
    before = sum(process.cpu_times()[:2])
    times, took = asyncio.run(load(port, bodies, clients, seconds))
    return times, took, (sum(process.cpu_times()[:2]) - before)/len(times[200])

def under_load(args, jpegs) -> dict:
    bare, single = Bare("hands", jpegs), [("image/jpeg", o) for o in jpegs]
    forms, share = [form(jpegs[i:i + 16]) for i in range(0, 64, 16)], max(1, args.seconds/20)
    with serving({"hands": "hands"}) as (port, process, _):
        times, took, cost = watched(port, process, single, args.clients, args.seconds)
        errors, rates, costs = failures(times), [], []
        for _ in range(ROUNDS):
            (graph, core), (decoding, core_decoding) = bare.graph(share), bare.decoding(share)
            one, seconds = asyncio.run(load(port, single, args.clients, share))
            many, seconds_many = asyncio.run(load(port, forms, max(1, args.clients//4), share))
            errors += failures(one) + failures(many)
            rates.append((len(one[200])/seconds, graph, decoding, 16*len(many[200])/seconds_many))
            costs.append((core, core_decoding))
        memory = process.memory_info().rss
    with serving({"hands": "hands"}, batch=1) as (port, process, _):
        *_, cost_by_one = watched(port, process, single, args.clients, share)
    served, graph, decoding, in_forms = np.array(rates).T
    core, core_decoding = np.median(costs, 0)
    return {"errors": errors, "requests": len(times[200]), **percentiles(times[200]),
            "pictures_per_s": len(times[200])/took, "bare_how": bare.how,
            "bare_per_s": np.median(graph), "bare_decoding_per_s": np.median(decoding),
            "vs_onnxruntime": np.median(served/graph), "vs_onnxruntime_decoding": np.median(served/decoding),
            "vs_onnxruntime_by_core": core/cost, "vs_onnxruntime_decoding_by_core": core_decoding/cost,
            "core_ms": 1000*cost, "core_ms_without_batches": 1000*cost_by_one,
            "forms_vs_onnxruntime": np.median(in_forms/graph), "memory_mb": memory/1e6}

def by_clients(args, jpegs) -> dict[int, dict]:
    "How answers come to few and to many: the median of three rounds"
    single, seconds, rounds = [("image/jpeg", o) for o in jpegs], max(1, args.seconds/30), {}
    with serving({"hands": "hands"}) as (port, *_):
        asyncio.run(load(port, single, 4, 1))
        for n in (1, 2, 4, 8, 16, 32, 64, 128)*3:
            times, took = asyncio.run(load(port, single, n, seconds))
            one = {"errors": failures(times), "per_s": len(times[200])/took, **percentiles(times[200])}
            rounds.setdefault(n, []).append(one)
    return {n: {k: (sum if k == "errors" else statistics.median)([o[k] for o in found]) for k in found[0]}
            for n, found in rounds.items()}

def overloaded(args, jpegs) -> dict:
    single, seconds = [("image/jpeg", o) for o in jpegs], max(2, args.seconds/6)
    with serving({"hands": "hands"}, queue=16) as (port, *_):
        asyncio.run(load(port, single, 4, 1))
        times, took = asyncio.run(load(port, single, args.clients, seconds, pause=0.1))
        after, took_after = asyncio.run(load(port, single, 4, seconds/2))
    refused = times.pop(503, [])
    return {"errors": failures(times) + failures(after), "refused": len(refused), "answered": len(times[200]),
            "refusal": percentiles(refused) if refused else {}, "answer": percentiles(times[200]),
            "per_s": len(times[200])/took, "after": percentiles(after[200]), "after_per_s": len(after[200])/took_after}

def replaced(args, jpegs) -> dict:
    seconds, seen = max(3, args.seconds/6), Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/"sign.onnx"
        shutil.copy(ready()["hands"], path)
        with serving({"sign": str(path)}, watch_s=0.1) as (port, *_):
            async def both():
                asking = asyncio.create_task(load(
                    port, [("image/jpeg", o) for o in jpegs], max(1, args.clients//4), seconds, path="/predict?topk=1",
                    look=lambda o: seen.update([json.loads(o)["model"]["sha256"]])))
                n = 0
                while not asking.done():
                    await asyncio.sleep(0.5)
                    n += 1
                    shutil.copy(ready()[("hands", "bones")[n % 2]], f"{path}.new")
                    os.replace(f"{path}.new", path)
                return (await asking)[0], n
            times, n = asyncio.run(both())
    return {"errors": failures(times), "replaced": n, "answers": list(seen.values()), **percentiles(times[200])}

def until_ready(rounds: int) -> float:
    "Seconds from the start of a process until it answers, with both ready models"
    took = []
    for _ in range(rounds):
        with serving({o: o for o in ready()}) as (*_, seconds): took.append(seconds)
    return statistics.median(took)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of load; the other parts take a part of it")
    parser.add_argument("--clients", type=int, default=64)
    args = parser.parse_args()
    jpegs = photos(64, 200, 200)
    shapes = [(name, *o) for name in ready() for o in ((64, 64), (200, 200), (480, 640))]
    kept = {"cores": CORES, "seconds": args.seconds, "clients": args.clients, "ready_seconds": until_ready(3),
            "batches": {f"{name}, {h}x{w}": by_batch(name, h, w) for name, h, w in shapes},
            "load": under_load(args, jpegs), "by_clients": by_clients(args, jpegs),
            "overload": overloaded(args, jpegs), "reload": replaced(args, jpegs)}
    kept = json.loads(json.dumps(kept), parse_float=lambda o: float(f"{float(o):.4g}"))
    write_json(KEPT, kept)
    print(json.dumps(kept, indent=1))
    parts = [*(kept[o] for o in ("load", "overload", "reload")), *kept["by_clients"].values()]
    print(json.dumps({"errors": sum(o["errors"] for o in parts),
                      **{k: v for k, v in kept["load"].items() if k != "errors"}, "ready_seconds": kept["ready_seconds"]}))


if __name__ == "__main__": main()
