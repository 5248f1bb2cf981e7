// Converts between typed words and those of a model of words. It knows lower case, sentence ends and split words ("do"
// "n't"); the page keeps what was typed.

const ABBREVIATION = /(?:^|[\s(])(?:[a-z]|mr|mrs|ms|dr|st|jr|sr|prof|inc|corp|co|ltd|vs|etc|no|[a-z](?:\.[a-z])+)\.$/i;
const SENTENCE_END = /[.!?…]["”’')\]]*(?=[ \t])/g;
// A quote opens where a word may begin; brackets do anywhere.
const QUOTES = /["'“”‟‘’‛«»‹›]+$/;
const OPENING = /[\p{Ps}¿¡]$/u;
const CLITIC = /^(?:n't|'\w{1,2}|%)$/;

/** The text with a line's end after each sentence, as the model reads it. Its length does not change. */
export function sentences(text) {
  let result = "";
  let done = 0;
  for (const match of text.matchAll(SENTENCE_END)) {
    const end = match.index + match[0].length;
    if (!ABBREVIATION.test(text.slice(Math.max(0, end - 12), end))) {
      result += text.slice(done, end) + "\n";
      done = end + 1;
    }
  }
  return result + text.slice(done);
}

/** Whether a text ends with an opening quote or bracket, after which a word comes without a space. */
export function opens(text) {
  const bare = text.replace(QUOTES, "");
  return OPENING.test(bare) || (bare !== text && /(?:^|\s)$/.test(bare));
}

/** A word with the apostrophes of a text, if that has typographic ones alone. */
export function asWriter(word, text) {
  return text.includes("’") && !text.includes("'") ? word.replaceAll("'", "’") : word;
}

/** The label of a key. */
export function label(word, prefix, before) {
  return prefix ? completed(word, prefix) : capitalized(word, sentences(before));
}

/**
 * What to insert when a word is accepted.
 *
 * Returns the text to insert, and the offset from which it replaces the text up to the caret.
 */
export function accepted(word, prefix, before) {
  if (prefix) {
    return { from: before.length - prefix.length, insert: completed(word, prefix) + " " };
  }
  const bare = before.trimEnd();
  // A clitic is written together with the word before it.
  if (CLITIC.test(word) && /\S[ ]*$/.test(before)) {
    return { from: bare.length, insert: word + " " };
  }
  const space = before && !/\s$/.test(before) && !opens(before) ? " " : "";
  return { from: before.length, insert: space + capitalized(word, sentences(before)) + " " };
}

/** The word, with its beginning as it was typed. */
export function completed(word, prefix) {
  // A word of the vocabulary with capitals or a ’ must be written exactly so: otherwise the model reads another word.
  if (word !== word.toLowerCase() || word.includes("’")) {
    return Array.from(word, (sign, i) => (sign === "'" && /[‘’‛]/.test(prefix[i] ?? "") ? prefix[i] : sign)).join("");
  }
  const rest = word.slice(prefix.toLowerCase().length); // "İ" has two characters in lower case
  return prefix + (isShouted(prefix) ? rest.toUpperCase() : rest);
}

/**
 * The word instead of one that was typed with errors, with the capitals of that; `before` is the text before it.
 * `pronoun` as for `capitalized`.
 */
export function corrected(word, typed, before, pronoun = "i") {
  if (isShouted(typed)) {
    return word.toUpperCase();
  }
  const first = typed.charAt(0);
  return capitalized(word, first === first.toLowerCase() ? sentences(before) : "", pronoun);
}

/** Whether a word is in capitals: in several, since "I'" and "L'" may begin any word. */
function isShouted(word) {
  return word === word.toUpperCase() && (word.match(/\p{Lu}/gu) ?? []).length > 1;
}

/**
 * The word, with a capital at the beginning of a sentence; `before` has a line's end after each.
 * `pronoun` has a capital anywhere: models of words know English in lower case alone.
 */
export function capitalized(word, before, pronoun = "i") {
  const begins = !before.trim() || /\n\s*$/.test(before);
  return begins || word === pronoun ? word.charAt(0).toUpperCase() + word.slice(1) : word;
}
