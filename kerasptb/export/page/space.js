// White space as Python has it, and so the tokenizers and the core in C: JavaScript's own has U+FEFF as well, and
// neither U+001C to U+001F nor U+0085.

/** What stands between the brackets of a regular expression's class. */
export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const AT_THE_END = new RegExp(`(?<![${SPACE}])[${SPACE}]+$`, "u");
const PARTS = new RegExp(`[${SPACE}]+|[^${SPACE}]+`, "gu");
const IS_BLANK = new RegExp(`^[${SPACE}]*$`, "u");

/** Returns a text without the white space at its end. */
export function trimmedEnd(text) {
  return text.replace(AT_THE_END, "");
}

/** Returns the parts of a text that are white space, and those between them. */
export function partsOf(text) {
  return text.match(PARTS) ?? [];
}

/** Whether a text is empty or white space alone. */
export function isBlank(text) {
  return IS_BLANK.test(text);
}
