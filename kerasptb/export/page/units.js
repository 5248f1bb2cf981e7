// The parts of a text in which something is read, as the server's answers have them; offsets are in code points.

import { isBlank, partsOf, trimmedEnd } from "./space.js";

/**
 * Returns the parts, {start, end, tokens}: words with the signs at them, and the ends of lines.
 *
 * @param {Model} model
 * @param about what is said of the model.
 * @param {string} text as it was typed, without spaces at its end.
 */
export function unitsOf(model, { tokens: kind, first, signs }, text) {
  const read = model.read(text);
  const units = kind === "words" ? unitsOfWords(model, read) : unitsOfPieces(model, read, first);
  const places = placesOf(text, signs);
  return units.map(({ start, end, tokens }) => ({ start: places[start], end: places[end], tokens }));
}

/** Where in a text each character of what is read begins, and where the last one ends. */
export function placesOf(text, signs) {
  const longestFirst = Object.keys(signs).sort((one, other) => other.length - one.length);
  const pattern = longestFirst.map((sign) => sign.replaceAll(".", "\\.")).join("|") || "(?!)";
  const places = [];
  let at = 0;
  for (const part of text.split(new RegExp(`(${pattern})`))) {
    if (Object.hasOwn(signs, part)) {
      places.push(...Array(signs[part]).fill(at)); // so many characters are read
      at += part.length;
    } else {
      Array.from(part, () => places.push(at++));
    }
  }
  return [...places, at];
}

function unitsOfWords(model, text) {
  let start = 0;
  const units = partsOf(text).map((part) => {
    const end = start + Array.from(part).length;
    const unit = { start, end, tokens: model.encode(part) };
    start = end;
    return unit;
  });
  return units.filter(({ tokens }) => tokens.length);
}

/** A token is of the word in which the first of its characters stands that is no space, or of the one after. */
function unitsOfPieces(model, text, first) {
  const { units, owners, blanks } = bytesOf(text, first.length);
  let at = 0;
  for (const token of model.encode(text)) {
    const end = at + model.piece(token).size;
    let inside = at;
    while (inside < end - 1 && blanks[inside]) {
      inside += 1;
    }
    owners[inside]?.tokens.push(token);
    at = end;
  }
  return units.filter(({ tokens }) => tokens.length);
}

/** Returns the parts of a text, and of each byte that its tokens write to which it belongs, and whether it is a space. */
function bytesOf(text, numBefore) {
  const units = [];
  const owners = [];
  const blanks = [];
  let start = 0;
  const add = (size, owner, blank) => {
    for (let i = 0; i < size; i += 1) {
      owners.push(owner);
      blanks.push(blank);
    }
  };
  const lines = text.split("\n");
  lines.forEach((line, i) => {
    const isWhole = i < lines.length - 1;
    const kept = isWhole ? trimmedEnd(line) : line;
    const endOfLine = start + Array.from(line).length;
    const parts = partsOf(kept);
    let numBlanks = kept && numBefore; // bytes that belong to the word after them
    for (const part of parts) {
      const end = start + Array.from(part).length;
      if (!isBlank(part)) {
        units.push({ start, end, tokens: [] });
        add(numBlanks, units.at(-1), true);
        add(numBytes(part), units.at(-1), false);
        numBlanks = 0;
      } else {
        numBlanks += numBytes(part);
      }
      start = end;
    }
    if (numBlanks) {
      units.push({ start: start - Array.from(parts.at(-1)).length, end: start, tokens: [] });
      add(numBlanks, units.at(-1), true);
    }
    if (kept && isWhole) {
      units.push({ start: endOfLine, end: endOfLine + 1, tokens: [] });
      add(1, units.at(-1), false);
    }
    start = endOfLine + 1;
  });
  return { units, owners, blanks };
}

function numBytes(text) {
  return new TextEncoder().encode(text).length;
}
