// A copy of the text under the text field, in which each word's background shows how much it surprised the model.

const NATS_PER_BIT = Math.LN2;
const MOST_BITS = 18;
const MOST_STRENGTH = 0.6;
const MARKED_MS = 2000;

/**
 * @param {HTMLElement} paper holds the coloured words.
 * @param {HTMLElement} summary shows the text's figures in words.
 * @param kind returns what the model reads: words, subwords or characters.
 */
export class Colours {
  #paper;
  #summary;
  #kind;
  #scored = ""; // the text that #words belong to, as it was sent
  #words = []; // {start, end, bits, unknown}, offsets in code points
  #drawn = []; // the pieces that the nodes on the paper show
  #shown = ""; // the text that they show
  #mark = { start: 0, word: "" }; // the word that is underlined
  #markTimer;

  constructor(paper, summary, kind) {
    this.#paper = paper;
    this.#summary = summary;
    this.#kind = kind;
  }

  /**
   * Requests the surprise of the whole words that have none yet, and shows it.
   *
   * @param {string} text the content of the text field.
   * @param {string} read the same text as the model is to read it.
   * @param {number} from where the part begins that is read; words before it keep the surprise that they have.
   * @param post asks for the surprise.
   * @param current returns whether the answer is still needed when it arrives.
   */
  async update(text, read, from, post, current) {
    let end = read.length; // of the whole words; a search for /\S*$/ takes a second after a word of 20,000 letters
    while (end > 0 && /\S/.test(read[end - 1])) {
      end -= 1;
    }
    const whole = read.slice(0, end);
    if (whole !== this.#scored) {
      // Words before the first change keep their surprise.
      let same = 0;
      const limit = Math.min(whole.length, this.#scored.length);
      while (same < limit && whole[same] === this.#scored[same]) {
        same += 1;
      }
      const points = Array.from(whole.slice(0, same)).length;
      const kept = this.#words.filter(({ end }) => end < points);
      const before = Array.from(whole.slice(0, from)).length;
      const start = Math.max((kept.at(-1)?.end ?? 0) - before, 0);
      const answer = await post("v1/score", { text: whole.slice(from), start });
      if (!current()) {
        return;
      }
      this.#scored = whole;
      const moved = answer.words.map((word) => ({ ...word, start: word.start + before, end: word.end + before }));
      this.#words = kept.concat(moved.map(surpriseOf));
      this.#describe(answer);
    }
    this.show(text);
  }

  /** Draws the text; a word that was changed since it was scored has no colour. */
  show(text) {
    this.#shown = text;
    const pieces = this.#pieces(text);
    let same = 0;
    while (same < pieces.length && pieces[same].key === this.#drawn[same]?.key) {
      same += 1;
    }
    while (this.#paper.childNodes.length > same) {
      this.#paper.lastChild.remove();
    }
    this.#paper.append(...pieces.slice(same).map(nodeOf));
    this.#drawn = pieces;
  }

  /** Underlines a word for a moment. */
  mark(start, word) {
    const show = (mark) => {
      this.#mark = mark;
      this.show(this.#shown);
    };
    clearTimeout(this.#markTimer);
    this.#markTimer = setTimeout(show, MARKED_MS, { start: 0, word: "" });
    show({ start, word });
  }

  /** Where the underlined word begins and ends, in code points; nowhere if the text has changed there. */
  #marked(text) {
    const { start, word } = this.#mark;
    const first = Array.from(text.slice(0, start)).length;
    return text.startsWith(word, start) ? [first, first + Array.from(word).length] : [0, 0];
  }

  #pieces(text) {
    const points = Array.from(text);
    const scored = Array.from(this.#scored);
    const mark = this.#marked(text);
    const plain = (from, to) => {
      const [first, last] = mark.map((place) => Math.min(Math.max(place, from), to));
      const part = (start, end, marked) => piece(points.slice(start, end).join(""), { marked });
      return [part(from, first, false), part(first, last, true), part(last, to, false)];
    };
    const pieces = [];
    let done = 0;
    for (const { start, end, bits, unknown } of this.#words) {
      const word = points.slice(start, end).join("");
      if (!word.trim()) {
        continue; // a line's end
      }
      if (word !== scored.slice(start, end).join("")) {
        break;
      }
      pieces.push(...plain(done, start), piece(word, { bits, unknown, marked: start < mark[1] && mark[0] < end }));
      done = end;
    }
    pieces.push(...plain(done, points.length));
    return pieces.filter(({ content }) => content);
  }

  #describe({ num_tokens: count, perplexity }) {
    if (!count) {
      this.#summary.textContent = "";
      return;
    }
    const digits = perplexity < 100 ? 1 : 0;
    const figure = perplexity.toLocaleString("en", { maximumFractionDigits: digits });
    const tokens = count === 1 ? this.#kind().slice(0, -1) : this.#kind();
    this.#summary.textContent = `perplexity ${figure} over ${count.toLocaleString("en")} ${tokens}`;
  }
}

function surpriseOf({ start, end, tokens }) {
  const nats = tokens.reduce((sum, { log_probability: value }) => sum - (value ?? 0), 0);
  return { start, end, bits: nats / NATS_PER_BIT, unknown: tokens.some(({ word }) => word === "<unk>") };
}

function piece(content, { bits = null, unknown = false, marked = false }) {
  return { content, bits, unknown, marked, key: `${bits}:${unknown}:${marked}:${content}` };
}

function nodeOf({ content, bits, unknown, marked }) {
  if (bits === null && !marked) {
    return document.createTextNode(content);
  }
  const node = document.createElement("span");
  node.textContent = content;
  node.classList.toggle("unknown", unknown);
  node.classList.toggle("corrected", marked);
  node.style.setProperty("--strength", Math.min(bits / MOST_BITS, 1) * MOST_STRENGTH);
  return node;
}
