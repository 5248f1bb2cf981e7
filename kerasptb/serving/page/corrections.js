// Words typed with errors: a space or a sign after one writes what is likelier, and Backspace puts back what was typed.
//
// Only what is typed key by key is corrected, once the answer is there that was asked for when the word's last letter
// was typed. Pasted text and what an input method composed are as their writer wants them.

import { asWriter, opens } from "./words.js";

const BY_KEY = new Set(["insertText", "insertLineBreak", "deleteContentBackward"]);
const DELETES = "deleteContentBackward";
// An apostrophe or a hyphen may go on with the word.
const ENDS = /[\s.,;:!?…)\]}"”»]/;

export class Corrections {
  #field;
  #isOn;
  #corrected;
  #replace;
  #tell;
  #kept = new Set(); // words that stay, in small letters
  #run = { start: 0, before: "", after: "" }; // where what is typed key by key begins, and the text around it
  #ended = new Set(); // {end}: words whose answer is waited for
  #last = null; // {start, typed, written}: the newest correction, with the sign after it

  /**
   * @param {HTMLTextAreaElement} field
   * @param isOn returns whether words are corrected.
   * @param corrected returns how a word is written in place of what was typed after a text.
   * @param replace puts a text in place of that between two offsets, for a number of keys pressed.
   * @param tell says what was corrected: where, what was typed, what is written, and whether Backspace puts it back;
   *   with null as what is written, that it was put back.
   */
  constructor(field, isOn, corrected, replace, tell) {
    this.#field = field;
    this.#isOn = isOn;
    this.#corrected = corrected;
    this.#replace = replace;
    this.#tell = tell;
  }

  /** A word is never corrected again in this text. */
  keep(word) {
    this.#kept.add(word.toLowerCase());
  }

  /** What a space at the caret would write instead of the word before it, by the answer for that; null if it stays. */
  offer(answer, before) {
    return this.#isTyped() ? this.#instead(answer, before) : null;
  }

  /** Takes an input event and the newest question before it, {before, answer}: a text and the promise of its answer. */
  follow({ inputType, isComposing, data }, question) {
    const byKey = BY_KEY.has(inputType) && !isComposing;
    if (!this.#field.value) {
      this.#kept.clear(); // another text begins
    }
    if (inputType === "historyUndo") {
      this.#leaveUndone();
    }
    if (inputType !== DELETES) {
      this.#last = null;
    }
    if (!byKey || !this.#isTyped()) {
      this.#beginRun((byKey && data?.length) || 0);
    }
    if (byKey) {
      this.#endWord(question);
    }
  }

  /** Takes an event before its input: Backspace right behind the newest correction puts back what was typed. */
  takeBack(event) {
    const { selectionStart: from, selectionEnd: to } = this.#field;
    const last = this.#last;
    const isBackspace = event.inputType === DELETES && event.cancelable && from === to;
    if (!isBackspace || !last || !this.#stands(last.written, last.start, to)) {
      return;
    }
    event.preventDefault();
    this.#last = null;
    const word = last.typed.slice(0, -1);
    this.keep(word);
    this.#replace(last.start, to, last.typed, 1);
    this.#tell(last.start, word, null);
  }

  /** What is typed key by key begins so many letters before the caret; what was typed elsewhere stays as it is. */
  #beginRun(numLetters) {
    const { value, selectionStart: caret } = this.#field;
    const start = caret - numLetters;
    this.#run = { start, before: value.slice(0, start), after: value.slice(caret) };
  }

  /** Corrects the word before the caret if a sign has just ended it. */
  #endWord({ before, answer }) {
    const { value, selectionStart: caret } = this.#field;
    const sign = value.slice(before.length, caret);
    if (sign.length === 1 && ENDS.test(sign) && value.startsWith(before)) {
      this.#correct(before, sign, answer);
    }
  }

  /** Whether the text around what is typed key by key is as it was, with the caret at its end. */
  #isTyped() {
    const { value, selectionStart: caret } = this.#field;
    return caret >= this.#run.start && value.startsWith(this.#run.before) && value.slice(caret) === this.#run.after;
  }

  #stands(content, start, end) {
    return start + content.length === end && this.#field.value.startsWith(content, start);
  }

  #instead({ prefix, correction }, before) {
    const start = before.length - prefix.length;
    const lead = before.slice(0, start);
    const begins = /^$|\s$/.test(lead) || opens(lead); // the parts of "e.g." are no words
    if (!correction || !begins || start < this.#run.start || this.#kept.has(prefix.toLowerCase())) {
      return null;
    }
    const written = asWriter(this.#corrected(correction.word, prefix, lead), before);
    return written === prefix ? null : written;
  }

  /** Corrects the word at the end of a text once its answer is there, if the word and the sign after it still stand. */
  async #correct(before, sign, answer) {
    const word = { end: before.length };
    this.#ended.add(word);
    const found = await answer.catch(() => null); // who asked shows what failed
    this.#ended.delete(word);
    const isWanted = this.#isOn() && document.activeElement === this.#field;
    const written = found && isWanted ? this.#instead(found, before) : null;
    if (written !== null) {
      this.#write(word.end - found.prefix.length, found.prefix, written, sign);
    }
  }

  #write(start, word, written, sign) {
    const end = start + word.length;
    if (!this.#stands(word + sign, start, end + 1)) {
      return;
    }
    for (const other of this.#ended) {
      other.end += other.end > end ? written.length - word.length : 0;
    }
    this.#replace(start, end + 1, written + sign, 0);
    this.#last = { start, typed: word + sign, written: written + sign };
    this.#tell(start, word, written, this.#field.selectionEnd === start + written.length + 1);
  }

  /** A correction that Undo took back stays so. */
  #leaveUndone() {
    const last = this.#last;
    if (last && this.#stands(last.typed, last.start, last.start + last.typed.length)) {
      this.keep(last.typed.slice(0, -1));
      this.#field.selectionStart = this.#field.selectionEnd; // else the next letter would delete it
    }
  }
}
