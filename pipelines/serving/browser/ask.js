// The page: takes photos that are dropped, pasted, chosen or made with the camera, and shows what answer.js says of
// each. Names of files and classes are put into the page as text alone.
import { answer, facts, prepare } from "./answer.js";

const SHOWN = 5; // classes
const $ = (id) => document.getElementById(id);
const tell = (text) => { $("told").textContent = text; };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}
const nameOf = (text) => element("bdi", {}, text); // a name with its own direction of writing
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Photos wait here; they are answered one after the other, so that a slow machine shows the first answer soon.
const waiting = [];
let busy = false;

function take(files) {
  if (!files.length) return; // such as a text that is pasted
  for (const file of files) {
    const card = element("article", { class: "card" }, element("p", { class: "name" }, nameOf(file.name)),
      element("p", { class: "quiet" }, "waits …"));
    $("cards").prepend(card);
    waiting.push([file, card]);
  }
  $("clear").hidden = false;
  if (!busy) work();
}

const isUnsure = (found) => facts.threshold !== null && found.classes[0].probability < facts.threshold;

async function work() {
  busy = true;
  while (waiting.length) {
    const [file, card] = waiting.shift();
    if (!card.isConnected) continue;
    tell(`looking at ${file.name} …`);
    try {
      show(card, file.name, await answer(file));
    } catch (error) {
      card.classList.add("is-wrong");
      card.replaceChildren(element("h2", {}, "no answer"), element("p", { class: "name" }, nameOf(file.name)),
        element("p", { class: "warning" }, error.message));
      tell(`${file.name}: ${error.message}`);
    }
  }
  busy = false;
}

function show(card, name, found) {
  const first = found.classes[0], unsure = isUnsure(found);
  card.classList.toggle("is-unsure", unsure);
  const verdict = unsure
    ? ["not sure; most like ", nameOf(first.name)]
    : [nameOf(first.name), ` ${percent(first.probability)}`];
  card.replaceChildren(element("h2", {}, ...verdict), element("p", { class: "name" }, nameOf(name)));
  const frame = element("div", { class: "picture" }, element("img", {
    src: found.picture, alt: `the photo ${name}`, onload: (event) => URL.revokeObjectURL(event.target.src),
  }));
  if (found.picture) card.append(frame);
  card.append(bars(found, frame));
  if (unsure) {
    card.append(element("p", { class: "note" }, `It is not sure of an answer below ${percent(facts.threshold)}.`));
  }
  if (found.evidence) {
    card.append(element("p", { class: "note" },
      `Orange speaks for the class that is chosen, and blue against it (${found.evidence.method}).`));
  }
  if (found.nearest) nearest(card, found.nearest);
  tell(`${name}: ${unsure ? "not sure; most like " : ""}${first.name}, ${percent(first.probability)}`);
}

function bars(found, frame) {
  const list = element("ul", { class: "bars", "aria-label": "the likeliest classes" });
  const choose = (button, name) => {
    const shown = button.getAttribute("aria-pressed") === "true";
    frame.querySelector("canvas")?.remove();
    for (const other of list.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
    if (shown) return;
    button.setAttribute("aria-pressed", "true");
    frame.append(evidence(found, name));
  };
  found.classes.slice(0, SHOWN).forEach(({ name, probability }, place) => {
    const bar = element("b");
    bar.style.width = `${100 * probability}%`;
    const mapped = found.evidence && Object.hasOwn(found.evidence.maps, name);
    const label = mapped
      ? element("button", { type: "button", class: "link", "aria-pressed": "false", title: "show what speaks for it" },
        nameOf(name))
      : nameOf(name);
    if (mapped) label.addEventListener("click", () => choose(label, name));
    list.append(element("li", { class: place === 0 ? "is-first" : "" }, element("span", { title: name }, label),
      element("span", {}, percent(probability)), element("i", {}, bar)));
    if (mapped && place === 0) choose(label, name);
  });
  return list;
}

// The map of the evidence for a class, over the part of the photo that the network sees.
function evidence(found, name) {
  const { grid, maps } = found.evidence;
  const canvas = element("canvas", { width: grid, height: grid });
  const [left, top, width, height] = found.frame.map((share) => `${100 * share}%`);
  Object.assign(canvas.style, { left, top, width, height });
  const pixels = canvas.getContext("2d").createImageData(grid, grid);
  const speaksFor = [213, 94, 0], against = [0, 114, 178]; // the same over a photo in both modes
  const levels = new Int8Array(Uint8Array.from(atob(maps[name]), (sign) => sign.charCodeAt(0)).buffer);
  levels.forEach((level, place) => {
    const colour = level >= 0 ? speaksFor : against;
    pixels.data.set([...colour, 210 * Math.abs(level / 127) ** 0.6], 4 * place); // weak evidence is seen, too
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

async function nearest(card, coming) {
  const place = element("div", {}, element("p", { class: "note" }, "The training photos are still being looked at …"));
  card.append(place);
  try {
    const row = element("div", { class: "near" });
    for (const { label, path, similarity, picture } of await coming) {
      const shown = element("div", { title: `${path}, likeness ${similarity.toFixed(2)}` });
      if (picture) shown.append(element("img", { src: picture, alt: `training photo of ${label}` }));
      shown.append(nameOf(label));
      row.append(shown);
    }
    place.replaceChildren(element("h3", {}, "The nearest training photos"), row);
  } catch (error) {
    place.replaceChildren(element("p", { class: "note" }, error.message));
  }
}

// The camera, where the browser lets a page have one: on this machine, or over https.
async function openCamera() {
  try {
    const wanted = { facingMode: "environment", width: { ideal: 1920 } };
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
    $("viewfinder").showModal();
  } catch (error) {
    tell(`there is no camera for this page: ${error.message}`);
  }
}

let shots = 0;
function shoot() {
  const video = $("video");
  const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const name = `camera ${++shots}.png`;
  canvas.toBlob((blob) => take([new File([blob], name, { type: "image/png" })]), "image/png");
  $("viewfinder").close();
}

function listen() {
  $("choose").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => { take([...$("files").files]); $("files").value = ""; });
  $("clear").addEventListener("click", () => { $("cards").replaceChildren(); $("clear").hidden = true; tell(""); });
  addEventListener("paste", (event) => take([...event.clipboardData.files]));
  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragged"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragged"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragged");
    take([...event.dataTransfer.files]);
  });
  $("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  $("camera").addEventListener("click", openCamera);
  $("shoot").addEventListener("click", shoot);
  $("close").addEventListener("click", () => $("viewfinder").close());
  $("viewfinder").addEventListener("close", () => {
    for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  });
}

listen();
prepare(tell);
