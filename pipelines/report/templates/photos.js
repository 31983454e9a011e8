// A photo with its probabilities, the map of the evidence over it, and the nearest training photos below it.
const PER_TURN = 12;
let mapShown = "predicted"; // "none", "predicted" or "true"

function photoCard(image) {
  const photo = photos().of[image];
  const card = element("figure", { "data-image": image });
  card.append(photo && photo.source ? picture(image, photo) : leftOut(), caption(image), bars(image));
  if (photo && photo.near.length) card.append(nearest(photo.near));
  return card;
}

const leftOut = () => element("div", { class: "missing" }, "This photo is not in the page; its file is named below.");

function picture(image, photo) {
  const frame = element("div", { class: "picture" });
  const described = `photo of ${names[truth[image]]}, taken for ${names[named(image)]}`;
  frame.append(element("img", { src: photo.source, alt: described, width: 144, loading: "lazy" }));
  const label = mapShown === "true" ? truth[image] : named(image);
  if (mapShown !== "none" && photo.maps[label]) frame.append(evidence(photo, label));
  return frame;
}

function evidence(photo, label) {
  const size = report.grid;
  const canvas = element("canvas", { width: size, height: size, "data-class": label });
  const [left, top, width, height] = photo.frame;
  Object.assign(canvas.style, {
    left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * width}%`, height: `${100 * height}%`,
  });
  const levels = numbers(photo.maps[label].levels, Int8Array);
  const pixels = canvas.getContext("2d").createImageData(size, size);
  const speaksFor = [213, 94, 0], against = [0, 114, 178]; // the same over a photo in both modes
  levels.forEach((level, place) => {
    const colour = level >= 0 ? speaksFor : against;
    pixels.data.set([...colour, 210 * Math.abs(level / 127) ** 0.6], 4 * place); // weak evidence is seen, too
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function caption(image) {
  const wrong = truth[image] !== named(image);
  const said = wrong
    ? [nameOf(names[truth[image]]), ", taken for ", nameOf(names[named(image)])]
    : [nameOf(names[truth[image]]), ", recognized"];
  return element("figcaption", {}, ...said, element("br"), element("small", {}, nameOf(report.paths[image])));
}

function bars(image) {
  const list = element("ul", { class: "bars", "aria-label": "the likeliest classes" });
  const entry = (label, share) => {
    const kind = label === truth[image] ? "is-true" : label === named(image) ? "is-false" : "";
    const bar = element("b");
    bar.style.width = `${100 * share}%`;
    list.append(element("li", { class: kind, title: names[label] },
      element("span", {}, nameOf(names[label])), element("span", {}, percent(share)), element("i", {}, bar)));
  };
  let hasTruth = false;
  for (let place = 0; place < Math.min(3, PER_IMAGE); place++) {
    const label = topClasses[image * PER_IMAGE + place];
    hasTruth ||= label === truth[image];
    entry(label, topShares[image * PER_IMAGE + place] / WHOLE);
  }
  if (!hasTruth) entry(truth[image], ownShares[image] / WHOLE);
  return list;
}

function nearest(near) {
  const row = element("div", { class: "near", "aria-label": "nearest training photos" });
  for (const [place, similarity] of near) {
    const other = photos().training[place];
    const shown = element("div", { title: `${other.path}, likeness ${similarity.toFixed(2)}` });
    if (other.source) shown.append(element("img", { src: other.source, alt: `training photo of ${other.label}` }));
    shown.append(nameOf(other.label));
    row.append(shown);
  }
  return row;
}

// Fills an element with photos, some at a time.
function showPhotos(place, images) {
  place.replaceChildren();
  const list = element("div", { class: "photos" });
  place.append(list);
  place.refill = () => showPhotos(place, images);
  let shown = 0;
  const more = element("button", { class: "button", type: "button", onclick: () => turn() });
  const turn = () => {
    const next = images.slice(shown, shown + PER_TURN);
    const first = next.map(photoCard);
    list.append(...first);
    shown += next.length;
    more.textContent = `show ${Math.min(PER_TURN, images.length - shown)} more of ${images.length - shown}`;
    if (shown < images.length) place.append(more);
    else more.remove();
  };
  turn();
}

function setUpPhotos() {
  for (const choice of document.querySelectorAll("select.map-choice")) {
    choice.addEventListener("change", () => {
      mapShown = choice.value;
      for (const other of document.querySelectorAll("select.map-choice")) other.value = mapShown;
      for (const place of document.querySelectorAll(".photo-list")) place.refill?.();
    });
  }
  // Lists below the screen are filled when they are near it, so that the page is there at once.
  const lists = [...document.querySelectorAll(".photo-list[data-list]")];
  const fill = (place) => place.refill || showPhotos(place, report.lists[place.dataset.list]);
  const watch = new IntersectionObserver((seen) => {
    for (const each of seen) if (each.isIntersecting) { watch.unobserve(each.target); fill(each.target); }
  }, { rootMargin: "600px" });
  lists.forEach((place) => watch.observe(place));
  addEventListener("beforeprint", () => lists.forEach(fill));
}
setUpPhotos();
// The photos are read before somebody asks for one, when the browser has nothing else to do.
(window.requestIdleCallback ?? setTimeout)(() => photos());
