// Asks the machine that serves the page about a photo.
export const facts = JSON.parse(document.getElementById("facts").textContent);
const PAUSE = 1500; // milliseconds until the machine is asked again
const pause = () => new Promise((done) => setTimeout(done, PAUSE));

export async function prepare() {} // the machine is ready

export async function answer(file) {
  if (file.size > facts.most_bytes) {
    throw new Error(`it has ${(file.size / 2 ** 20).toFixed(1)} MiB, more than ${facts.most_bytes / 2 ** 20}`);
  }
  const photo = await ask(file);
  const classes = Object.entries(photo.probabilities).map(([name, probability]) => ({ name, probability }));
  classes.sort((one, other) => other.probability - one.probability);
  return { ...photo, classes, nearest: photo.nearest ?? later(photo.features) };
}

async function ask(file) {
  const form = new FormData();
  form.append("photo", file);
  const said = await json("predict?explain=1", { method: "POST", body: form });
  if (said.photos[0].error) throw new Error(said.photos[0].error);
  return said.photos[0];
}

// The nearest training photos of a photo with these features, when all of them have been looked at. One question waits
// for another, so that many photos do not keep the machine from the next one.
let last = Promise.resolve();
function later(features) {
  const found = last.then(async () => {
    await allSeen();
    return (await json("nearest", { method: "POST", body: features })).nearest;
  });
  last = found.catch(() => {}); // a question that fails stops none after it
  return found;
}

async function allSeen() {
  for (;;) {
    const state = await json("status");
    if (state.nearest_ready) return;
    if (!state.waiting) throw new Error(state.nearest);
    await pause();
  }
}

async function json(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("the page's server does not answer; is it still running?");
  }
  if (response.status === 503) { // it is answering others
    await pause();
    return json(address, options);
  }
  const said = await response.json().catch(() => ({ error: `the server answers ${response.status}` }));
  if (!response.ok) throw new Error(said.error);
  return said;
}
