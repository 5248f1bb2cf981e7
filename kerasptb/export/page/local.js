// What the page asks, answered by the model that is in it as the server answers: this module is in the place of
// serving/page/server.js.

import { Learned } from "./learned.js";
import { Memory, folded } from "./memory.js";
import { Model } from "./model.js";
import { SPACE } from "./space.js";
import { placesOf, unitsOf } from "./units.js";

/** Three keys have words with so many, of which two may differ in a capital alone. */
export const AT_ONCE = 4;

const MAX_CHARACTERS = 20000;
const TOO_OLD = "This browser is too old for this page, which needs WebAssembly with SIMD and DecompressionStream: "
  + "open it in a browser of 2023 or later.";
const DAMAGED = "This page is damaged: get the file again.";
const BETWEEN_WORDS = new RegExp(`[${SPACE}]`, "u");
const NOT_KEPT = "This browser does not let the page keep anything.";

const opening = document.getElementById("opening");
const main = document.querySelector("main");
const learn = document.getElementById("learn");
let newest = 0; // number of the newest request for words: what was asked before is no longer read for
const opened = open();
opened.then(show, ({ message }) => {
  opening.textContent = message;
  opening.className = "failed";
});

/** Learns what model it is. */
export async function version() {
  const { about } = await opened;
  return { ...about, max_characters: MAX_CHARACTERS };
}

/** Answers a request as the server does. */
export async function post(path, body) {
  const model = await opened;
  const number = path === "v1/suggest" ? ++newest : newest;
  const check = () => {
    if (number !== newest) {
      throw new Error("Another request came.");
    }
  };
  return (path === "v1/suggest" ? suggest : score)(model, body, check);
}

async function suggest({ model, about, learned }, { text, k, learn: learns, typos }, check) {
  const { whole, tokens, typed } = model.split(text);
  const memory = learns ? learned.after(whole) : new Memory([]);
  const layout = typed ? about.layouts.indexOf(typos) : -1;
  const meant = layout < 0 ? null : await model.meant(text, tokens, k, layout, memory.lexicon, check);
  let found = { words: [], total: 0 };
  if (!meant?.mayBeWords) {
    found = learned.mixed(await model.suggest(text, tokens, k, check), memory, typed);
  }
  if (meant && !found.words.length) {
    found = learned.mixedMeant(meant.begun, memory, typed, false);
  }
  const begins = folded(layout < 0 ? "" : typed);
  return {
    suggestions: found.words.slice(0, k).map((each) => ({ ...each, corrects: !folded(each.word).startsWith(begins) })),
    prefix: endOf(text, Array.from(typed).length, about.signs),
    prefix_probability: found.total,
    correction: meant && correctionOf(learned.mixedMeant(meant.ended, memory, typed, true).words, typed, meant.margin),
  };
}

/** What should be written instead of what is typed, by words the likeliest first; null if it stays. */
function correctionOf(words, typed, margin) {
  const [one, other] = [words.find(({ word }) => word === typed), words.find(({ word }) => word !== typed)];
  return other?.probability > one.probability * margin ? { word: other.word } : null;
}

/** The end of a text's last word as it was typed, of which so many characters are read. */
function endOf(text, size, signs) {
  const word = text.split(BETWEEN_WORDS).at(-1); // a search for /\S*$/ takes a second after a word of 20,000 letters
  return Array.from(word).slice(placesOf(word, signs).at(-1 - size)).join("");
}

async function score({ model, about }, { text, start }, check) {
  const units = unitsOf(model, about, text.replace(/ +$/, ""));
  const tokens = units.flatMap((unit) => unit.tokens);
  const values = await model.score(tokens, check);
  if (about.eos_id === null && values.length) {
    values[0] = null; // the model does not know how a text begins
  }
  const points = Array.from(text);
  let done = 0;
  const words = units.map((unit) => ({
    text: points.slice(unit.start, unit.end).join(""),
    start: unit.start,
    end: unit.end,
    tokens: unit.tokens.map((token) => ({ word: nameOf(model, about, token), log_probability: values[done++] })),
  }));
  const known = values.filter((value) => value !== null);
  const total = known.reduce((sum, value) => sum + value, 0);
  return {
    words: words.filter((word) => word.start >= start),
    num_tokens: tokens.length,
    log_probability: total,
    perplexity: Math.exp(Math.min(-total / Math.max(known.length, 1), 700)),
  };
}

function nameOf(model, { eos_id: end }, token) {
  const { text } = model.piece(token);
  return token === end ? "<eos>" : text.replace(/^ (?=.)/s, "");
}

/** Opens the model; an error's message is a sentence for whoever opened the page. */
async function open() {
  if (!globalThis.WebAssembly || !globalThis.DecompressionStream) {
    throw new Error(TOO_OLD);
  }
  const parts = ["about", "runtime", "model"].map(unpacked);
  const [about, runtime, image] = await Promise.all(parts).catch((error) => {
    console.error(error);
    throw new Error(DAMAGED);
  });
  const model = await Model.open(runtime, image).catch((error) => {
    console.error(error);
    throw new Error(error instanceof WebAssembly.CompileError ? TOO_OLD : DAMAGED);
  });
  const said = JSON.parse(new TextDecoder().decode(about));
  return { model, about: said, learned: new Learned(model, said) };
}

/** Returns the bytes of an element, which are compressed: gzip has a sum over all of them, and is refused if one is wrong. */
async function unpacked(name) {
  const element = document.getElementById(`gzip-${name}`);
  const letters = atob(element.textContent);
  element.remove(); // its text is not needed any more
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i += 1) {
    bytes[i] = letters.charCodeAt(i);
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function show({ learned }) {
  opening.remove();
  main.hidden = false;
  showWhatIsKept(learned);
  if (window === window.parent) {
    document.getElementById("text").focus(); // a page around this one has the focus
  }
}

/** Lets the writer say that the words are kept in this browser, or forgotten. */
function showWhatIsKept(learned) {
  const row = document.getElementById("remembering");
  const box = row.querySelector("input");
  const help = document.getElementById("remember-help");
  const usual = help.textContent;
  row.hidden = false;
  box.checked = learned.isKept;
  learn.checked = learned.isKept;
  box.addEventListener("change", () => {
    if (box.checked) {
      learned.keep();
      box.checked = learned.isKept;
      learn.checked ||= box.checked;
      help.textContent = box.checked ? usual : NOT_KEPT;
    } else {
      learned.forget();
    }
    learn.dispatchEvent(new Event("change"));
  });
}
