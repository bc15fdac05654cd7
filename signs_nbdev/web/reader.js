// Where answers come from. The page knows no more of it than `where`, `models` and `read`, so another reader can take
// this file's place, as demo/reader.js does. While it loads, it may tell `loading` what share has come, in [0, 1].

/**
 * @typedef {{label: string, probability: number}} Chance
 * @typedef {object} Prediction
 * @property {string} label        likeliest class
 * @property {number} probability  of that class, in [0, 1]
 * @property {boolean} unknown     not sure enough to say so
 * @property {string[]} signs      the conformal set, likeliest first
 * @property {Chance[]} topk       likeliest first
 * @property {string} [seen]       data: URL of the picture as the network gets it
 * @property {number[][]} [evidence]  h rows of w numbers in [0, 1]: what spoke for the label
 *
 * @typedef {{name: string, sha256: string}} ModelName
 * @typedef {{model: ModelName, predictions: Prediction[]}} Answer
 * @typedef {{name: string, about: string, kind: "photo"|"scan", classes: string[], size: number, channels: number,
 *            licence: string, sha256: string, results: object}} Model
 */

/** What went wrong, in words for whoever looks at the page. */
export class Failure extends Error {
  /** @param {number} status  of HTTP, 0 if there was no answer   @param {number} wait  ms until it is worth another try */
  constructor(text, status = 0, wait = 0) { super(text); Object.assign(this, { status, wait }); }
}

const WORDS = {
  0: "The server does not answer. Is it still running?",
  401: "This server asks for its key. Load the page anew and give the key as password.",
  408: "The picture took too long to arrive.",
  413: "That is more than the server takes at once.",
  415: "That is no kind of picture the server reads.",
  422: "That picture cannot be read.",
  429: "That was too much within a minute. The page waits a little.",
  503: "The server is busy. The page tries again.",
};

/** @returns {Promise<any>} the JSON of the answer; throws a `Failure` */
async function ask(url, options = {}) {
  let response;
  try { response = await fetch(url, options); } catch { throw new Failure(WORDS[0], 0, 2000); }
  if (response.ok) return response.json();
  const { error } = await response.json().catch(() => ({}));
  const words = WORDS[response.status] ?? `The server failed (${response.status}).`;
  const wait = [429, 503].includes(response.status) ? 1000 * (Number(response.headers.get("Retry-After")) || 1) : 0;
  throw new Failure(error ? `${words} It says: ${error}` : words, response.status, wait);
}

export const reader = {
  where: "Pictures are sent to the server this page came from, which reads them and keeps none.",

  /** @returns {Promise<Model[]>} */
  models: () => ask("models"),

  /**
   * @param {Blob} blob     a picture file
   * @param {string} model  one of the names of `models`
   * @param {{topk?: number, show?: string[]}} [options]
   * @returns {Promise<Answer>}
   */
  read: (blob, model, { topk = 5, show = ["seen", "evidence"] } = {}) =>
    ask(`predict?${new URLSearchParams({ model, topk, ...(show.length && { show: show.join() }) })}`,
        { method: "POST", body: blob, headers: { "Content-Type": blob.type || "application/octet-stream" } }),
};
