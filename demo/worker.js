// The model beside the page: bytes of a picture in, out what the server's /predict says of it (07c_serve).
import { InferenceSession, Tensor, env } from "./ort.js";
import { MAX_PIXELS, MODELS, RUNTIME } from "./built.js";

const MOST = 4_000_000; // pixels that are read as they are: the graph takes some 80 bytes for each

/* ---- loading: at the first picture, and told as a share */

/** The bytes of a file beside this one; `heard` is told the length of each piece. */
async function load({ file }, heard) {
  const response = await fetch(new URL(file, import.meta.url)).catch(() => null);
  if (!response?.ok) throw Error("The model could not be loaded. Is there a network?");
  let stream = response.body.pipeThrough(new TransformStream({ transform(piece, out) { heard(piece.length); out.enqueue(piece); } }));
  if (file.endsWith(".gzip")) stream = stream.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const sessions = {}; // of the models that are loaded, by name

async function session(model, tell) {
  if (sessions[model.name]) return sessions[model.name];
  const files = env.wasm.wasmBinary ? [model] : [model, RUNTIME], all = files.reduce((sum, o) => sum + o.bytes, 0);
  let got = 0;
  const heard = (bytes) => tell({ loaded: (got += bytes) / all });
  const [graph, wasm = env.wasm.wasmBinary] = await Promise.all(files.map((o) => load(o, heard)));
  Object.assign(env.wasm, { wasmBinary: wasm, numThreads: 1 }); // more threads need headers that few static servers send
  return (sessions[model.name] = await InferenceSession.create(graph));
}

/* ---- pixels: as to_pixels (00_pictures) makes them, but grey as three equal channels, which the graph reads alike */

/** The pixels as RGBA, a strip at a time: a canvas as large as a photo is more than some phones give. */
function* strips(bitmap, rows = 1024) {
  const { width, height } = bitmap, canvas = new OffscreenCanvas(width, Math.min(rows, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.globalCompositeOperation = "copy";
  for (let y = 0; y < height; y += rows) {
    context.drawImage(bitmap, 0, -y);
    yield context.getImageData(0, 0, width, Math.min(rows, height - y)).data;
  }
}

/** Whether the mean of what is visible is in the darker half. */
function isDark(bitmap) {
  let sum = 0;
  for (const data of strips(bitmap)) for (let i = 0; i < data.length; i += 4)
    sum += (0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2] - 127.5) * data[i + 3];
  return sum < 0;
}

/** The picture in a file, upright and in its own colours. A larger one than a phone has memory for is made smaller first. */
async function open(blob) {
  const raw = { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(blob, raw).catch(() => {
    throw Error("That picture cannot be read. It should be of a kind that this browser shows, such as JPEG, PNG or WEBP.");
  });
  const { width, height } = bitmap, shrink = Math.sqrt(width * height / MOST);
  if (width * height > MAX_PIXELS) throw Error(`That picture is too large: ${width}x${height}. Make it smaller.`);
  if (shrink <= 1) return bitmap;
  const [resizeWidth, resizeHeight] = [width, height].map((o) => Math.max(1, Math.round(o / shrink)));
  return createImageBitmap(bitmap, { ...raw, resizeWidth, resizeHeight, resizeQuality: "high" }).finally(() => bitmap.close());
}

/** @returns {Promise<Tensor>} (1, H, W, 3) uint8, without transparency */
async function pixels(blob, kind) {
  const bitmap = await open(blob), { width, height } = bitmap;
  const ground = kind === "scan" && isDark(bitmap) ? 255 : 0, rgb = new Uint8Array(3 * width * height);
  let at = 0;
  for (const data of strips(bitmap)) for (let i = 0; i < data.length; i += 4) {
    const alpha = data[i + 3] / 255;
    for (let c = 0; c < 3; c++) rgb[at++] = ground + (data[i + c] - ground) * alpha + 0.5;
  }
  bitmap.close();
  return new Tensor("uint8", rgb, [1, height, width, 3]);
}

/* ---- answers */

const round = (value, digits) => Number(value.toFixed(digits));

/** The picture as the network gets it, as an address that holds it. */
async function dataUrl({ data, dims: [, height, width, channels] }) {
  const image = new ImageData(width, height), canvas = new OffscreenCanvas(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = data[channels * i + (c % channels)];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return new FileReaderSync().readAsDataURL(await canvas.convertToBlob());
}

/** Where in the picture speaks most for class `k`: rows of 0 to 1. */
function evidence({ data, dims: [, , height, width] }, k) {
  const map = [...data.subarray(k * height * width, (k + 1) * height * width)].map((o) => Math.max(o, 0)), most = Math.max(...map, 1e-9);
  return Array.from({ length: height }, (_, y) => map.slice(y * width, (y + 1) * width).map((o) => round(o / most, 3)));
}

async function read({ blob, model: name, topk, show }, tell) {
  const model = MODELS.find((o) => o.name === name), { classes, kind, sha256 } = model, graph = await session(model, tell);
  const out = await graph.run({ pictures: await pixels(blob, kind) }), chance = out.probabilities.data;
  const order = classes.map((_, k) => k).sort((a, b) => chance[b] - chance[a]); // stable, as NumPy's
  const told = order.map((k) => ({ label: classes[k], probability: round(chance[k], 6) }));
  const prediction = { ...told[0], unknown: !out.known.data[0], topk: told.slice(0, topk),
                       signs: order.filter((k) => out.inside.data[k]).map((k) => classes[k]) };
  if (show.includes("seen")) prediction.seen = await dataUrl(out.seen);
  if (show.includes("evidence") && out.evidence) prediction.evidence = evidence(out.evidence, order[0]);
  return { model: { name, sha256 }, predictions: [prediction] };
}

let last = Promise.resolve(); // one after the other: a session runs once at a time
self.onmessage = ({ data: question, ports: [port] }) => {
  const tell = (message) => port.postMessage(message);
  last = last.then(() => read(question, tell)).then((answer) => tell({ answer }), (e) => tell({ error: e.message }));
};
