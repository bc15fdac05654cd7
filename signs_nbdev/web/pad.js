// The drawing pad: strokes are kept as lines, so that they can be undone, and drawn again at any size.

/** @typedef {{width: number, points: [number, number][]}} Stroke  in units of the pad's edge */

/** One way to write each character, in units of its box. */
export const GLYPHS = {
  big: [[[.5, .02], [.5, .5]], [[.14, .6], [.5, .26], [.86, .6]], [[.22, .98], [.5, .5], [.78, .98]]],
  sun: [[[.12, .3], [.45, .1], [.88, .2], [.92, .7], [.55, .92], [.1, .8], [.12, .3]], [[.36, .52], [.64, .5]]],
  moon: [[[.66, .02], [.36, .3], [.3, .6], [.44, .98]], [[.66, .02], [.7, .4], [.62, .74], [.44, .98]], [[.52, .4], [.48, .62]]],
  cattle: [[[.12, .02], [.14, .34], [.34, .5], [.66, .5], [.86, .34], [.88, .02]], [[.5, .1], [.5, .98]], [[.24, .6], [.5, .76], [.76, .6]]],
  next: [[[.62, .02], [.34, .2], [.3, .8]], [[.62, .02], [.72, .1], [.66, .62], [.3, .8], [.26, .98]], [[.5, .12], [.48, .7]], [[.34, .4], [.7, .3]], [[.32, .6], [.68, .48]]],
  field: [[[.08, .1], [.92, .1], [.92, .92], [.08, .92], [.08, .1]], [[.5, .1], [.5, .92]], [[.08, .5], [.92, .5]]],
  not: [[[.6, .02], [.5, .22], [.62, .36], [.48, .6], [.56, .98]], [[.36, .16], [.28, .4]], [[.36, .5], [.26, .76]]],
  arrow: [[[.3, .24], [.5, .02], [.7, .24]], [[.5, .02], [.5, .98]], [[.5, .38], [.32, .54], [.5, .7], [.68, .54], [.5, .38]], [[.28, .98], [.5, .74], [.72, .98]]],
  time: [[[.3, .04], [.72, .04], [.72, .32], [.3, .32], [.3, .04]], [[.5, .32], [.5, .98]], [[.14, .36], [.5, .54], [.88, .44]]],
  wood: [[[.5, .02], [.5, .98]], [[.16, .1], [.22, .34], [.5, .46], [.78, .34], [.84, .1]], [[.18, .94], [.28, .7], [.5, .58], [.72, .7], [.82, .94]]],
};

/** The strokes of a character, so wide and so large in the middle of the pad. @returns {Stroke[]} */
export const glyph = (name, width = 0.07, edge = 0.7) => GLYPHS[name].map((line) => {
  const ends = line.map((o) => o.map((v) => 0.5 + edge * (v - 0.5)));
  const between = ([a, b], [c, d], n = Math.ceil(Math.hypot(c - a, d - b) / 0.03)) =>
    Array.from({ length: n }, (_, i) => [a + (c - a) * (i + 1) / n, b + (d - b) * (i + 1) / n]);
  return { width, points: [ends[0], ...ends.slice(1).flatMap((o, i) => between(ends[i], o))] };
});

/** Draw strokes; the context's units are the pad's. Corners are rounded by passing through the middles. */
export function ink(context, strokes) {
  context.lineCap = context.lineJoin = "round";
  for (const { width, points } of strokes) {
    const [first, ...rest] = points, last = rest.at(-1) ?? first;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(...first);
    rest.slice(0, -1).forEach(([x, y], i) => context.quadraticCurveTo(x, y, (x + rest[i + 1][0]) / 2, (y + rest[i + 1][1]) / 2));
    context.lineTo(...last);
    context.stroke();
  }
}

/** The box around all ink, with as much ground as the scans have. @returns {{x: number, y: number, w: number, h: number}} */
function bounds(strokes, margin = 0.2) {
  const ends = strokes.flatMap(({ width: o, points }) => points.flatMap(([x, y]) => [[x - o / 2, y - o / 2], [x + o / 2, y + o / 2]]));
  const [left, top, right, bottom] = [Math.min, Math.max].flatMap((f) => [0, 1].map((axis) => f(...ends.map((o) => o[axis]))));
  const more = margin * Math.max(right - left, bottom - top);
  return { x: left - more, y: top - more, w: right - left + 2 * more, h: bottom - top + 2 * more };
}

/**
 * What is to be read: black ink on white, cut out around the ink as scans are.
 * @param {Stroke[]} strokes
 * @returns {Promise<{blob: Blob, box: {x: number, y: number, side: number}}>} PNG, and the square it fills in the pad
 */
export async function picture(strokes, size = 256) {
  const { x, y, w, h } = bounds(strokes), side = Math.max(w, h), canvas = document.createElement("canvas");
  Object.assign(canvas, { width: Math.round(size * w / side), height: Math.round(size * h / side) });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, size, size);
  context.setTransform(size / side, 0, 0, size / side, -x * size / side, -y * size / side);
  ink(context, strokes);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return { blob, box: { x: x + (w - side) / 2, y: y + (h - side) / 2, side } };
}

export class Pad {
  /** @param {HTMLCanvasElement} canvas   @param {() => void} changed  called after every change of `strokes` */
  constructor(canvas, changed) {
    /** @type {Stroke[]} */ this.strokes = [];
    Object.assign(this, { canvas, changed, width: 0.07, drawing: null });
    canvas.addEventListener("pointerdown", (e) => this.begin(e));
    canvas.addEventListener("pointermove", (e) => this.drawing === e.pointerId && this.extend(e));
    for (const o of ["pointerup", "pointercancel"]) canvas.addEventListener(o, (e) => { if (this.drawing === e.pointerId) this.drawing = null; });
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  begin(e) {
    if (this.drawing !== null || e.button) return;
    this.drawing = e.pointerId;
    this.canvas.setPointerCapture(e.pointerId);
    this.set([...this.strokes, { width: this.width, points: [this.place(e)] }]);
  }

  extend(e) {
    const { points } = this.strokes.at(-1), moves = e.getCoalescedEvents?.() ?? [];
    for (const o of moves.length ? moves : [e]) {
      const [x, y] = this.place(o), [a, b] = points.at(-1);
      if (Math.hypot(x - a, y - b) > 0.004) points.push([x, y]);
    }
    this.set(this.strokes);
  }

  place(e) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [(e.clientX - left) / width, (e.clientY - top) / height];
  }

  set(strokes) { this.strokes = strokes; this.paint(); this.changed(); }
  undo() { this.set(this.strokes.slice(0, -1)); }
  clear() { this.set([]); }

  paint() {
    const edge = Math.round(this.canvas.clientWidth * devicePixelRatio), context = this.canvas.getContext("2d");
    if (!edge) return;
    Object.assign(this.canvas, { width: edge, height: edge });
    context.setTransform(edge, 0, 0, edge, 0, 0);
    context.strokeStyle = getComputedStyle(this.canvas).color;
    ink(context, this.strokes);
  }
}
