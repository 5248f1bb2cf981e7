// How suggestions are shown and put where the model reads a text as it is written, letter by letter. The functions are
// those of words.js.

import { capitalized, completed, corrected as correctedWord, opens, sentences as withSentenceEnds } from "./words.js";

const CLOSING = /^[.,;:!?…)\]}%’”»]+$/;
const OPENING = /[\p{Ps}“‘«¿¡]$/u;
// Scripts that put no space between words.
const UNSPACED = "[\\p{sc=Han}\\p{sc=Hira}\\p{sc=Kana}\\p{sc=Thai}\\p{sc=Laoo}\\p{sc=Khmr}\\p{sc=Mymr}ー。、]";
const UNSPACED_FIRST = new RegExp(`^${UNSPACED}`, "u");
const UNSPACED_LAST = new RegExp(`${UNSPACED}$`, "u");

/** The text as the model is to read it: as it is. */
export function sentences(text) {
  return text;
}

/** The label of a key. */
export function label(word, prefix, before) {
  return prefix ? completed(word, prefix) : capitalized(word, withSentenceEnds(before), "");
}

/** The word instead of one that was typed with errors. */
export function corrected(word, typed, before) {
  return correctedWord(word, typed, before, "");
}

/** What to insert when a word is accepted, and from where; no space before punctuation, and one after it. */
export function accepted(word, prefix, before) {
  const bare = before.replace(/ +$/, "");
  const isQuote = word === '"';
  if (CLOSING.test(word) || (isQuote && isQuoted(before))) {
    return { from: prefix ? before.length - prefix.length : bare.length, insert: word + " " };
  }
  const after = OPENING.test(word) || isQuote || UNSPACED_LAST.test(word) ? "" : " ";
  if (prefix) {
    return { from: before.length - prefix.length, insert: completed(word, prefix) + after };
  }
  const isGlued = UNSPACED_FIRST.test(word) || UNSPACED_LAST.test(before);
  const begins = !before || /\s$/.test(before) || opens(before) || isGlued;
  return { from: before.length, insert: (begins ? "" : " ") + label(word, prefix, before) + after };
}

/** Whether a quotation of the last paragraph is open. */
function isQuoted(text) {
  return text.slice(text.lastIndexOf("\n") + 1).split('"').length % 2 === 0;
}
