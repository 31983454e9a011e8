// The data of the page, and small helpers. Names of files and classes are put into the page as text alone.
const $ = (id) => document.getElementById(id);
const report = JSON.parse($("data").textContent);
const names = report.classes;

const numbers = (text, Kind) => {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return new Kind(bytes.buffer);
};
const truth = numbers(report.truth, Uint16Array);
const topClasses = numbers(report.top, Uint16Array);
const topShares = numbers(report.shares, Uint16Array);
const ownShares = numbers(report.own, Uint16Array);
const PER_IMAGE = report.per_image;
const WHOLE = 65535;
const imageCount = truth.length;
const named = (image) => topClasses[image * PER_IMAGE];
const confidence = (image) => topShares[image * PER_IMAGE] / WHOLE;

let photosOfPage = null; // megabytes of JSON, which are read when the first photo is shown
const photos = () => (photosOfPage ??= JSON.parse($("photos").textContent));

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}
// A name with its own direction of writing.
const nameOf = (text) => element("bdi", {}, text);
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const rgbOf = (name) => [1, 3, 5].map((place) => parseInt(colourOf(name).slice(place, place + 2), 16));
