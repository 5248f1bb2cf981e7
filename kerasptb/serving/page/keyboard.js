// The keyboard page: suggestions for the text before the caret, and the surprise of each whole word as its colour.
//
// Every question has a number. The answer to any but the newest question is ignored. Who answers keeps no session: each
// question contains the text.

import { Colours } from "./colours.js";
import { Corrections } from "./corrections.js";
import { AT_ONCE, post, version } from "./server.js";
import { asWriter } from "./words.js";
import * as ofWords from "./words.js";
import * as asWritten from "./written.js";

const NUM_BARS = 10;
const LEAST_FULL_WIDTH = 0.1;
const STEP = 5000; // characters by which the beginning of what is sent of a long text moves on
const WAIT_AFTER_FAILURE_MS = [500, 1000, 2000, 4000];
const WAIT_BEFORE_READING_ALOUD_MS = 700;
const WAIT_BEFORE_BARS_MS = 60;

const text = document.getElementById("text");
const keys = [...document.querySelectorAll("#keys button")];
const learn = document.getElementById("learn");
const typos = document.getElementById("typos");
const title = document.getElementById("next-title");
const bars = document.getElementById("bars");
const notice = document.getElementById("notice");
const saved = document.getElementById("saved");
const announcement = document.getElementById("announcement");
let kind = "words"; // what the model reads: words, subwords or characters
let writing = ofWords; // how its suggestions are shown and put
let limit = Infinity; // the most characters of a text that are read
let met = false; // whether the two are known
const colours = new Colours(document.getElementById("surprise"), document.getElementById("summary"), () => kind);
const corrections = new Corrections(text, () => typos.value !== "", (...word) => writing.corrected(...word), replace, tell);

let asked = 0; // number of the newest question
let newest = { before: "", answer: Promise.resolve({}) }; // the text before the caret, and the promise of its answer
let offered = null; // {before, offers}: the text that the keys are for, and what is on them
let failures = 0;
let pressed = 0; // keys: those typed, those that deleted, and one for each word taken
let length = 0; // of the text that they made
let cost = null; // keys that the change under way took; null if it is typed
let retryTimer, announceTimer;

/** Learns what is served. */
async function meet() {
  const { name, tokens, vocabulary_size: size, max_characters: most, layouts } = await version();
  kind = tokens;
  limit = most;
  writing = kind === "words" ? ofWords : asWritten;
  document.querySelector("#legend .unknown").hidden = kind !== "words";
  if (name) {
    document.title = `${name} – kerasptb keyboard`;
    document.querySelector("h1").textContent = name;
  }
  document.getElementById("model").textContent = `a language model of ${size.toLocaleString("en")} ${kind}`;
  document.getElementById("correcting").hidden = !layouts.length;
  // A model of words has few and no capitals: it would take names and rare words for errors.
  typos.value = kind === "words" || !layouts.length ? "" : "qwerty";
  typos.disabled = false;
  met = true;
}

/** Where the part of a text begins that is sent: its end, as far as it is read; no model remembers all of it. */
function startOf(whole) {
  if (whole.length <= limit) {
    return 0;
  }
  // Moved in steps: what was read from one beginning is remembered.
  const least = Math.ceil((whole.length - limit) / STEP) * STEP;
  const start = least + Math.max(whole.slice(least).search(/\s/) + 1, 0);
  return /[\uDC00-\uDFFF]/.test(whole[start]) ? start + 1 : start;
}

/** Asks for words after a text. */
async function ask(before, count = Math.min(AT_ONCE, NUM_BARS)) {
  if (!met) {
    await meet();
  }
  const sent = writing.sentences(before.slice(startOf(before)));
  return post("v1/suggest", { text: sent, k: count, learn: learn.checked, typos: typos.value || null });
}

/** Asks for suggestions and colours of the text as it is now. */
async function refresh() {
  clearTimeout(retryTimer);
  const question = ++asked;
  const current = () => question === asked;
  const whole = text.value;
  const before = whole.slice(0, text.selectionStart);
  newest = { before, answer: ask(before) };
  colours.show(whole);
  try {
    const answer = await newest.answer;
    if (!current()) {
      return;
    }
    offered = { before, offers: offersOf(answer, before), question };
    showSuggestions(answer, before);
    await colours.update(whole, writing.sentences(whole), startOf(whole), post, current);
    if (current()) {
      failures = 0;
      notice.textContent = "";
    }
    if (AT_ONCE < NUM_BARS) {
      await showAllBars(before, current);
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

/** How a suggestion is written. */
function labelOf({ word, corrects }, prefix, before) {
  const lead = before.slice(0, before.length - prefix.length);
  return asWriter(corrects ? writing.corrected(word, prefix, lead) : writing.label(word, prefix, before), before);
}

/**
 * What may be on the keys, {name, from, insert}: a label, what its key writes, and from where.
 *
 * Where a space would correct the word, what was typed comes first, and then what the space would write.
 */
function offersOf(answer, before) {
  const { prefix } = answer;
  const instead = corrections.offer(answer, before);
  const whole = (word) => ({ name: word, from: before.length - prefix.length, insert: `${word} ` });
  const offers = answer.suggestions.map((suggestion) => {
    const name = labelOf(suggestion, prefix, before);
    const { from, insert } = suggestion.corrects ? whole(name) : writing.accepted(suggestion.word, prefix, before);
    return { name, from, insert: asWriter(insert, before) };
  });
  // Two words of the model may have the same label, for example at a sentence's beginning.
  const names = new Set(instead === null ? [] : [prefix, instead]);
  const others = offers.filter(({ name }) => !names.has(name) && names.add(name));
  if (instead === null) {
    return others;
  }
  return [{ ...whole(prefix), name: `“${prefix}”`, keeps: prefix }, { ...whole(instead), instead }, ...others];
}

function showSuggestions(answer, before) {
  const { prefix } = answer;
  keys.forEach((key, i) => {
    const offer = offered.offers[i];
    key.disabled = offer === undefined;
    key.textContent = offer?.name ?? "";
    key.classList.toggle("instead", offer?.instead !== undefined);
  });
  const how = typos.value ? "Words for" : "Words that begin with";
  title.textContent = prefix ? `${how} “${prefix}”` : "Next word";
  if (AT_ONCE >= NUM_BARS) {
    showBars(answer, before);
  }
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => {
    const names = keys.filter((key) => !key.disabled).map((key) => key.textContent);
    announce(names.length ? `Suggestions: ${names.join(", ")}` : "No suggestions");
  }, WAIT_BEFORE_READING_ALOUD_MS);
}

/** Has a sentence read aloud. */
function announce(sentence) {
  clearTimeout(announceTimer); // what it would say is about the text before
  announcement.textContent = sentence;
}

/** Shows the probability of each word, given what is typed of it. */
function showBars({ suggestions, prefix, prefix_probability: total }, before) {
  const shares = suggestions.map(({ probability }) => (prefix ? Math.min(probability / total, 1) || 0 : probability));
  // The longest bar is full even for a small probability, but not below a limit: 1 % should not look certain.
  const widest = Math.max(shares[0] ?? 0, LEAST_FULL_WIDTH);
  while (bars.children.length > suggestions.length) {
    bars.lastChild.remove();
  }
  suggestions.forEach((suggestion, i) => {
    const row = bars.children[i] ?? bars.appendChild(newBar());
    const [name, bar, value] = row.children;
    const share = shares[i];
    bar.style.setProperty("--share", share / widest);
    name.textContent = labelOf(suggestion, prefix, before); // as on the keys
    value.textContent = share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
  });
}

/** Asks for more words than the keys have, unless a letter follows at once, and shows their bars. */
async function showAllBars(before, current) {
  await new Promise((resolve) => setTimeout(resolve, WAIT_BEFORE_BARS_MS));
  const answer = current() ? await ask(before, NUM_BARS) : null;
  if (current()) {
    showBars(answer, before);
  }
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
  const { from, insert, keeps } = offered.offers[keys.indexOf(key)];
  if (keeps !== undefined) {
    corrections.keep(keeps);
  }
  text.focus();
  replace(from, text.selectionEnd, insert, 1);
}

/** Puts a text in place of another, for a number of keys pressed. The caret stays, or comes behind it. */
function replace(from, to, insert, pressedKeys) {
  const moved = (place) => (place < from ? place : Math.max(place, to) + insert.length - (to - from));
  const caret = [moved(text.selectionStart), moved(text.selectionEnd), text.selectionDirection];
  // Text that is there already is not replaced: after Undo the browser would select it, and the next letter delete it.
  const there = text.value.slice(from, to);
  const kept = insert.startsWith(there) ? there.length : 0;
  text.setSelectionRange(from + kept, to);
  cost = pressedKeys;
  // Deprecated, but the only way that supports Undo. It fires the input event itself.
  if (!document.execCommand("insertText", false, insert.slice(kept))) {
    text.setRangeText(insert.slice(kept), from + kept, to, "end");
    text.dispatchEvent(new Event("input"));
  }
  cost = null;
  text.setSelectionRange(...caret);
  refresh();
}

/** Shows and says that a word was corrected, or put back if none is written instead. */
function tell(start, typed, written, canGoBack) {
  colours.mark(start, written ?? "");
  const hint = canGoBack ? " Backspace puts it back." : "";
  announce(written === null ? `Put back ${typed}.` : `Corrected ${typed} to ${written}.${hint}`);
}

/** Counts the keys that a change took, and shows how many were saved. Pasted text is as if it had been typed. */
function count() {
  const change = text.value.length - length;
  length = text.value.length;
  pressed = length === 0 ? 0 : pressed + (cost ?? Math.max(change, 1));
  const gain = length - pressed;
  saved.textContent = gain > 0 ? `${gain} of ${length} keystrokes saved (${Math.round((100 * gain) / length)} %)` : "";
}

/** Whether an error is caused by the text, so that asking again would not help. */
function refused({ status }) {
  return status !== undefined && status !== 429 && status < 500;
}

/** Shows a notice of what is wrong, and tries again if that may help. */
function fail(error) {
  notice.textContent = error.message;
  if (!refused(error)) {
    const wait = WAIT_AFTER_FAILURE_MS[Math.min(failures, WAIT_AFTER_FAILURE_MS.length - 1)];
    failures += 1;
    retryTimer = setTimeout(refresh, wait);
  }
  for (const key of keys) {
    key.disabled = true;
    key.textContent = "";
  }
  announce("");
}

text.addEventListener("beforeinput", (event) => corrections.takeBack(event));
text.addEventListener("input", (event) => {
  count();
  if (cost === null) {
    corrections.follow(event, newest);
    refresh();
  }
});
learn.addEventListener("change", refresh);
typos.addEventListener("change", refresh);
document.addEventListener("selectionchange", () => {
  // If the caret moves without a change of the text, the words before it are different ones.
  if (document.activeElement === text && text.selectionStart !== newest.before.length) {
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
