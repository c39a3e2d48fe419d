// Elements, texts, numbers and colours.

/** A new element with classes and children; a string becomes text. */
function element(name, classes = "", ...children) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  for (const child of children) made.append(child);
  return made;
}

/** Gives a node these children alone. One by one: a call takes no more than some ten thousand arguments. */
function fill(node, children) {
  node.replaceChildren();
  for (const child of children) node.append(child);
  return node;
}

function svgElement(name, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

// Controls, formats, separators, and what fonts draw nothing for, such as a Hangul filler or a variation selector.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/u;

/** A character that cannot be seen, or turns text around, as one that can be seen; else null. */
function signFor(character) {
  if (character === "\n") return "⏎";
  if (character === "\t") return "⇥";
  if (/\p{Zs}/u.test(character)) return "·";
  if (character < " ") return String.fromCharCode(0x2400 + character.charCodeAt(0));
  return UNSEEN.test(character) ? "�" : null;
}

/** A text with everything in it visible, as nodes. In running text spaces stay, and lines break. */
function visible(text, running = false) {
  const nodes = [];
  let plain = "";
  for (const character of text) {
    const sign = running && character === " " ? null : signFor(character);
    if (sign === null) {
      plain += character;
      continue;
    }
    const blank = element("span", "blank", sign);
    if (!" \n\t".includes(character)) blank.title = codePoint(character);
    nodes.push(plain, blank);
    plain = running && character === "\n" ? "\n" : "";
  }
  return [...nodes, plain].filter((node) => node !== "");
}

const codePoint = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

const textOf = (token, film = shown.film) => data.names[film.names][token] ?? `[${token}]`;

/** A token's nodes; the end token, which may stand there hundreds of times, is one sign. */
function faceOf(token, film) {
  if (token === film.end) return [data.palette.end];
  const text = textOf(token, film);
  return text === "" ? [element("span", "blank", "∅")] : visible(text);
}

function tokenChip(token) {
  const chip = fill(element("span", "token"), faceOf(token, shown.film));
  if (token === shown.film.end) chip.title = textOf(token);
  return chip;
}

function spoken(token) {
  return `“${textOf(token).replaceAll("\n", "⏎")}”`;
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const least = 10 ** -digits;
  return value > 0 && value < least / 2 ? `<${least}` : value.toFixed(digits).replace("-", "−");
}

function count(many, one) {
  return `${many.toLocaleString("en")} ${many === 1 ? one : `${one}s`}`;
}

/** The colour of a step, from 1, and of ink on it. */
const stepColours = (step, film) => film.colours[step - 1];
