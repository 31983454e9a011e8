// What the confusion matrix knows: its cells with their images, which classes are shown in which order, and the words
// for a cell. drawing.js draws it.
const classCount = names.length;
const cells = new Map(); // true class × classCount + named class: numbers of the images, surest first
const perRow = new Int32Array(classCount), perColumn = new Int32Array(classCount);
for (let image = 0; image < imageCount; image++) {
  const key = truth[image] * classCount + named(image);
  if (!cells.has(key)) cells.set(key, []);
  cells.get(key).push(image);
  perRow[truth[image]]++;
  perColumn[named(image)]++;
}
for (const [key, images] of cells) {
  const right = Math.floor(key / classCount) === key % classCount;
  images.sort((a, b) => (right ? confidence(a) - confidence(b) : confidence(b) - confidence(a)) || a - b);
}
const inCell = (row, column) => cells.get(row * classCount + column) ?? [];

// The choices of the reader.
const choices = { value: "count", order: "name", which: "all", off: false, search: "", size: "readable" };
const MOST_ERRORS = 40;
let shown = []; // the classes of the rows and columns, in their order
let at = null; // [row, column] as places in `shown`, where the reader points

const errorsOf = new Int32Array(classCount); // photos of the class that are missed, and photos wrongly called it
for (const [key, images] of cells) {
  const row = Math.floor(key / classCount), column = key % classCount;
  if (row !== column) { errorsOf[row] += images.length; errorsOf[column] += images.length; }
}

function chooseClasses() {
  let chosen = report.orders[choices.order];
  const sought = choices.search.trim().toLowerCase();
  let note = "";
  if (sought) {
    const found = new Set(chosen.filter((label) => names[label].toLowerCase().includes(sought)));
    const beside = new Set(found);
    for (const key of cells.keys()) {
      const row = Math.floor(key / classCount), column = key % classCount;
      if (found.has(row) || found.has(column)) { beside.add(row); beside.add(column); }
    }
    chosen = chosen.filter((label) => beside.has(label));
    const matching = `${plural(found.size, "class").replace("classs", "classes")}`;
    note = found.size
      ? `${matching} found, shown with ${beside.size - found.size} that are confused with what was found`
      : `No class has “${choices.search.trim()}” in its name.`;
  } else if (choices.which === "errors") {
    const worst = [...chosen].sort((a, b) => errorsOf[b] - errorsOf[a]).slice(0, MOST_ERRORS);
    const kept = new Set(worst);
    chosen = chosen.filter((label) => kept.has(label));
  }
  shown = chosen;
  at = null;
  $("found").textContent = note;
}

// The number in a cell, and how strongly it is coloured, in 0 … 1.
function valueOf(row, column, images) {
  if (choices.value === "row") return images / perRow[row];
  if (choices.value === "column") return images / perColumn[column];
  return images;
}
function textOf(value) {
  return choices.value === "count" ? String(value) : `${Math.round(100 * value)}`;
}

function inWords(row, column) {
  const images = inCell(row, column).length;
  const [truly, called] = [nameOf(names[row]), nameOf(names[column])];
  if (!perRow[row]) {
    const ofOthers = `; ${plural(images, "photo")} of it`;
    return ["There are no photos of ", truly, " here", ofOthers, ` called `, called, "."];
  }
  const share = `${percent(images / perRow[row])} of its ${plural(perRow[row], "photo")}`;
  const ofCalled = perColumn[column]
    ? `, and ${percent(images / perColumn[column])} of the ${plural(perColumn[column], "photo")} called `
    : null;
  const start = row === column
    ? [truly, ` is recognized in ${plural(images, "photo")}: ${share}`]
    : [truly, " is taken for ", called, ` in ${plural(images, "photo")}: ${share}`];
  return ofCalled ? [...start, ofCalled, nameOf(names[column]), "."] : [...start, "."];
}

function say(row, column) {
  $("said").replaceChildren(...inWords(row, column));
}

// Shows the photos of a cell below the matrix.
function openCell(row, column, from) {
  const images = inCell(row, column);
  $("opened-title").replaceChildren(
    ...(row === column
      ? [nameOf(names[row]), ", recognized: "]
      : [nameOf(names[row]), " taken for ", nameOf(names[column]), ": "]),
    plural(images.length, "photo"),
  );
  $("opened").hidden = false;
  showPhotos($("opened-photos"), images);
  $("close").onclick = () => { $("opened").hidden = true; from?.focus(); };
  $("opened-title").focus();
  $("opened").scrollIntoView({ block: "nearest" });
}

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("opened").hidden) $("close").onclick();
});
for (const button of document.querySelectorAll("button[data-cell]")) {
  const [row, column] = button.dataset.cell.split(",").map(Number);
  button.addEventListener("click", () => openCell(row, column, button));
}
