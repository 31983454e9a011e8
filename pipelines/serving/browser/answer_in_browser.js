// Computes the answer about a photo in the browser; the photo does not leave it.
import * as runtime from "./onnxruntime.js";
import { pictureOf } from "./picture.js";

export const facts = JSON.parse(document.getElementById("facts").textContent);
const beside = (name) => new URL(name, import.meta.url).href;
runtime.env.wasm.wasmPaths = { wasm: beside("onnxruntime.wasm") };
runtime.env.wasm.numThreads = 1; // more would need headers that static hosts do not send

let network = null;
const loaded = () => (network ??= load());

export async function prepare(tell) {
  tell(`loading the network, ${(facts.bytes / 2 ** 20).toFixed(0)} MiB …`);
  try {
    await loaded();
    tell("ready; this page needs no network any more");
  } catch (error) {
    tell(error.message);
  }
}

async function load() {
  try {
    return await runtime.InferenceSession.create(beside("model.onnx"), { executionProviders: ["wasm"] });
  } catch (error) {
    network = null; // the next photo tries again
    throw new Error(`the network cannot be loaded: ${error.message}`);
  }
}

export async function answer(file) {
  const { image, copy } = await pictureOf(file, facts.view, facts.most_pixels);
  const { probabilities } = await (await loaded()).run({ images: framed(image) });
  const classes = facts.classes.map((name, label) => ({ name, probability: probabilities.data[label] }));
  classes.sort((one, other) => other.probability - one.probability);
  return { picture: copy, classes };
}

// The image in the middle of a square of `side` pixels, of which the view in the network's file takes it unchanged.
function framed(image) {
  const { size, side } = facts.view;
  const free = Math.floor((side - size) / 2);
  const square = new Uint8Array(side * side * 3);
  for (let row = 0; row < size; row++) {
    square.set(image.subarray(row * size * 3, (row + 1) * size * 3), ((row + free) * side + free) * 3);
  }
  return new runtime.Tensor("uint8", square, [1, side, side, 3]);
}
