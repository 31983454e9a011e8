// Draws the confusion matrix on canvases: its cells, and the names beside and above them, which stay when it is scrolled.
const LARGEST_CANVAS = 8192; // in pixels of the screen; browsers refuse larger ones
const NAMED_FROM = 9, COUNTED_FROM = 17; // sizes of a cell, in CSS pixels
const board = $("matrix"), cellsPlace = board.querySelector(".cells"), cellsCanvas = cellsPlace.querySelector("canvas");
const rowsCanvas = board.querySelector(".rows"), columnsCanvas = board.querySelector(".columns");
let side = 20, header = 0;

function prepared(canvas, width, height) {
  const ratio = Math.min(devicePixelRatio || 1, LARGEST_CANVAS / Math.max(width, height, 1));
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

function chooseSide() {
  const room = Math.max(280, board.parentElement.clientWidth);
  const widest = Math.min(150, room * 0.32);
  const context = rowsCanvas.getContext("2d");
  context.font = fontOf(13);
  const longest = Math.max(0, ...shown.map((label) => context.measureText(names[label]).width));
  header = Math.ceil(Math.min(widest, longest + 14));
  const fitting = (room - header - 4) / Math.max(1, shown.length);
  const least = { overview: 1, readable: shown.length <= 60 ? 15 : 3, large: 28 }[choices.size];
  const high = Math.max(18, (0.9 * innerHeight - header) / Math.max(1, shown.length)); // all rows at once, if they can be read
  side = Math.max(least, Math.min(48, fitting, choices.size === "large" ? 48 : high));
  side = Math.min(side, LARGEST_CANVAS / Math.max(1, shown.length));
  side = side > 4 ? Math.floor(side) : side;
  if (side < NAMED_FROM) header = 40;
}
const fontOf = (size) => `${size}px ${getComputedStyle(document.documentElement).fontFamily}`;

function drawMatrix() {
  chooseSide();
  const length = side * shown.length;
  const context = prepared(cellsCanvas, length, length);
  const paper = rgbOf("paper"), right = rgbOf("right"), wrong = rgbOf("wrong");
  const place = new Int32Array(classCount).fill(-1);
  shown.forEach((label, number) => { place[label] = number; });
  const found = [];
  let largestRight = 0, largestWrong = 0;
  for (const [key, images] of cells) {
    const row = Math.floor(key / classCount), column = key % classCount;
    if (place[row] < 0 || place[column] < 0 || (choices.off && row === column)) continue;
    const value = valueOf(row, column, images.length);
    if (row === column) largestRight = Math.max(largestRight, value);
    else largestWrong = Math.max(largestWrong, value);
    found.push([row, column, value]);
  }
  drawGround(context, length);
  if (choices.value !== "count") largestRight = 1;
  if (choices.value !== "count" && !choices.off) largestWrong = Math.max(largestWrong, 0.5);
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = fontOf(Math.min(13, side * 0.5));
  for (const [row, column, value] of found) {
    // A single error must be visible, so that the strength of errors grows with the root.
    const strength = row === column ? value / largestRight : Math.sqrt(value / largestWrong);
    const colour = row === column ? right : wrong, share = 0.12 + 0.88 * strength;
    const mixed = paper.map((ground, band) => Math.round(ground + share * (colour[band] - ground)));
    const [x, y] = [place[column] * side, place[row] * side];
    context.fillStyle = `rgb(${mixed})`;
    const gap = side > 8 ? 1 : 0;
    context.fillRect(x, y, Math.max(side, 1) - gap, Math.max(side, 1) - gap);
    if (side >= COUNTED_FROM) {
      const bright = (0.299 * mixed[0] + 0.587 * mixed[1] + 0.114 * mixed[2]) / 255;
      context.fillStyle = bright > 0.55 ? "#000" : "#fff";
      context.fillText(textOf(value), x + (side - gap) / 2, y + side / 2, side - 2);
    }
  }
  drawNames(length);
  point(at);
}

function drawGround(context, length) {
  context.fillStyle = colourOf("paper");
  context.fillRect(0, 0, length, length);
  context.strokeStyle = colourOf("line");
  shown.forEach((label, number) => {
    const [begin, end] = [number * side, (number + 1) * side];
    if (!perRow[label]) { // no photos: nothing can be said of the row
      for (let x = 0; x < length; x += 5) stroke(context, x, end, Math.min(x + side, length), begin);
    }
    if (side > 8) {
      stroke(context, 0, end - 0.5, length, end - 0.5);
      stroke(context, end - 0.5, 0, end - 0.5, length);
    }
  });
  if (side <= 8) stroke(context, 0, 0, length, length); // where the diagonal is
}

function stroke(context, ...[x0, y0, x1, y1]) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function drawNames(length) {
  const rows = prepared(rowsCanvas, header, length), columns = prepared(columnsCanvas, length, header);
  for (const context of [rows, columns]) {
    context.fillStyle = colourOf("ink");
    context.textBaseline = "middle";
    context.font = fontOf(side < NAMED_FROM ? 11 : Math.min(13, side - 1));
  }
  const step = side < NAMED_FROM ? Math.ceil(22 / side) : 1; // without names, the numbers of some rows
  shown.forEach((label, number) => {
    if (number % step) return;
    const text = side < NAMED_FROM ? String(number + 1) : shortened(rows, names[label], header - 10);
    const middle = (number + 0.5) * side;
    rows.textAlign = "right";
    rows.fillText(text, header - 5, middle);
    columns.save();
    columns.translate(middle, header - 5);
    columns.rotate(-Math.PI / 2);
    columns.fillText(text, 0, 0);
    columns.restore();
  });
}

function shortened(context, name, room) {
  if (context.measureText(name).width <= room) return name;
  const signs = [...name];
  while (signs.length > 1 && context.measureText(`${signs.join("")}…`).width > room) signs.pop();
  return `${signs.join("")}…`;
}

// Points at a cell: says it in words, and frames it, its row and its column.
function point(cell) {
  at = cell;
  const [rowCross, columnCross, cellCross] = cellsPlace.querySelectorAll(".cross");
  for (const cross of [rowCross, columnCross, cellCross]) cross.style.display = cell ? "block" : "none";
  if (!cell) return;
  const [row, column] = cell, length = side * shown.length;
  const put = (cross, x, y, width, height) => Object.assign(cross.style,
    { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
  put(rowCross, 0, row * side, length, side);
  put(columnCross, column * side, 0, side, length);
  put(cellCross, column * side, row * side, side, side);
  say(shown[row], shown[column]);
}

function cellUnder(event) {
  const box = cellsCanvas.getBoundingClientRect();
  const [column, row] = [event.clientX - box.left, event.clientY - box.top].map((place) => Math.floor(place / side));
  return row >= 0 && column >= 0 && row < shown.length && column < shown.length ? [row, column] : null;
}

function keepInView([row, column]) {
  const seen = { left: board.scrollLeft, top: board.scrollTop };
  const [width, height] = [board.clientWidth - header, board.clientHeight - header];
  if (column * side < seen.left) board.scrollLeft = column * side;
  if ((column + 1) * side > seen.left + width) board.scrollLeft = (column + 1) * side - width;
  if (row * side < seen.top) board.scrollTop = row * side;
  if ((row + 1) * side > seen.top + height) board.scrollTop = (row + 1) * side - height;
}

function setUpMatrix() {
  cellsPlace.addEventListener("pointermove", (event) => { const cell = cellUnder(event); if (cell) point(cell); });
  cellsPlace.addEventListener("click", (event) => {
    const cell = cellUnder(event);
    if (!cell) return;
    point(cell);
    openCell(shown[cell[0]], shown[cell[1]], cellsPlace);
  });
  cellsPlace.addEventListener("focus", () => at || (shown.length && point([0, 0])));
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  cellsPlace.addEventListener("keydown", (event) => {
    if (!at) return;
    const last = shown.length - 1;
    if (steps[event.key]) {
      const [down, along] = steps[event.key];
      point([Math.min(last, Math.max(0, at[0] + down)), Math.min(last, Math.max(0, at[1] + along))]);
    } else if (event.key === "Home") point([at[0], 0]);
    else if (event.key === "End") point([at[0], last]);
    else if (event.key === "n" || event.key === "p") pointAtNextError(event.key === "n" ? 1 : -1);
    else if (event.key === "Enter" || event.key === " ") openCell(shown[at[0]], shown[at[1]], cellsPlace);
    else return;
    event.preventDefault();
    keepInView(at);
  });
  for (const name of ["value", "order", "which", "size"]) {
    $(`choose-${name}`).addEventListener("change", (event) => { choices[name] = event.target.value; redraw(); });
  }
  $("choose-off").addEventListener("change", (event) => { choices.off = event.target.checked; redraw(); });
  $("search").addEventListener("input", (event) => { choices.search = event.target.value; redraw(); });
  addEventListener("resize", () => drawMatrix());
  for (const media of ["(prefers-color-scheme: dark)", "print"]) { // paper has the light colours
    matchMedia(media).addEventListener("change", () => drawMatrix());
  }
  redraw();
}

function pointAtNextError(direction) {
  const count = shown.length * shown.length;
  for (let place = at[0] * shown.length + at[1] + direction, looked = 0; looked < count; place += direction, looked++) {
    const wrapped = (place + count) % count;
    const [row, column] = [Math.floor(wrapped / shown.length), wrapped % shown.length];
    place = wrapped;
    if (row !== column && inCell(shown[row], shown[column]).length) return point([row, column]);
  }
}

function redraw() {
  chooseClasses();
  drawMatrix();
}
setUpMatrix();
