// The page: three ways to give a picture, one place for the answer.
import { Failure, reader } from "./reader.js";
import { Camera } from "./camera.js";
import { GLYPHS, Pad, glyph, ink, picture } from "./pad.js";
import { Speller, spelled } from "./spell.js";

/** @typedef {import("./reader.js").Prediction} Prediction   @typedef {import("./reader.js").Model} Model */

const $ = (selector) => document.querySelector(selector), all = (selector) => document.querySelectorAll(selector);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const percent = (p) => (p > 0.995 ? "> 99 %" : p < 0.005 ? "< 1 %" : `${Math.round(100 * p)} %`);
const or = (words) => (words.length > 1 ? `${words.slice(0, -1).join(", ")} or ${words.at(-1)}` : words[0]);

const intoView = () => $(`#${tab} .stage`).scrollIntoView({ block: "nearest" });

/** A new element, with properties (`class` and the like by their DOM names) and children. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/* ---- models */

const KINDS = { camera: ["photo"], draw: ["scan"], pictures: ["photo", "scan"] }; // what each tab can give
const EMPTY = { camera: "Start the camera and show it a hand.", draw: "Draw one of the characters.", pictures: "Choose a picture, or an example." };
/** @type {Model[]} */ let models = [];
const chosen = {}; // tab -> name of a model
let tab = "";

const fitting = (of = tab) => models.filter((o) => KINDS[of].includes(o.kind));
const model = (of = tab) => fitting(of).find((o) => o.name === chosen[of]) ?? fitting(of)[0];

async function loadModels() {
  $("#retry").hidden = true;
  try { models = await reader.models(); complain(null); } catch (e) { complain(e, loadModels); }
  $("#models").replaceChildren(...models.map(aboutModel));
  $("#glyphs").replaceChildren(...Object.keys(GLYPHS).filter((o) => model("draw")?.classes.includes(o)).map(glyphButton));
  openTab(tab);
}

/** How often a model was right, in words: in its own test, which comes first, and on pictures by others. @param {Model} o */
function measured({ results }) {
  const [own, ...others] = Object.entries(results).filter(([, o]) => o?.n).map(([on, o]) => `${percent(o.accuracy)} (${on}; n\u00a0=\u00a0${o.n.toLocaleString("en")})`);
  return own ? `Right in its own test: ${own}.${others.length ? ` On pictures by others: ${others.join(", ")}.` : ""}` : "";
}

function aboutModel(o) {
  return make("div", { className: "model" }, make("p", {}, make("b", {}, o.name), ` reads ${o.about}.`),
    make("p", {}, `Signs: ${o.classes.join(", ")}.`), make("p", {}, measured(o)),
    make("p", { className: "small" }, `Sees ${o.size} × ${o.size} pixels. ${o.licence}. ${o.sha256.slice(0, 12)}`));
}

/* ---- trouble */

reader.loading = (share) => { $("#sentence").textContent = `Loading the model: ${percent(share)}`; say("Loading the model"); };

let again = null; // what "Try again" does
/** Say what went wrong, or nothing any more. */
function complain(error, retry = null) {
  if (error && !(error instanceof Failure)) console.error(error);
  $("#notice").hidden = !error;
  if (!error) return;
  if (!kept[tab]?.prediction) $("#sentence").textContent = nothing();
  $("#notice p").textContent = error instanceof Failure ? error.message : `The page failed: ${error.message}`;
  $("#retry").hidden = !retry;
  again = retry;
}
$("#retry").onclick = () => again?.();
$("#dismiss").onclick = () => complain(null);

/* ---- the answer */

const kept = {}; // tab -> what it shows: {prediction, box}, kept while another tab is open
const SYMBOLS = { space: "␣", del: "⌫" };

/** @param {Prediction} o */
function sentence({ label, probability, unknown, signs, topk }) {
  const likely = topk.filter((o) => signs.includes(o.label) || o.probability >= 0.1).map((o) => o.label).slice(0, 6);
  if (unknown) return ["I don't know.", likely.length > 1 ? `It might be ${or(likely)}.` : `My best guess is ${label}.`];
  const others = likely.filter((o) => o !== label);
  return [`${label}, ${percent(probability)}`, others.length ? `It might also be ${or(others)}.` : "Nothing else is likely."];
}

const nothing = () => !models.length ? "Waiting for the models." : !model() ? "The server has no model for this."
  : tab === "pictures" && current?.error ? "This picture was not read." : EMPTY[tab];

/** Show a prediction, or what to do if there is none yet. `box` is where the evidence lies, in units of the stage. */
function show(prediction, box = { x: 0, y: 0, side: 1 }, of = tab) {
  kept[of] = { prediction, box };
  if (of !== tab) return;
  const o = prediction, [head, rest] = o ? sentence(o) : ["", nothing()];
  const text = o ? (o.unknown ? "?" : SYMBOLS[o.label] ?? o.label) : "";
  $(".answer").classList.toggle("unknown", o?.unknown ?? false);
  if ($("#label").textContent !== text) $("#label").textContent = text;
  $("#label").classList.toggle("word", text.length > 2);
  $("#sentence").replaceChildren(make("b", {}, head), rest);
  $(".ring").style.setProperty("--turn", `${o?.progress ?? (o && !o.unknown ? o.probability : 0)}turn`);
  showBars(o);
  $("#seen").hidden = !o?.seen;
  if (o?.seen) $("#seen img").src = o.seen;
  $("#why").hidden = !o?.evidence;
  showEvidence(o?.evidence, box);
}

function showBars(o) {
  const rows = (o?.topk ?? []).slice(0, 5).map(({ label, probability }) => {
    const row = make("li", { className: o.signs.includes(label) ? "in" : "" }, make("span", {}, label), make("i"),
                     make("span", {}, percent(probability)));
    row.style.setProperty("--share", probability);
    return row;
  });
  $("#bars").replaceChildren(...rows);
  $("#legend").hidden = !o || o.unknown;
}

/** Colour the stage where something spoke for the answer; the coarse map is smoothed by the browser's own scaling. */
function showEvidence(map, { x, y, side }) {
  const canvas = $(`#${tab} .evidence`), on = map && $("#evidence").checked;
  const edge = on ? Math.round(canvas.clientWidth * devicePixelRatio) : 0;
  Object.assign(canvas, { width: edge, height: edge });
  if (!edge) return;
  const small = make("canvas", { width: map[0].length, height: map.length });
  const pixels = map.flat().flatMap((v) => [0, 150, 130, 255 * v]);
  small.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), map[0].length), 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, x * edge, y * edge, side * edge, side * edge);
}
$("#evidence").onchange = () => kept[tab] && show(kept[tab].prediction, kept[tab].box);

let said = "";
/** For those who hear the page; nothing is said twice. */
function say(text) { if (text !== said) $("#say").textContent = said = text; }

/* ---- tabs */

const TABS = ["camera", "draw", "pictures"];
function openTab(name) {
  if (tab === "camera" && name !== "camera") stopCamera();
  tab = name;
  for (const o of TABS) {
    $(`#${o}`).hidden = $(`#${o}-rest`).hidden = o !== name;
    Object.assign($(`#tab-${o}`), { ariaSelected: o === name, tabIndex: o === name ? 0 : -1 });
  }
  history.replaceState(null, "", `#/${name}`);
  const names = fitting().map((o) => o.name);
  $("#model").replaceChildren(...names.map((o) => make("option", {}, o)));
  if (model()) $("#model").value = model().name;
  $(".by").hidden = !names.length;
  $("#model").disabled = names.length < 2;
  tellModel();
  show(kept[name]?.prediction, kept[name]?.box);
  if (name === "draw") pad.paint();
}

function tellModel() {
  const o = model();
  $("#honest").textContent = o ? measured(o) : "";
  $("#seen figcaption").textContent = o ? `All the model sees: ${o.size}\u00a0×\u00a0${o.size}\u00a0pixels` : "";
  $("#examples").replaceChildren(...(o?.kind === "scan" ? Object.keys(GLYPHS).filter((g) => o.classes.includes(g)).map((g) => fileButton(g, glyphCanvas(g), "glyph"))
    : SIGNS.filter((s) => o?.classes.includes(s)).map((s) => fileButton(s, signCanvas(s)))));
}

$("[role=tablist]").onkeydown = (e) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key], at = TABS.indexOf(tab);
  const next = step ? TABS.at((at + step) % 3) : { Home: TABS[0], End: TABS[2] }[e.key];
  if (next) { e.preventDefault(); openTab(next); $(`#tab-${next}`).focus(); }
};
for (const o of TABS) $(`#tab-${o}`).onclick = () => openTab(o);
$("#model").onchange = () => {
  chosen[tab] = $("#model").value;
  tellModel();
  ({ camera: () => speller.reset(), draw: readPad, pictures: () => { reading++; readThese(pictures); } })[tab]();
};

/* ---- camera */

const stage = $("#camera .stage"), camera = new Camera($("video")), speller = new Speller();
const TROUBLE = {
  insecure: "Browsers give the camera only to pages from https or from this very computer (localhost).",
  denied: "The camera is blocked for this page. Allow it beside the address, then try again.",
  none: "No camera was found.",
  busy: "The camera is in use by another program, or does not answer.",
  failed: "The camera could not be started.",
};
let paused = false, turn = 0; // a raised turn ends the loop of the one before

/** What stands over the camera's picture. */
function cover(text, small = "", button = "Start camera", trouble = false) {
  $("#camera .state").hidden = !text;
  [$("#camera .state p").textContent, $("#camera .state .small").textContent, $("#start").textContent] = [text, small, button];
  $("#start").hidden = !button;
  $("#instead").hidden = !trouble;
  say(text);
}

const welcome = () => cover("Show one hand, palm to the camera, inside the frame.", reader.where);

async function startCamera() {
  cover("The browser asks whether this page may use the camera.", "", "");
  try { await camera.start($("#device").value); } catch (e) { return cover(TROUBLE[e.kind] ?? TROUBLE.failed, "", "Try again", true); }
  if (tab !== "camera") return stopCamera(); // left while the browser was asking
  const devices = await camera.devices(), current = camera.stream.getVideoTracks()[0].getSettings().deviceId;
  $("#device").replaceChildren(...devices.map((o, i) => make("option", { value: o.deviceId, selected: o.deviceId === current }, o.label || `Camera ${i + 1}`)));
  camera.stream.getVideoTracks()[0].onended = () => { stopCamera(); cover(TROUBLE.busy, "", "Try again", true); };
  stage.classList.add("live");
  pauseCamera(false);
}

function stopCamera() {
  turn++;
  camera.stop();
  stage.classList.remove("live");
  $("#pause").disabled = true;
  show(null, undefined, "camera");
  welcome();
}

function pauseCamera(on) {
  paused = on;
  $("#pause").disabled = false;
  $("#pause").textContent = on ? "Go on" : "Pause";
  if (on) { $("video").pause(); cover("Paused", "", "Go on"); }
  else { $("video").play().catch(() => {}); cover(""); watch(++turn); }
}

/** One frame after the other: the next is taken when the last is answered, so frames are dropped and never queued. */
async function watch(mine) {
  speller.reset();
  const going = () => mine === turn && camera.live && !paused;
  while (going()) {
    const begun = performance.now(), flip = $("#left").checked, mirror = camera.mirrored;
    if (document.hidden || !model()) { await sleep(300); continue; }
    $("video").classList.toggle("mirror", mirror);
    $("#camera .evidence").classList.toggle("mirror", mirror !== flip);
    try {
      const blob = await camera.grab($("#frame").value / 100, flip);
      const shown = $("#evidence").checked ? ["seen", "evidence"] : ["seen"];
      const { predictions: [first] } = await reader.read(blob, model("camera").name, { topk: model("camera").classes.length, show: shown });
      if (!going()) return;
      take(speller.feed({ evidence: null, ...first }, performance.now()));
      complain(null);
    } catch (e) {
      complain(e, () => {});
      $("#retry").hidden = true;
      await sleep(e.wait || 2000);
    }
    await Promise.all([camera.next(), sleep(80 - (performance.now() - begun))]);
  }
}

function take(reading) {
  show(reading);
  $("#why").hidden = $("#evidence").checked && !reading.evidence; // a network that tells none
  $(".answer").classList.toggle("taken", reading.progress === 1);
  if (reading.taken) write(reading.taken);
}

function write(sign) {
  $("#line").value = spelled($("#line").value, sign);
  $("#line").scrollLeft = 1e6;
  said = "";
  say(sign === "del" ? "deleted" : sign);
}

$("#start").onclick = () => (camera.live ? pauseCamera(false) : startCamera());
$("#pause").onclick = () => pauseCamera(!paused);
$("#instead").onclick = () => { openTab("pictures"); $("#tab-pictures").focus(); };
$("#device").onchange = () => camera.live && startCamera();
for (const o of all("[data-sign]")) o.onclick = () => write(o.dataset.sign);
$("#wipe").onclick = () => { $("#line").value = ""; };
$("#copy").onclick = async () => {
  $("#line").select();
  await navigator.clipboard?.writeText($("#line").value).catch(() => {});
  say("copied");
};
for (const o of all("[data-unit]")) {
  o.oninput = () => {
    o.previousElementSibling.textContent = `${o.value} ${o.dataset.unit}`;
    if (o.id === "frame") stage.style.setProperty("--frame", `${o.value}%`);
    if (o.id === "hold") speller.hold = Number(o.value);
  };
  o.oninput();
}

/* ---- drawing */

/** Calls `work` again for what came while it ran: never twice at once, and always for the last. */
function newest(work) {
  let busy = false, due = false;
  return async () => {
    due = true;
    if (busy) return;
    busy = true;
    try { while (due) { due = false; await work(); } } finally { busy = false; }
  };
}

const readPad = newest(async () => {
  $("#draw .hint").hidden = pad.strokes.length > 0;
  for (const o of ["#undo", "#clear"]) $(o).disabled = !pad.strokes.length;
  if (!pad.strokes.length || !model("draw")) return show(null, undefined, "draw");
  const { blob, box } = await picture(pad.strokes);
  try {
    const { predictions: [o] } = await reader.read(blob, model("draw").name);
    if (!pad.strokes.length) return;
    show(o, box, "draw");
    complain(null);
    say(sentence(o).join(" "));
  } catch (e) { complain(e, readPad); if (e.wait && tab === "draw") { await sleep(e.wait); readPad(); } }
});
const pad = new Pad($("#pad"), readPad);
$("#undo").onclick = () => pad.undo();
$("#clear").onclick = () => pad.clear();
$("#pen").oninput = () => { pad.width = $("#pen").value / 100; };

function glyphCanvas(name) {
  const canvas = make("canvas", { width: 96, height: 96 }), context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, 96, 96);
  context.scale(96, 96);
  ink(context, glyph(name));
  return canvas;
}

function glyphButton(name) {
  const button = make("button", { className: "glyph", title: `Draw ${name}` }, glyphCanvas(name), name);
  button.onclick = () => { pad.set(glyph(name, pad.width)); intoView(); };
  return button;
}

/* ---- pictures */

const MOST = 60; // pictures in the strip
/** @type {{blob: Blob, name: string, url: string, prediction?: Prediction, error?: Error, button: HTMLElement}[]} */
let pictures = [];
let current = null, reading = 0;

function add(files) {
  const fresh = [...files].slice(0, MOST - pictures.length);
  if (fresh.length < files.length) complain(new Failure(`The page holds ${MOST} pictures at once; ${files.length - fresh.length} were left out.`));
  if (tab !== "pictures") openTab("pictures");
  const added = fresh.map((blob) => {
    const o = { blob, name: blob.name || "pasted picture", url: URL.createObjectURL(blob) };
    o.button = make("button", { role: "option", title: o.name, onclick: () => select(o) }, make("img", { src: o.url, alt: "" }), make("span", {}, "…"));
    return o;
  });
  pictures.push(...added);
  $(".strip").append(...added.map((o) => o.button));
  if (added.length) select(added[0]);
  readThese(added);
}

function select(o) {
  current = o;
  const any = pictures.length > 0, image = $("#pictures .stage img");
  $("#pictures .state").hidden = any;
  image.hidden = !any;
  $("#more").hidden = $("#forget").hidden = !any;
  $(".strip").hidden = pictures.length < 2;
  $("#pictures .stage").classList.toggle("full", any);
  for (const p of pictures) p.button.ariaSelected = p === o;
  if (!o) return show(null, undefined, "pictures");
  Object.assign(image, { src: o.url, alt: o.name });
  o.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  image.decode().catch(() => {}).then(() => {
    if (o !== current) return;
    const { naturalWidth: w = 1, naturalHeight: h = 1 } = image, longest = Math.max(w, h);
    const side = model("pictures")?.kind === "scan" ? 1 : Math.min(w, h) / longest; // a photo's middle square; all of a scan
    show(o.prediction, { x: (1 - side) / 2, y: (1 - side) / 2, side }, "pictures");
    if (o.error) complain(o.error, () => readThese([o]));
    else if (o.prediction) { complain(null); say(sentence(o.prediction).join(" ")); }
  });
}

/** Four at a time, so that the server can batch them; a busy server is asked again. */
async function readThese(list) {
  const mine = reading, queue = [...list];
  const work = async () => {
    for (let o; (o = queue.shift());) {
      o.prediction = o.error = undefined;
      for (let left = 4; left--;) {
        try { o.prediction = (await reader.read(o.blob, model("pictures")?.name)).predictions[0]; o.error = undefined; break; }
        catch (e) { o.error = e; if (!e.wait || !left) break; await sleep(e.wait); }
      }
      if (mine !== reading) return;
      const { prediction: p, error } = o;
      o.button.lastChild.textContent = error ? "unread" : p.unknown ? "unsure" : `${p.label} ${percent(p.probability)}`;
      if (o === current) select(o);
    }
  };
  await Promise.all(Array.from({ length: 4 }, work));
}

function forget() {
  reading++;
  pictures.forEach((o) => URL.revokeObjectURL(o.url));
  pictures = [];
  $(".strip").replaceChildren();
  complain(null);
  select(null);
}

$("#choose").onclick = $("#more").onclick = () => $("#files").click();
$("#files").onchange = () => { add($("#files").files); $("#files").value = ""; };
$("#forget").onclick = forget;
$(".strip").onkeydown = (e) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key], o = step && pictures[pictures.indexOf(current) + step];
  if (o) { e.preventDefault(); select(o); o.button.focus(); }
};
addEventListener("paste", (e) => e.clipboardData.files.length && add(e.clipboardData.files));
addEventListener("dragover", (e) => { e.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", (e) => e.relatedTarget || document.body.classList.remove("over"));
addEventListener("drop", (e) => {
  e.preventDefault();
  document.body.classList.remove("over");
  if (e.dataTransfer.files.length) add(e.dataTransfer.files);
});

/* ---- examples: drawn by our own code */

const SIGNS = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ", "space", "del"], CELL = 72; // signs.webp: rows of seven
const sheet = make("img", { src: "signs.webp" });

function signCanvas(name) {
  const canvas = make("canvas", { width: CELL, height: CELL }), at = SIGNS.indexOf(name);
  sheet.decode().then(() => canvas.getContext("2d").drawImage(sheet, -CELL * (at % 7), -CELL * Math.floor(at / 7)));
  return canvas;
}

function fileButton(name, canvas, className = "") {
  const button = make("button", { title: `Read ${name}`, className }, canvas, name);
  button.onclick = () => {
    canvas.toBlob((blob) => { add([new File([blob], `${name}.png`, { type: "image/png" })]); intoView(); });
  };
  return button;
}
$(".chart").append(...SIGNS.map((o) => make("figure", {}, signCanvas(o), o)));

/* ---- theme, keys, help */

const root = document.documentElement;
const store = (() => { try { return localStorage; } catch { return { getItem() {}, setItem() {} }; } })(); // it may be forbidden
root.dataset.theme = store.getItem("theme") ?? "";
function turnTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  store.setItem("theme", root.dataset.theme = dark ? "light" : "dark");
}
$("#theme").onclick = turnTheme;
$("#help").onclick = () => $("#about").showModal();
$("#keys").checked = store.getItem("keys") !== "off";
$("#keys").onchange = () => store.setItem("keys", $("#keys").checked ? "on" : "off");

const KEYS = {
  1: () => openTab("camera"), 2: () => openTab("draw"), 3: () => openTab("pictures"),
  p: () => tab === "camera" && (camera.live ? pauseCamera(!paused) : startCamera()),
  c: () => (tab === "draw" ? pad.clear() : tab === "camera" ? $("#wipe").click() : forget()),
  o: () => { openTab("pictures"); $("#files").click(); },
  e: () => $("#evidence").click(),
  d: turnTheme,
  "?": () => $("#help").click(),
  Backspace: () => tab === "camera" && write("del"),
};
addEventListener("keydown", (e) => {
  const typing = e.target.matches("input:not([type=range], [type=checkbox]), select"), key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
  if (typing || $("#about").open || e.altKey || (e.repeat && key !== "Backspace")) return;
  if (e.ctrlKey || e.metaKey) { if (key === "z" && tab === "draw") { e.preventDefault(); pad.undo(); } return; }
  if (key in KEYS && $("#keys").checked) { e.preventDefault(); KEYS[key](); }
});

$("#where").textContent = reader.where;
welcome();
openTab(TABS.find((o) => location.hash === `#/${o}`) ?? "camera");
loadModels();
readPad();
