// The words that a writer used last: they become more probable. kerasptb/keyboard/memory.py has the formula and its
// source; this is the same.

const EOS = "<eos>";
export const UNK = "<unk>";
const WINDOW = 2000;
const MAX_CHARACTERS = 40;
const WORTH = [20, 8, 8]; // k for all words, for those after the same word, for those after the same two

/** Returns the last words of those that were remembered and of more, as they are remembered. */
export function remembered(before, words) {
  const result = before.at(-1) === EOS ? [...before] : [...before, EOS]; // a text begins a line
  const known = new Set(result);
  for (const word of words) {
    const isLong = Array.from(word).length > MAX_CHARACTERS;
    const last = isLong ? UNK : result.at(-1) === EOS ? withinALine(word, known) : word;
    result.push(last);
    known.add(last);
  }
  return result.slice(-WINDOW);
}

/** A line's first word as it was written before, or small if that changes no more than its capital. */
function withinALine(word, known) {
  const small = word.toLowerCase();
  const isCapital = small.length === word.length && small.slice(1) === word.slice(1);
  return isCapital && (!known.has(word) || known.has(small)) ? small : word;
}

export class Memory {
  /** @param {string[]} words as `remembered` gives them. */
  constructor(words) {
    this.words = words;
    this.counts = counted(words);
    this.lexicon = [...this.counts.keys()];
    this.shares = new Map();
    this.ofModel = 1; // what remains for the model's probabilities
    let places = words.map((_, i) => i);
    for (const [order, k] of WORTH.entries()) {
      if (order) {
        places = places.filter((i) => i >= order && words[i - order] === words.at(-order));
      }
      if (!places.length) {
        break;
      }
      this.#refine(counted(places.map((i) => words[i])), places.length, k);
    }
  }

  #refine(counts, total, k) {
    const all = total + k * counts.size;
    const left = (k * counts.size) / all;
    this.ofModel *= left;
    for (const word of this.lexicon) {
      this.shares.set(word, (this.shares.get(word) ?? 0) * left + (counts.get(word) ?? 0) / all);
    }
  }

  /**
   * Returns words that were found, mixed with those of the memory, and the probability that one begins so.
   *
   * @param found {words, total}: the model's likeliest words, and its probability of all that begin so.
   * @param exclude words that are never shown.
   * @param likelihoods of what is typed for each word of `lexicon`.
   * @param model {probability, isNew}: the model's probability of a word of the memory, and whether its total lacks it.
   */
  mixed({ words, total }, exclude, likelihoods, { probability, isNew }) {
    const shares = new Map(this.lexicon.map((word, i) => [word, this.shares.get(word) * likelihoods[i]]));
    const mine = this.lexicon.filter((word) => shares.get(word) > 0 && !exclude.includes(word));
    const known = new Set(mine);
    const others = words.filter(({ word }) => !known.has(word));
    const all = [
      ...others.map((other) => ({ ...other, probability: this.ofModel * other.probability })),
      ...mine.map((word) => ({ word, probability: this.ofModel * probability(word) + shares.get(word) })),
    ];
    const ofMine = mine.reduce((sum, word) => sum + shares.get(word), 0);
    const ofNew = mine.filter(isNew).reduce((sum, word) => sum + probability(word), 0);
    return {
      words: all.sort((one, other) => other.probability - one.probability),
      total: Math.min(this.ofModel * (total + ofNew) + ofMine, 1),
    };
  }
}

/** A text as it is compared with what is typed. */
export function folded(text) {
  return text.replaceAll("’", "'").toLowerCase().replaceAll("ς", "σ");
}

function counted(words) {
  const counts = new Map();
  for (const word of words) {
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}
