// The slider of the threshold below which an answer is refused, with its sentence and its mark in the chart.
function setUpRefusing() {
  const slider = $("threshold");
  if (!slider) return;
  const wilson = (right, images) => { // Wilson 1927
    const z = 1.959963984540054, share = right / images, square = (z * z) / images;
    const centre = (share + square / 2) / (1 + square);
    const half = (z / (1 + square)) * Math.sqrt((share * (1 - share)) / images + square / (4 * images));
    return [right ? centre - half : 0, right < images ? centre + half : 1];
  };
  const sorted = Float64Array.from({ length: imageCount }, (_, image) => confidence(image)).sort();
  const rightOnes = Float64Array.from(
    [...Array(imageCount).keys()].filter((image) => named(image) === truth[image]).map(confidence)).sort();
  const from = (values, threshold) => { // how many are not below the threshold
    let low = 0, high = values.length;
    while (low < high) { const middle = (low + high) >> 1; if (values[middle] < threshold) low = middle + 1; else high = middle; }
    return values.length - low;
  };
  const mark = $("refusing-mark");
  const show = () => {
    const threshold = Number(slider.value);
    // Confidences are stored in 65,535 steps.
    const [answered, right] = [sorted, rightOnes].map((values) => from(values, threshold - 0.5 / WHOLE));
    $("threshold-shown").textContent = threshold.toFixed(3);
    const coverage = answered / imageCount;
    if (!answered) $("refusing-said").textContent = `Below a confidence of ${threshold.toFixed(3)} every answer is refused.`;
    else {
      const [low, high] = wilson(right, answered);
      const ofAll = threshold > 0 && answered < imageCount ? `Refuse below ${threshold.toFixed(3)}: ` : "Refuse nothing: ";
      $("refusing-said").textContent = `${ofAll}${percent(right / answered)} of the ${answered.toLocaleString("en")} answers`
        + ` that remain are right (95 % interval ${percent(low)} to ${percent(high)}), on ${percent(coverage)} of the photos.`;
    }
    if (mark) mark.setAttribute("transform", `translate(${mark.dataset.width * coverage} 0)`);
  };
  slider.addEventListener("input", show);
  show();
}
setUpRefusing();
