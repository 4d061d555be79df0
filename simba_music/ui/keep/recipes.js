// Recipes: reads in the browser what a clip's file says of itself, so that nothing is uploaded.
"use strict";

const LONGEST_TEXT = 65536;
const NO_RECIPE = "no-recipe";

async function bytesOf(blob, start, length) {
  return new DataView(await blob.slice(start, start + length).arrayBuffer());
}

function asciiAt(view, at, length) {
  let text = "";
  for (let i = 0; i < length && at + i < view.byteLength; i++)
    text += String.fromCharCode(view.getUint8(at + i));
  return text;
}

function utf8Of(view, at, length) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, length);
  return new TextDecoder().decode(bytes).replace(/\0+$/, "");
}

// The comment among the chunks of a WAV file: ICMT in the list INFO.
async function wavComment(blob) {
  for (let at = 12; at + 8 <= blob.size; ) {
    const head = await bytesOf(blob, at, 12);
    const size = head.getUint32(4, true);
    if (asciiAt(head, 0, 4) === "LIST" && asciiAt(head, 8, 4) === "INFO" && size <= 4 * LONGEST_TEXT) {
      const view = await bytesOf(blob, at + 12, size - 4);
      for (let inner = 0; inner + 8 <= view.byteLength; ) {
        const length = view.getUint32(inner + 4, true);
        if (inner + 8 + length > view.byteLength) break;
        if (asciiAt(view, inner, 4) === "ICMT") return utf8Of(view, inner + 8, length);
        inner += 8 + length + (length % 2);
      }
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

// The field COMMENT of a block of Vorbis comments, which FLAC and Ogg share.
function vorbisComment(view) {
  let at = 4 + view.getUint32(0, true);
  const count = view.getUint32(at, true);
  at += 4;
  for (let i = 0; i < count && at + 4 <= view.byteLength; i++) {
    const length = view.getUint32(at, true);
    if (at + 4 + length > view.byteLength) return null;
    if (/^comment=$/i.test(asciiAt(view, at + 4, 8))) return utf8Of(view, at + 12, length - 8);
    at += 4 + length;
  }
  return null;
}

async function flacComment(blob) {
  for (let at = 4; at + 4 <= blob.size; ) {
    const head = await bytesOf(blob, at, 4);
    const size = head.getUint32(0) & 0xffffff;
    if ((head.getUint8(0) & 0x7f) === 4) return vorbisComment(await bytesOf(blob, at + 4, size));
    if (head.getUint8(0) & 0x80) break;
    at += 4 + size;
  }
  return null;
}

// The second packet of an Ogg Vorbis stream, which may go on over pages.
async function oggComment(blob) {
  const view = await bytesOf(blob, 0, 8 * LONGEST_TEXT);
  const packets = [[]];
  for (let at = 0; at + 27 <= view.byteLength && asciiAt(view, at, 4) === "OggS" && packets.length < 3; ) {
    const segments = view.getUint8(at + 26);
    let body = at + 27 + segments;
    for (let i = 0; i < segments && body <= view.byteLength; i++) {
      const length = view.getUint8(at + 27 + i);
      for (let j = body; j < Math.min(body + length, view.byteLength); j++)
        packets.at(-1).push(view.getUint8(j));
      body += length;
      if (length < 255) packets.push([]);
    }
    at = body;
  }
  const second = Uint8Array.from(packets[1] ?? []);
  const found = new DataView(second.buffer);
  return asciiAt(found, 1, 6) === "vorbis" ? vorbisComment(new DataView(second.buffer, 7)) : null;
}

// recipe.json of a ZIP, as it was packed here or by another program.
async function zipRecipe(blob) {
  const start = Math.max(0, blob.size - 66000);
  const tail = await bytesOf(blob, start, blob.size - start);
  let end = tail.byteLength - 22;
  while (end >= 0 && tail.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) return null;
  const size = Math.min(tail.getUint32(end + 12, true), 16 * LONGEST_TEXT);
  const list = await bytesOf(blob, tail.getUint32(end + 16, true), size);
  for (let at = 0; at + 46 <= list.byteLength && list.getUint32(at, true) === 0x02014b50; ) {
    const [name, extra, remark] = [28, 30, 32].map((i) => list.getUint16(at + i, true));
    if (/(^|\/)recipe\.json$/.test(asciiAt(list, at + 46, name))) {
      const packed = list.getUint32(at + 20, true);
      const local = list.getUint32(at + 42, true);
      if (packed > LONGEST_TEXT) return null;
      const head = await bytesOf(blob, local, 30);
      const from = local + 30 + head.getUint16(26, true) + head.getUint16(28, true);
      return unpacked(blob.slice(from, from + packed), list.getUint16(at + 10, true));
    }
    at += 46 + name + extra + remark;
  }
  return null;
}

async function unpacked(blob, method) {
  if (method === 0) return blob.text();
  const reader = blob.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const parts = [];
  for (let size = 0; size <= LONGEST_TEXT; size += parts.at(-1).length) {
    const { done, value } = await reader.read();
    if (done) return new Blob(parts).text();
    parts.push(value);
  }
  await reader.cancel();
  return null;
}

// The JSON of the recipe in a file that was made here, or of a recipe.json.
// Throws an Error NO_RECIPE where there is none.
async function recipeText(blob) {
  const head = asciiAt(await bytesOf(blob, 0, 4), 0, 4);
  const readers = { RIFF: wavComment, fLaC: flacComment, OggS: oggComment, "PK\x03\x04": zipRecipe };
  let text = null;
  try {
    if (readers[head]) text = await readers[head](blob);
    else if (blob.size <= LONGEST_TEXT) text = await blob.text();
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
  }
  if (!text?.trim().startsWith("{") || text.length > LONGEST_TEXT) throw new Error(NO_RECIPE);
  return text;
}
