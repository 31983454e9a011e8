// Decodes a photo to the pixels that the network sees. Browsers decode what they know; what they would show differently
// from this project, or show half of, is refused by name.
import { evaluationRegion, ratioOf, render, windowOf } from "./view.js";

const SHOWN = 512; // longer side of the copy on the page, in pixels
const STRIP = 256; // rows that are read at a time; phones have no canvas of a whole photo

// Returns the image, size × size × 3 levels, and a small copy of the photo as an address. A photo of more than
// `mostPixels` is refused.
export async function pictureOf(file, view, mostPixels) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const kind = kindOf(bytes);
  if (kind.refused) throw new Error(kind.refused);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image",
    });
  } catch {
    throw new Error(`no picture that this browser can read${kind.name ? `: ${kind.name}` : ""}`);
  }
  try {
    if (bitmap.width * bitmap.height > mostPixels) {
      throw new Error(`${bitmap.width}×${bitmap.height} pixels, more than ${mostPixels.toLocaleString("en")}`);
    }
    return { image: imageOf(bitmap, view, kind.name === "JPEG"), copy: await copyOf(bitmap) };
  } finally {
    bitmap.close();
  }
}

function imageOf(bitmap, view, isJpeg) {
  const shape = [bitmap.height, bitmap.width];
  const region = evaluationRegion(shape, view);
  const ratio = isJpeg ? ratioOf(region, view.size) : 1;
  const windows = region.map((axis, number) => windowOf(axis, shape[number], ratio, view));
  return render(pixelsOf(bitmap, windows, ratio), region, windows, shape, ratio, view);
}

// The levels of a window, of which each pixel is the mean of a block of ratio × ratio pixels, over white.
function pixelsOf(bitmap, [rows, columns], ratio) {
  const left = columns.first * ratio, width = Math.min(columns.count * ratio, bitmap.width - left);
  const canvas = new OffscreenCanvas(width, STRIP);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const pixels = new Uint8Array(rows.count * columns.count * 3);
  for (let row = 0; row < rows.count; row += STRIP / ratio) {
    const top = (rows.first + row) * ratio;
    const height = Math.min(STRIP, (rows.first + rows.count) * ratio - top, bitmap.height - top);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, STRIP);
    context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
    means(context.getImageData(0, 0, width, height), ratio, pixels, row * columns.count * 3, columns.count);
  }
  return pixels;
}

function means({ data, width, height }, ratio, pixels, offset, columns) {
  for (let row = 0; row * ratio < height; row++) {
    for (let column = 0; column < columns; column++) {
      const bottom = Math.min((row + 1) * ratio, height), right = Math.min((column + 1) * ratio, width);
      for (let colour = 0; colour < 3; colour++) {
        let sum = 0;
        for (let y = row * ratio; y < bottom; y++) {
          for (let x = column * ratio; x < right; x++) sum += data[4 * (y * width + x) + colour];
        }
        const count = (bottom - row * ratio) * (right - column * ratio);
        pixels[offset + (row * columns + column) * 3 + colour] = Math.round(sum / count);
      }
    }
  }
}

async function copyOf(bitmap) {
  const scale = Math.min(1, SHOWN / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return URL.createObjectURL(await canvas.convertToBlob({ type: "image/png" }));
}

// The name of a file's format by its first bytes, and what speaks against the file.
export function kindOf(bytes) {
  const starts = (...signs) => signs.every((sign, place) => bytes[place] === sign);
  if (!bytes.length) return { refused: "an empty file" };
  if (starts(0xff, 0xd8, 0xff)) return { name: "JPEG", refused: troubleOfJpeg(bytes) };
  if (starts(0x89, 0x50, 0x4e, 0x47)) return { name: "PNG", refused: troubleOfPng(bytes) };
  const text = String.fromCharCode(...bytes.subarray(0, 16));
  if (text.startsWith("GIF8")) return { name: "GIF" };
  if (text.startsWith("BM")) return { name: "BMP" };
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return { name: "WebP" };
  if (/^(II\*\0|MM\0\*)/.test(text)) return { name: "TIFF" };
  if (text.slice(4, 8) === "ftyp") return { name: /avif|avis/.test(text.slice(8)) ? "AVIF" : "HEIC" };
  return { name: "" };
}

// Walks over the segments up to the scan (ITU-T T.81, annex B). The frame says how many colours there are.
function troubleOfJpeg(bytes) {
  let at = 2;
  while (at + 9 < bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1], length = 256 * bytes[at + 2] + bytes[at + 3];
    if (marker === 0xff) { at++; continue; }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame && bytes[at + 9] === 4) {
      return "a JPEG in CMYK, whose colours browsers show differently; save it in RGB";
    }
    if (marker === 0xda) break;
    at += 2 + length;
  }
  for (let place = bytes.length - 2; place > at; place--) {
    if (bytes[place] === 0xff && bytes[place + 1] === 0xd9) return undefined;
  }
  return "a JPEG that ends before its picture does";
}

const startsWith = (bytes, at, text) => [...text].every((sign, place) => bytes[at + place] === sign.charCodeAt(0));

// Looks at the header and the names of the chunks (PNG, third edition, sections 5 and 11).
function troubleOfPng(bytes) {
  const look = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length > 24 && bytes[24] === 16) return "a PNG of 16 bits, which browsers cut to 8; save it with 8 bits";
  for (let at = 8; at + 12 <= bytes.length; at += 12 + look.getUint32(at)) {
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (!/^[A-Za-z]{4}$/.test(name)) return "a damaged PNG: one of its parts has no proper name";
    if (name === "IEND") return undefined;
    if (/^(tEXt|zTXt|iTXt)$/.test(name) && startsWith(bytes, at + 8, "Raw profile type")) {
      return "a PNG with a profile of ImageMagick's, by which browsers do not turn pictures; save it as a JPEG";
    }
  }
  return "a PNG that ends before its picture does";
}
