// Where answers come from where no server is: the model itself, in a worker beside the page. This file takes the place
// of signs_nbdev/web/reader.js, which tells the types; `make demo` puts it there and writes built.js.
import { MODELS, RUNTIME } from "./built.js";

/** What went wrong, in words for whoever looks at the page. */
export class Failure extends Error {}

const NEEDED = ["WebAssembly", "OffscreenCanvas", "DecompressionStream"];
const WORDS = {
  unable: "The model does not run in this browser: it is too old, or is forbidden WebAssembly (as by a lockdown mode).",
  absent: "The program that runs the model could not be loaded. Is there a network?",
};

// A worker that starts at a blob: address is bound by the policy of the page; one from a file would be bound by none.
const CODE = `import ${JSON.stringify(new URL("worker.js", import.meta.url))};`;
const START = URL.createObjectURL(new Blob([CODE], { type: "text/javascript" }));

let worker = null; // until the first question, and again when it could not start
const waiting = new Set(); // how to tell each question that there will be no answer

function start() {
  worker = new Worker(START, { type: "module" });
  worker.onerror = (e) => {
    e.preventDefault();
    worker.terminate();
    worker = null;
    for (const reject of waiting) reject(new Failure(WORDS.absent));
    waiting.clear();
  };
}

/** Ask the worker. It answers each question at a port of its own, where it first tells what it loads. */
const ask = (question) => new Promise((resolve, reject) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = ({ data: { loaded, answer, error } }) => {
    if (loaded !== undefined) return reader.loading?.(loaded);
    waiting.delete(reject);
    port1.close();
    if (answer) resolve(answer); else reject(new Failure(error));
  };
  waiting.add(reject);
  if (!worker) start();
  worker.postMessage(question, [port2]);
});

export const reader = {
  where: "Pictures stay on this device: the model comes to it, with the first picture " +
         `(${Math.round((RUNTIME.bytes + MODELS[0].bytes) / 1e6)} MB), and needs no network from then on.`,
  models: async () => MODELS,
  read: async (blob, model, { topk = 5, show = ["seen", "evidence"] } = {}) => {
    if (!NEEDED.every((o) => o in self)) throw new Failure(WORDS.unable);
    return ask({ blob, model, topk, show });
  },
};
