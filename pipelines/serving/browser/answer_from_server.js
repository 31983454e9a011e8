// Asks the machine that serves the page about a photo.
export const facts = JSON.parse(document.getElementById("facts").textContent);
const PAUSE = 1500; // milliseconds between two looks at how far the training photos are

export async function prepare() {} // the machine is ready

export async function answer(file) {
  if (file.size > facts.most_bytes) {
    throw new Error(`it has ${(file.size / 2 ** 20).toFixed(1)} MiB, more than ${facts.most_bytes / 2 ** 20}`);
  }
  const photo = await ask(file);
  const classes = Object.entries(photo.probabilities).map(([name, probability]) => ({ name, probability }));
  classes.sort((one, other) => other.probability - one.probability);
  return { ...photo, classes, nearest: photo.nearest ?? later(file) };
}

async function ask(file) {
  const form = new FormData();
  form.append("photo", file);
  const said = await json("predict?explain=1", { method: "POST", body: form });
  if (said.photos[0].error) throw new Error(said.photos[0].error);
  return said.photos[0];
}

// The nearest training photos, when all of these have been looked at.
async function later(file) {
  for (;;) {
    const state = await json("status");
    if (state.nearest_ready) return (await ask(file)).nearest;
    if (!state.waiting) throw new Error(state.nearest);
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

async function json(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("the page's server does not answer; is it still running?");
  }
  const said = await response.json().catch(() => ({ error: `the server answers ${response.status}` }));
  if (!response.ok) throw new Error(said.error);
  return said;
}
