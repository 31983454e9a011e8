// What the network sees of a picture: a port of pipelines/images/regions.py, whose names it keeps. Numbers are rounded
// as TensorFlow's ScaleAndTranslate does, which computes places in float32; a test compares both.

// libjpeg decodes at 1/1, 1/2, 1/4 and 1/8 of the size. Here the means of blocks of pixels stand for that.
const RATIOS = [1, 2, 4, 8];
const MEAN_COLOUR = [124, 116, 104];
const SURELY_INSIDE = 0.01;
const f32 = Math.fround;

const triangle = (x) => Math.max(0, 1 - x);
const keysCubic = (x) => (x >= 2 ? 0 : x >= 1 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : (1.5 * x - 2.5) * x * x + 1);
const KERNELS = { bilinear: [triangle, 1], bicubic: [keysCubic, 2] };

// A half goes to the even neighbour, as in NumPy and TensorFlow.
function rounded(number) {
  const floor = Math.floor(number), rest = number - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

// The rectangle of a picture that becomes an image of size × size pixels, as [vertical, horizontal] pairs of begin and
// extent in pixels of the picture. `view` has size, side, view and interpolation.
export function evaluationRegion(shape, view) {
  const { size, side } = view;
  let sides;
  if (view.view === "squeeze") sides = [side, side];
  else {
    const fitted = view.view === "pad" ? Math.max(...shape) : Math.min(...shape);
    sides = shape.map((length) => rounded(length * (side / fitted)));
    sides = sides.map((length) => (view.view === "pad" ? Math.min(Math.max(length, 1), side) : Math.max(length, side)));
  }
  const canvas = view.view === "pad" ? [side, side] : sides;
  return shape.map((length, axis) => {
    let begin = Math.floor((canvas[axis] - size) / 2);
    if (view.view === "pad") {
      const shown = Math.floor((Math.min(size, sides[axis]) + 1) / 2);
      begin -= Math.floor((canvas[axis] - sides[axis]) / 2);
      begin = Math.min(Math.max(begin, shown - size), sides[axis] - shown);
    }
    const pixel = length / sides[axis];
    return { begin: begin * pixel, extent: size * pixel };
  });
}

// The smallest scale of decoding that has a pixel for each pixel of the image.
export function ratioOf(region, size) {
  const extent = Math.min(...region.map((axis) => axis.extent));
  return RATIOS.findLast((ratio) => extent / ratio >= size) ?? 1;
}

// The pixels of the smaller picture that the image depends on, along one axis.
export function windowOf({ begin, extent }, length, ratio, view) {
  const smaller = Math.ceil(length / ratio);
  const support = KERNELS[view.interpolation][1] * Math.max(extent / ratio / view.size, 1);
  const first = Math.max(Math.floor(begin / ratio - support), 0);
  const last = Math.min(Math.ceil((begin + extent) / ratio + support), smaller);
  return { first, count: last - first };
}

// Returns the image, size × size × 3 levels, of a window of pixels.
export function render(pixels, region, windows, shape, ratio, view) {
  const { size } = view;
  const [rows, columns] = region.map((axis, number) => spansOf(axis, windows[number], ratio, view));
  const width = windows[1].count;
  const narrow = new Float32Array(size * width * 3);
  rows.forEach(({ start, weights }, row) => {
    for (let place = 0; place < width * 3; place++) {
      let sum = 0;
      for (let number = 0; number < weights.length; number++) {
        sum = f32(sum + f32(weights[number] * pixels[(start + number) * width * 3 + place]));
      }
      narrow[row * width * 3 + place] = sum;
    }
  });
  const image = new Uint8ClampedArray(size * size * 3);
  const inside = region.map((axis, number) => onThePicture(axis, shape[number], view));
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const { start, weights } = columns[column];
      const shown = inside[0][row] && inside[1][column];
      for (let colour = 0; colour < 3; colour++) {
        let sum = 0;
        for (let number = 0; number < weights.length; number++) {
          sum = f32(sum + f32(weights[number] * narrow[(row * width + start + number) * 3 + colour]));
        }
        image[(row * size + column) * 3 + colour] = shown ? rounded(sum) : MEAN_COLOUR[colour];
      }
    }
  }
  return image;
}

// The weights of the window's pixels in each pixel of the image, along one axis (scale_and_translate_op.cc).
function spansOf({ begin, extent }, { first, count }, ratio, { size, interpolation }) {
  const [kernel, radius] = KERNELS[interpolation];
  const factor = (size * ratio) / extent;
  const scale = f32(factor), translation = f32((first - begin / ratio) * factor);
  const inverse = f32(1 / scale), moved = f32(-inverse * translation);
  const wide = f32(Math.max(inverse, 1));
  const spans = [];
  for (let place = 0; place < size; place++) {
    const centre = f32(f32(f32(place + 0.5) * inverse) + moved);
    if (centre < 0 || centre > count) { spans.push({ start: 0, weights: [] }); continue; }
    const clamped = (number) => Math.min(Math.max(number, 0), count - 1);
    const start = clamped(Math.ceil(f32(f32(centre - f32(radius * wide)) - 0.5)));
    const end = clamped(Math.floor(f32(f32(centre + f32(radius * wide)) - 0.5))) + 1;
    const weights = [];
    for (let source = start; source < end; source++) {
      weights.push(f32(kernel(Math.abs(f32(f32(source + 0.5 - centre) * f32(1 / wide))))));
    }
    const total = weights.reduce((sum, weight) => f32(sum + weight), 0);
    spans.push({ start, weights: weights.map((weight) => f32(weight * f32(1 / total))) });
  }
  return spans;
}

// Which pixels of the image show the picture, along one axis; beside it is the mean colour.
function onThePicture({ begin, extent }, length, { size, view }) {
  if (view !== "pad") return Array(size).fill(true);
  const pixel = extent / size, margin = SURELY_INSIDE * pixel;
  return Array.from({ length: size }, (_, place) => {
    const centre = begin + (place + 0.5) * pixel;
    return centre >= margin && centre <= length - margin;
  });
}
