// From flickering frames to a spelled line. No part of it knows the page or the clock: time is handed in.

/** @typedef {import("./reader.js").Prediction} Prediction */

/** What a sign does to the text. */
export const spelled = (text, sign) =>
  sign === "space" ? text + " " : sign === "del" ? text.slice(0, -1) : sign === "nothing" ? text : text + sign;

/** Averages over the last frames, and takes a sign when it was held long enough. */
export class Speller {
  /**
   * @param {number} hold    ms a sign must be held until it is taken
   * @param {number} memory  ms after which a frame counts for a third of what it did
   */
  constructor(hold = 900, memory = 250) { Object.assign(this, { hold, memory }); this.reset(); }

  reset() { Object.assign(this, { chances: new Map(), inside: new Map(), doubt: 0, last: null, sign: null, held: 0, done: false }); }

  /**
   * @param {Prediction} reading  of one frame, `topk` with every class
   * @param {number} now          ms
   * @returns {Prediction & {progress: number, taken: string|null}} smoothed; `progress` of the hold in [0, 1]
   */
  feed(reading, now) {
    const passed = this.last === null ? 0 : now - this.last;
    const share = this.last === null ? 1 : 1 - Math.exp(-passed / this.memory);
    this.last = now;
    const blend = (old, value) => (old ?? 0) + share * (value - (old ?? 0));
    for (const { label, probability } of reading.topk) {
      this.chances.set(label, blend(this.chances.get(label), probability));
      this.inside.set(label, blend(this.inside.get(label), reading.signs.includes(label) ? 1 : 0));
    }
    this.doubt = blend(this.doubt, reading.unknown ? 1 : 0);

    const topk = [...this.chances].map(([label, probability]) => ({ label, probability }))
      .sort((a, b) => b.probability - a.probability);
    const { label, probability } = topk[0], unknown = this.doubt > 0.5;
    const sign = unknown || label === "nothing" ? null : label;
    // A frame counts for half the hold at most: whoever comes back after a pause has still to hold the sign.
    this.held = sign && sign === this.sign ? this.held + Math.min(passed, this.hold / 2) : 0;
    if (sign !== this.sign) this.done = false;
    this.sign = sign;
    const taken = !this.done && sign && this.held >= this.hold ? sign : null;
    if (taken === "del") this.held = 0; // goes on deleting while it is held; a letter has to be made anew
    else if (taken) this.done = true;
    const signs = topk.map((o) => o.label).filter((o) => this.inside.get(o) > 0.3);
    return { ...reading, label, probability, unknown, signs, topk, taken,
             progress: this.done ? 1 : Math.min(1, this.held / this.hold) };
  }
}
