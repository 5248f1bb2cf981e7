// The keyboard page: suggestions for the text before the caret, and the surprise of each whole word as its colour.
//
// Every question has a number. The answer to any but the newest question is ignored. The server keeps no session: each
// request contains the text.

import { Colours } from "./colours.js";
import { asWriter } from "./words.js";
import * as ofWords from "./words.js";
import * as asWritten from "./written.js";

const NUM_BARS = 10;
const LEAST_FULL_WIDTH = 0.1;
const STEP = 5000; // characters by which the beginning of what is sent of a long text moves on
const WAIT_AFTER_FAILURE_MS = [500, 1000, 2000, 4000];
const WAIT_BEFORE_READING_ALOUD_MS = 700;

const text = document.getElementById("text");
const keys = [...document.querySelectorAll("#keys button")];
const learn = document.getElementById("learn");
const title = document.getElementById("next-title");
const bars = document.getElementById("bars");
const notice = document.getElementById("notice");
const saved = document.getElementById("saved");
const announcement = document.getElementById("announcement");
let kind = "words"; // what the model reads: words, subwords or characters
let writing = ofWords; // how its suggestions are shown and put
let limit = Infinity; // the most characters of a text that the server reads
let met = false; // whether the two are known
const colours = new Colours(document.getElementById("surprise"), document.getElementById("summary"), () => kind);

let asked = 0; // number of the newest question
let caret = 0; // where the newest question was asked from
let offered = null; // {before, prefix}: the text that the keys are for, and the unfinished word at its end
let failures = 0;
let pressed = 0; // keys: those typed, those that deleted, and one for each word taken
let length = 0; // of the text that they made
let takes = false; // whether a word is being taken
let retryTimer, announceTimer;

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) {
    throw Object.assign(new Error(answer.error), { status: response.status });
  }
  return answer;
}

/** Learns what is served. */
async function meet() {
  const { name, tokens, vocabulary_size: size, max_characters: most } = await (await fetch("version")).json();
  kind = tokens;
  limit = most;
  writing = kind === "words" ? ofWords : asWritten;
  document.querySelector("#legend .unknown").hidden = kind !== "words";
  if (name) {
    document.title = `${name} – kerasptb keyboard`;
    document.querySelector("h1").textContent = name;
  }
  document.getElementById("model").textContent = `a language model of ${size.toLocaleString("en")} ${kind}`;
  met = true;
}

/** Where the part of a text begins that is sent: its end, as far as the server reads; no model remembers all of it. */
function startOf(whole) {
  if (whole.length <= limit) {
    return 0;
  }
  // Moved in steps: the server remembers what it has read from one beginning.
  const least = Math.ceil((whole.length - limit) / STEP) * STEP;
  const start = least + Math.max(whole.slice(least).search(/\s/) + 1, 0);
  return /[\uDC00-\uDFFF]/.test(whole[start]) ? start + 1 : start;
}

/** Asks for suggestions and colours of the text as it is now. */
async function refresh() {
  clearTimeout(retryTimer);
  const question = ++asked;
  const current = () => question === asked;
  const whole = text.value;
  caret = text.selectionStart;
  const before = whole.slice(0, caret);
  colours.show(whole);
  try {
    if (!met) {
      await meet();
    }
    const { sentences } = writing;
    const sent = sentences(before.slice(startOf(before)));
    const answer = await post("v1/suggest", { text: sent, k: NUM_BARS, learn: learn.checked });
    if (!current()) {
      return;
    }
    offered = { before, prefix: answer.prefix, question };
    showSuggestions(answer);
    await colours.update(whole, sentences(whole), startOf(whole), post, current);
    if (current()) {
      failures = 0;
      notice.textContent = "";
    }
  } catch (error) {
    if (!current()) {
      return;
    }
    if (offered?.question === question && refused(error)) {
      failures = 0;
      notice.textContent = error.message; // the error is about the text after the caret: the keys are right
    } else {
      fail(error);
    }
  }
}

function showSuggestions(answer) {
  const { before, prefix } = offered;
  const label = (word) => asWriter(writing.label(word, prefix, before), before);
  const labels = new Set();
  const words = answer.suggestions.filter(({ word }) => {
    // Two words of the model may have the same label, for example at a sentence's beginning.
    const name = label(word);
    return !labels.has(name) && labels.add(name);
  });
  keys.forEach((key, i) => {
    const word = words[i]?.word;
    key.disabled = word === undefined;
    key.dataset.word = word ?? "";
    key.textContent = word === undefined ? "" : label(word);
  });
  title.textContent = prefix ? `Words that begin with “${prefix}”` : "Next word";
  showBars(answer, label);
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => {
    const names = keys.filter((key) => !key.disabled).map((key) => key.textContent);
    announcement.textContent = names.length ? `Suggestions: ${names.join(", ")}` : "No suggestions";
  }, WAIT_BEFORE_READING_ALOUD_MS);
}

/** Shows the probability of each word, given the letters that it begins with. */
function showBars({ suggestions, prefix, prefix_probability: total }, label) {
  const shares = suggestions.map(({ probability }) => (prefix ? Math.min(probability / total, 1) : probability));
  // The longest bar is full even for a small probability, but not below a limit: 1 % should not look certain.
  const widest = Math.max(shares[0] ?? 0, LEAST_FULL_WIDTH);
  while (bars.children.length > suggestions.length) {
    bars.lastChild.remove();
  }
  suggestions.forEach(({ word }, i) => {
    const row = bars.children[i] ?? bars.appendChild(newBar());
    const [name, bar, value] = row.children;
    const share = shares[i];
    bar.style.setProperty("--share", share / widest);
    name.textContent = label(word); // as on the keys
    value.textContent = share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
  });
}

function newBar() {
  const row = document.createElement("li");
  for (const name of ["word", "bar", "value"]) {
    row.appendChild(document.createElement("span")).className = name;
  }
  return row;
}

function accept(key) {
  const now = text.value.slice(0, text.selectionStart);
  // Letters typed since the key was shown belong to the word that it replaces. After any other change the key is for
  // another text.
  if (key.disabled || !now.startsWith(offered.before) || /\s/.test(now.slice(offered.before.length))) {
    return;
  }
  const { from, insert: plain } = writing.accepted(key.dataset.word, offered.prefix, offered.before);
  const insert = asWriter(plain, offered.before);
  text.focus();
  // Text that is there already is not replaced: after Undo the browser would select it, and the next letter delete it.
  const there = text.value.slice(from, text.selectionEnd);
  const kept = insert.startsWith(there) ? there.length : 0;
  text.setSelectionRange(from + kept, text.selectionEnd);
  takes = true;
  // Deprecated, but the only way that supports Undo. It fires the input event itself.
  if (!document.execCommand("insertText", false, insert.slice(kept))) {
    text.setRangeText(insert.slice(kept), from + kept, text.selectionEnd, "end");
    text.dispatchEvent(new Event("input"));
  }
  takes = false;
}

/** Counts the keys that a change took, and shows how many were saved. Pasted text is as if it had been typed. */
function count() {
  const change = text.value.length - length;
  length = text.value.length;
  pressed = length === 0 ? 0 : pressed + (takes ? 1 : Math.max(change, 1));
  const gain = length - pressed;
  saved.textContent = gain > 0 ? `${gain} of ${length} keystrokes saved (${Math.round((100 * gain) / length)} %)` : "";
}

/** Whether an error is caused by the text, so that asking again would not help. */
function refused({ status }) {
  return status !== undefined && status !== 429 && status < 500;
}

/** Shows a notice of what is wrong, and tries again if that may help. */
function fail(error) {
  const { status, message } = error;
  if (!refused(error)) {
    const wait = WAIT_AFTER_FAILURE_MS[Math.min(failures, WAIT_AFTER_FAILURE_MS.length - 1)];
    failures += 1;
    notice.textContent = status === undefined ? "The server does not answer. Trying again…" : message;
    retryTimer = setTimeout(refresh, wait);
  } else {
    notice.textContent = message;
  }
  for (const key of keys) {
    key.disabled = true;
    key.textContent = "";
    key.removeAttribute("aria-label");
  }
  clearTimeout(announceTimer);
  announcement.textContent = "";
}

text.addEventListener("input", () => {
  count();
  refresh();
});
learn.addEventListener("change", refresh);
document.addEventListener("selectionchange", () => {
  // If the caret moves without a change of the text, the words before it are different ones.
  if (document.activeElement === text && text.selectionStart !== caret) {
    refresh();
  }
});
document.addEventListener("keydown", (event) => {
  // The key is identified by its place, because Alt and a digit give another character on some keyboards.
  const digit = /^Digit([1-3])$/.exec(event.code);
  if (digit && event.altKey && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    accept(keys[digit[1] - 1]);
  }
});
for (const key of keys) {
  // The text keeps the focus; otherwise a phone would hide its keyboard.
  key.addEventListener("pointerdown", (event) => event.preventDefault());
  key.addEventListener("click", () => accept(key));
}

refresh();
