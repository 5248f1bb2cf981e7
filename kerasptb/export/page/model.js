// The model in the page: its runtime, which is C compiled to WebAssembly (wasm.c), and contexts that are kept.

const PAGE_BYTES = 65536; // of WebAssembly's memory
const SLICE_MS = 12; // a long text is read in slices, between which the page draws
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // which would else leave out a first U+FEFF

export class Model {
  #c; // the functions of wasm.c
  #contexts = []; // {slot, tokens, values}: a context after tokens, and the log probability of each; the newest last
  #pieces = new Map();
  #remembered = []; // words that the runtime has, see `meant`

  /**
   * @param {Uint8Array} runtime wasm.c, compiled.
   * @param {Uint8Array} image the model's tables: the number of their pointers, the place of each, and the tables, in
   *   which a pointer is an offset.
   */
  static async open(runtime, image) {
    const { instance } = await WebAssembly.instantiate(runtime);
    const { memory, load, open } = instance.exports;
    const room = (bytes) => memory.grow(Math.ceil(bytes / PAGE_BYTES)) * PAGE_BYTES;
    const at = room(image.byteLength);
    new Uint8Array(memory.buffer, at, image.byteLength).set(image);
    open(room(load(at)));
    return new Model(instance.exports);
  }

  constructor(functions) {
    this.#c = functions;
  }

  /** Returns a text with the signs that the model knows. */
  read(text) {
    return this.#written(this.#c.text(), this.#take(text));
  }

  /** Splits a text into what is whole, with its tokens, and the letters of the word that is being typed. */
  split(text) {
    const size = this.#take(text);
    this.#c.split(size);
    const whole = this.#c.typed_whole();
    const typed = this.#c.typed_size();
    return {
      whole: this.#written(this.#c.text(), whole),
      typed: this.#written(this.#c.text() + size - typed, typed),
      tokens: this.#encoded(whole),
    };
  }

  /** Returns the tokens of a text that begins a paragraph. */
  encode(text) {
    return this.#encoded(this.#take(text));
  }

  /** Returns what a token writes. */
  piece(token) {
    if (!this.#pieces.has(token)) {
      const size = this.#c.piece_size(token);
      this.#pieces.set(token, { size, text: this.#written(this.#c.piece(token), size) });
    }
    return this.#pieces.get(token);
  }

  /**
   * Returns the log probability of each of some tokens, and keeps the context after them.
   *
   * @param {number[]} tokens
   * @param check is called after each slice; what it throws ends the reading.
   */
  async score(tokens, check) {
    const longer = this.#contexts.findLast((context) => beginsWith(context.tokens, tokens));
    return (longer ?? (await this.#after(tokens, check))).values.slice(0, tokens.length);
  }

  /**
   * Returns words that begin as the end of a text, the likeliest first, the probability that one does, and that of a
   * token.
   *
   * @param {string} text
   * @param {number[]} tokens of what is whole, as `split` gives them.
   * @param {number} count how many words are searched for; those that are met besides come too.
   * @param check as of `score`.
   */
  async suggest(text, tokens, count, check) {
    const { slot } = await this.#after(tokens, check);
    this.#c.split(this.#take(text)); // another text may have been split meanwhile
    return {
      ...this.#found(this.#c.suggest(slot, count)),
      logProbability: (token) => this.#c.log_probability(slot, token),
    };
  }

  /**
   * Returns what the end of a text may stand for if it is typed with errors; null if it is too long to be looked for.
   *
   * @param {string} text
   * @param {number[]} tokens as of `suggest`, like the next.
   * @param {number} count
   * @param {number} layout of the keys.
   * @param {string[]} remembered words that were used before: those that the search meets come too.
   * @param check as of `score`.
   * @returns {ended, begun, mayBeWords, margin}: the likeliest word if that is all of it, and words that may go on;
   *   whether each letter is one of the model's, or may be a slip; by how much a word must be likelier to be written
   *   instead. Of what is found, each probability is that it comes and is typed so: of `words`, of all in
   *   `total`, of what is typed in `literal`. There are the `likelihoods` of what is typed for each remembered word, 0
   *   for one with a letter that the model lacks, and that of a word which is typed `exact`ly.
   */
  async meant(text, tokens, count, layout, remembered, check) {
    const { slot } = await this.#after(tokens, check);
    this.#c.split(this.#take(text));
    if (!this.#c.tap(layout)) {
      return null;
    }
    const size = this.#remember(remembered);
    const find = (isWhole, number) => ({
      ...this.#found(this.#c.meant(slot, isWhole, number, size)),
      literal: this.#c.literal(),
      likelihoods: new Float64Array(this.#c.memory.buffer, this.#c.likelihoods(), size).slice(),
      exact: this.#c.exact(),
    });
    return {
      ended: find(true, 1),
      begun: find(false, count),
      mayBeWords: this.#c.may_be_words() !== 0,
      margin: this.#c.margin(),
    };
  }

  #found(length) {
    const words = Array.from({ length }, (_, i) => this.#word(i));
    return { words, total: Math.min(this.#c.total(), 1) };
  }

  /** Gives the runtime words, unless it has them; returns how many it takes. */
  #remember(words) {
    if (words !== this.#remembered) {
      const room = new Uint8Array(this.#c.memory.buffer, this.#c.remembered(), this.#c.remembered_room());
      const ends = new Int32Array(this.#c.memory.buffer, this.#c.ends(), this.#c.most_remembered());
      words.forEach((word, i) => {
        const begin = i ? ends[i - 1] : 0;
        ends[i] = begin + encoder.encodeInto(word, room.subarray(begin)).written;
      });
      new Uint32Array(this.#c.memory.buffer, this.#c.hashes(words.length), words.length).sort();
      this.#remembered = words;
    }
    return words.length;
  }

  /** Returns the context after tokens; of what was read before, only what follows is read. */
  async #after(tokens, check) {
    const context = this.#begun(tokens);
    let end = performance.now() + SLICE_MS;
    while (context.tokens.length < tokens.length) {
      const token = tokens[context.tokens.length];
      context.values.push(this.#c.log_probability(context.slot, token));
      this.#c.read(context.slot, token);
      context.tokens.push(token);
      if (performance.now() > end) {
        await new Promise((resolve) => setTimeout(resolve));
        check();
        end = performance.now() + SLICE_MS;
      }
    }
    return context;
  }

  /** Returns the context after the most of some tokens: itself if it is after all of them, else a copy to read on. */
  #begun(tokens) {
    const before = this.#contexts
      .filter((context) => beginsWith(tokens, context.tokens))
      .reduce((most, context) => (context.tokens.length > (most?.tokens.length ?? 0) ? context : most), null);
    if (before?.tokens.length === tokens.length) {
      this.#contexts.push(...this.#contexts.splice(this.#contexts.indexOf(before), 1)); // the newest
      return before;
    }
    const full = this.#contexts.length === this.#c.num_contexts();
    const slot = full ? this.#contexts.shift().slot : this.#contexts.length;
    if (before) {
      this.#c.copy(slot, before.slot);
    } else {
      this.#c.begin(slot);
    }
    const context = { slot, tokens: [...(before?.tokens ?? [])], values: [...(before?.values ?? [])] };
    this.#contexts.push(context);
    return context;
  }

  #word(i) {
    return { word: this.#string(this.#c.word(i)), probability: this.#c.word_probability(i) };
  }

  #string(at) {
    const bytes = new Uint8Array(this.#c.memory.buffer, at);
    return decoder.decode(bytes.subarray(0, bytes.indexOf(0)));
  }

  /** Gives the runtime a text, which it reads with the signs that it knows; returns the bytes of the result. */
  #take(text) {
    const room = new Uint8Array(this.#c.memory.buffer, this.#c.given(), this.#c.room());
    return this.#c.read_signs(encoder.encodeInto(text, room).written);
  }

  #encoded(size) {
    const count = this.#c.encode(size);
    return Array.from(new Int32Array(this.#c.memory.buffer, this.#c.tokens(), count));
  }

  #written(at, size) {
    return decoder.decode(new Uint8Array(this.#c.memory.buffer, at, size));
  }
}

function beginsWith(tokens, beginning) {
  return beginning.length <= tokens.length && beginning.every((token, i) => token === tokens[i]);
}
