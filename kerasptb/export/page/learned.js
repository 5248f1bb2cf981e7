// What the page has learned of its writer. It is kept while the page is open, and in the browser only if that is asked.

import { Memory, UNK, folded, remembered } from "./memory.js";
import { SPACE, isBlank } from "./space.js";

const EOS = "<eos>";
// The tokens of data/tokenizers/ptb_words.py, between which a word is cut before a clitic, and what words have in them.
const TOKENS = /(?:n't|'(?:s|re|ve|ll|d|m))(?![\p{L}\p{M}\p{N}_])|[\p{L}\p{M}\p{N}_]+(?:[.-][\p{L}\p{M}\p{N}_]+)*|[^']/giu;
const CLITIC = /(?<=[\p{L}\p{M}\p{N}_])(?=(?:n't|'(?:s|re|ve|ll|d|m))(?![\p{L}\p{M}\p{N}_]))/iu;
const PARTS = new RegExp(`\\n|[^${SPACE}]+`, "gu");
const OF_WORD = /[\p{L}\p{M}\p{N}_$%&]/u;

export class Learned {
  #model;
  #about;
  #words = []; // of the texts before this one
  #ofWord; // matches words as the model's pieces write them, or signs, or a line's end
  #tokens = new Map(); // of words, in a vocabulary of words
  #last = { text: "", memory: new Memory(remembered([], [])) };

  constructor(model, about) {
    this.#model = model;
    this.#about = about;
    this.#ofWord = new RegExp(`(?:(?!${about.unspaced})[\\p{L}\\p{M}\\p{N}'’\u200c\u200d-])+|\\n|[^${SPACE}]`, "gu");
    this.#words = this.#stored() ?? [];
  }

  /** Whether the words are kept in the browser. */
  get isKept() {
    return this.#stored() !== null;
  }

  /** Keeps the words in the browser. */
  keep() {
    store(this.#key, JSON.stringify(this.#last.memory.words));
  }

  /** Forgets all but the words of the text that is there. */
  forget() {
    store(this.#key, null);
    this.#words = [];
    this.#last = { text: "", memory: new Memory(remembered([], [])) };
  }

  /** Returns the `Memory` after the whole words of a text; one that does not go on from the last is another text. */
  after(text) {
    if (text !== this.#last.text) {
      const { value, selectionEnd } = document.getElementById("text");
      if (!isBlank(value.slice(selectionEnd)) || (!text && 2 * value.length > this.#last.text.length)) {
        // The caret is within the text, or in its first word.
        return new Memory(remembered(this.#words, this.#wordsOf(text)));
      }
      if (!text) {
        this.#words = this.#last.memory.words;
      }
      this.#last = { text, memory: new Memory(remembered(this.#words, this.#wordsOf(text))) };
      if (this.isKept) {
        this.keep();
      }
    }
    return this.#last.memory;
  }

  /** Mixes what begins as typed with a `Memory`. */
  mixed(found, memory, typed) {
    const begins = folded(typed);
    const likelihoods = memory.lexicon.map((word) => Number(folded(word).startsWith(begins)));
    const ofModel = this.#about.tokens === "words" ? this.#ofTokens(found, memory) : ofFound(found);
    return memory.mixed(found, this.#about.exclude, likelihoods, ofModel);
  }

  /** Mixes what may be meant with a `Memory`. One with a letter that the model lacks is found as it is typed. */
  mixedMeant(found, memory, typed, isWhole) {
    const begins = folded(typed);
    const isTyped = (word) => (isWhole ? folded(word) === begins : folded(word).startsWith(begins));
    const likelihoods = memory.lexicon.map((word, i) => found.likelihoods[i] || (isTyped(word) ? found.exact : 0));
    const words = found.words.filter(({ word }) => word !== typed);
    const withLiteral = { ...found, words: [...words, { word: typed, probability: found.literal }] };
    return memory.mixed(withLiteral, this.#about.exclude, likelihoods, ofFound(withLiteral));
  }

  /** Words that are tokens have their own probability; those that the model cannot write share that of `<unk>`. */
  #ofTokens({ logProbability }, { counts }) {
    const { unk_id: unknown } = this.#about;
    const isNew = (word) => word !== UNK && this.#token(word) === unknown;
    const times = [...counts].filter(([word]) => isNew(word)).map(([, count]) => count);
    const ofNew = unknown === null ? 0 : Math.exp(logProbability(unknown)) / (sum(times) + times.length);
    const probability = (word) => (isNew(word) ? ofNew * counts.get(word) : Math.exp(logProbability(this.#token(word))));
    return { probability, isNew };
  }

  #token(word) {
    if (!this.#tokens.has(word)) {
      const tokens = word === EOS ? [this.#about.eos_id] : this.#model.encode(word);
      this.#tokens.set(word, tokens.length === 1 ? tokens[0] : this.#about.unk_id);
    }
    return this.#tokens.get(word);
  }

  /** The words of a text as keys show them. */
  #wordsOf(text) {
    if (this.#about.tokens !== "words") {
      return (text.match(this.#ofWord) ?? []).map((word) => (word === "\n" ? EOS : word));
    }
    return (text.match(PARTS) ?? []).flatMap((part) => (part === "\n" ? [EOS] : this.#known(part)));
  }

  /** The words of a part of a text as the vocabulary has them, else as they were typed. */
  #known(part) {
    const tokens = this.#model.encode(part);
    if (!tokens.includes(this.#about.unk_id)) {
      return tokens.map((token) => this.#model.piece(token).text.replace(/^ /, ""));
    }
    const words = part.replaceAll("’", "'").split(CLITIC).flatMap((text) => text.match(TOKENS) ?? []);
    if (words.length === 1 && words[0] === part) {
      return OF_WORD.test(part) ? [part] : [];
    }
    return words.flatMap((word) => this.#known(word));
  }

  get #key() {
    return `kerasptb ${this.#about.name}`;
  }

  #stored() {
    try {
      const words = JSON.parse(localStorage.getItem(this.#key));
      return words?.every((word) => typeof word === "string") ? words : null;
    } catch {
      return null; // damaged, or the browser keeps nothing
    }
  }
}

/** What was found has a probability of the model, other words none. */
function ofFound({ words }) {
  const known = new Map(words.map(({ word, probability }) => [word, probability]));
  return { probability: (word) => known.get(word) ?? 0, isNew: () => false };
}

function store(key, value) {
  try {
    if (value === null) {
      localStorage.removeItem(key);
    } else {
      localStorage.setItem(key, value);
    }
  } catch {
    // the browser keeps nothing, or has no room
  }
}

function sum(values) {
  return values.reduce((one, other) => one + other, 0);
}
