"""The exported file against what it replaces, and networks of timm against PyTorch, one thread, same pictures.

    .venv/bin/python benchmarks/export.py                # both parts, some minutes on one core
    .venv/bin/python benchmarks/export.py speed          # the first alone; or: networks

speed: pictures a second from decoded pixels to probabilities. The peers are PyTorch with `prepare`, as the training has
it, and the usual export: the network alone as ONNX, in front of it Pillow's crop and resize and NumPy's normalisation.
networks: each is exported with random weights and asked about noise of three sizes; its labels must be PyTorch's.
The last line is JSON: {"speed": {...}, "networks": {...}, "errors": labels that were not the same}."""
import io
import json
import sys
import time
from statistics import median

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto
from PIL import Image
from torch import nn

from signs_nbdev.certify import quantise
from signs_nbdev.core import ASL_CLASSES
from signs_nbdev.data import to_float
from signs_nbdev.export import Whole, light_weights, to_onnx
from signs_nbdev.models import SignModel, create_model
from signs_nbdev.prepare import prepare

SIZE, REJECT = 64, {"score": "confidence", "threshold": 0.5, "sets": "aps", "limit": 0.9}
SHAPES = {"200x200": (200, 200), "640x480": (480, 640), "4000x3000": (3000, 4000)}
NETWORKS = ("signnet", "signnet_tiny", "signnet_base", "paper_cnn", "resnet18", "mobilenetv3_small_100",
            "efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")

def made(arch: str, size: int) -> SignModel:
    torch.manual_seed(0)
    model = create_model(arch, ASL_CLASSES, size=size).eval()
    for m in model.modules():  # fresh residual blocks add nothing, and all pictures would look alike
        if isinstance(m, nn.BatchNorm2d): m.weight.data.uniform_(0.5, 1.5)
    model.network.get_classifier().weight.data.normal_()
    model.config["reject"] = REJECT
    return model

def opened(proto: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])

def rate(call, pictures: int, seconds: float = 2.0) -> float:
    "Pictures a second, by the median call"
    call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return pictures/median(times)

def network_alone(model: SignModel) -> onnxruntime.InferenceSession:
    "The usual export"
    buffer, x = io.BytesIO(), torch.rand(2, 3, SIZE, SIZE)
    torch.onnx.export(model.network, (x,), dynamo=True, verbose=False, input_names=["x"], output_names=["y"],
                      dynamic_shapes={"x": {0: torch.export.Dim("n", min=1)}}).save(buffer)
    return opened(ModelProto.FromString(buffer.getvalue()))

def by_hand(session: onnxruntime.InferenceSession, pictures: np.ndarray) -> np.ndarray:
    "What a server writes around it: square, resize, normalise, softmax"
    h, w = pictures.shape[1:3]
    edge = min(h, w)
    box = ((w - edge)/2, (h - edge)/2, (w + edge)/2, (h + edge)/2)
    small = [Image.fromarray(o).resize((SIZE, SIZE), Image.Resampling.BILINEAR, box) for o in pictures]
    x = np.stack([np.asarray(o) for o in small]).transpose(0, 3, 1, 2).astype(np.float32)/255
    x = (x - x.mean((2, 3), keepdims=True))/(x.std((2, 3), keepdims=True) + 0.02)
    y = session.run(None, {"x": x})[0]
    e = np.exp(y - y.max(1, keepdims=True))
    return e/e.sum(1, keepdims=True)

@torch.no_grad()
def by_torch(model: SignModel, pictures: np.ndarray) -> torch.Tensor:
    seen = np.stack([prepare(Image.fromarray(o), "photo", model.config["size"]) for o in pictures])
    return model(to_float(torch.from_numpy(seen))).softmax(1)

def speed() -> dict:
    "Pictures a second of each way, and ours as a multiple of the peers"
    model, rng = made("signnet", SIZE), np.random.default_rng(0)
    proto, told = to_onnx(Whole(model)), {}
    shown = rng.integers(0, 256, (64, SIZE, SIZE, 3), np.uint8)
    ours = {"float": opened(proto), "light": opened(light_weights(proto)), "int8": opened(quantise(proto, shown))}
    alone = network_alone(model)
    for name, (h, w) in SHAPES.items():
        for n in (1, 16) if h < 1000 else (1,):
            x = rng.integers(0, 256, (n, h, w, 3), np.uint8)
            found = {"PyTorch": rate(lambda: by_torch(model, x), n), "by hand": rate(lambda: by_hand(alone, x), n)}
            for k, session in ours.items(): found[k] = rate(lambda: session.run(["probabilities"], {"pictures": x}), n)
            found |= {f"{k} vs {peer}": found[k]/found[peer] for k in ours for peer in ("PyTorch", "by hand")}
            told[f"{name}, {n} at once"] = {k: round(v, 2) for k, v in found.items()}
            print(f"{name}, {n} at once: " + ", ".join(f"{k} {v:,.2f}" for k, v in found.items()), flush=True)
    return told

def networks() -> dict:
    "What exports, and whether it answers as PyTorch does"
    told, rng = {}, np.random.default_rng(0)
    for arch in NETWORKS:
        size = 224 if "224" in arch else 28 if arch == "paper_cnn" else SIZE
        model, began = made(arch, size), time.perf_counter()
        session = opened(proto := to_onnx(Whole(model)))
        seconds, names, right, n, gap = time.perf_counter() - began, [o.name for o in session.get_outputs()], 0, 0, 0.
        for h, w in ((61, 90), (size, size), (231, 77)):
            x = rng.integers(0, 256, (4, h, w, 3), np.uint8)
            got, want = session.run(["logits", "probabilities"], {"pictures": x}), by_torch(model, x)
            n, right = n + 4, right + int((torch.from_numpy(got[0]).argmax(1) == want.argmax(1)).sum())
            gap = max(gap, float((torch.from_numpy(got[1]) - want).abs().max()))
        told[arch] = {"same": right, "n": n, "gap": gap, "evidence": "evidence" in names, "seconds": round(seconds, 1),
                      "bytes": proto.ByteSize()}
        print(f"{arch}: {right} of {n} labels the same, probabilities up to {gap:.1g} apart, evidence {'evidence' in names}, "
              f"exported in {seconds:.1f} s, {proto.ByteSize()/1e6:.1f} MB", flush=True)
    return told

def main():
    torch.set_num_threads(1)
    parts = {"speed": speed, "networks": networks}
    told = {o: parts[o]() for o in sys.argv[1:] or parts}
    print(json.dumps({**told, "errors": sum(o["n"] - o["same"] for o in told.get("networks", {}).values())}))

if __name__ == "__main__": main()
