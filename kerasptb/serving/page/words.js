// Between the model's words and a person's: the model knows lower case, sentence ends and parted words ("do" "n't");
// the page keeps what was typed.

const ABBREVIATION = /(?:^|[\s(])(?:[a-z]|mr|mrs|ms|dr|st|jr|sr|prof|inc|corp|co|ltd|vs|etc|no|[a-z](?:\.[a-z])+)\.$/i;
const SENTENCE_END = /[.!?…]["”’')\]]*(?=[ \t])/g;
const CLITIC = /^(?:n't|'\w{1,2}|%)$/;

/** The text with a line's end after each sentence, as the model reads one; of the same length. */
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

/** Whether a word of the model can stand on a key: a number as such cannot be typed, nor an end where nothing is. */
export function shown(word, before) {
  return word !== "N" && (word !== "<eos>" || /\S[^\S\n]*$/.test(before));
}

/** What a key shows. */
export function label(word, prefix, before) {
  if (word === "<eos>") {
    return ".";
  }
  return prefix ? completed(word, prefix) : capitalized(word, sentences(before));
}

/**
 * What to insert when a word is taken.
 *
 * Returns the offset that the insertion goes from, up to the caret, and the text to insert.
 */
export function accepted(word, prefix, before) {
  if (prefix) {
    return { from: before.length - prefix.length, insert: completed(word, prefix) + " " };
  }
  const bare = before.trimEnd();
  if (word === "<eos>") {
    return { from: bare.length, insert: /[.!?…]$/.test(bare) ? " " : ". " };
  }
  // Parted words are written together.
  if (CLITIC.test(word) && /\S[ ]*$/.test(before)) {
    return { from: bare.length, insert: word + " " };
  }
  const space = before && !/\s$/.test(before) ? " " : "";
  return { from: before.length, insert: space + capitalized(word, sentences(before)) + " " };
}

/** The word, its beginning as it was typed. */
function completed(word, prefix) {
  // The model takes a word with capitals, or an apostrophe of its own, for another one where it is written otherwise.
  if (word !== word.toLowerCase() || word.includes("’")) {
    return word;
  }
  const rest = word.slice(prefix.toLowerCase().length); // "İ" is of two characters in lower case
  const shouted = prefix.length > 1 && prefix === prefix.toUpperCase() && prefix !== prefix.toLowerCase();
  return prefix + (shouted ? rest.toUpperCase() : rest);
}

function capitalized(word, before) {
  const begins = !before.trim() || /\n\s*$/.test(before);
  return begins || word === "i" ? word.charAt(0).toUpperCase() + word.slice(1) : word;
}
