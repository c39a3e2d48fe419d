"use strict";

// Shows the films in the page's data, see report/data.py for what stands there.
// Whatever a model wrote goes into text nodes and attributes of labels only, never into markup.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
const VALUE = new Map([...DIGITS].map((digit, value) => [digit, value]));
const LEVELS = 64 ** 2 - 1;

const VIRIDIS = ["440154", "482475", "414487", "355f8d", "2a788e", "21918c", "22a884", "44bf70", "7ad151", "bddf26", "fde725"]
  .map((colour) => [0, 2, 4].map((at) => parseInt(colour.slice(at, at + 2), 16)));
const CURVES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito
const DASHES = ["", "7 4", "2 3"]; // for the second and third half dozen

const END = "■"; // the sign of the end token, as in drawing.py

const LARGE_UP_TO = 120; // positions of a canvas that has room for large ones
const OPEN_PROMPT_UP_TO = 200; // tokens
const LONGEST_NAME = 31; // characters of a row's name in the chooser
const NAME_END = 8; // characters of a name that are always shown: ", row 12"
const WIDEST_STRIP = 8192; // pixels; browsers draw nothing on canvases that are much wider
const ADDRESS_AFTER = 300; // milliseconds without a further step; browsers refuse to change it more often

// What is shown. Step 0 is before the first step; step k shows what step k saw and did.
const shown = { film: null, step: 0, chosen: null, pointed: null, cells: [], timer: null };

// Reading the data

/** A reader of one of a film's texts of records: it is asked for the positions one after the other. */
function entryReader(text, width, positions) {
  const last = new Int32Array(positions);
  let at = 0;
  return (position) => {
    if (text[at] === ".") {
      at += 1;
      return last[position];
    }
    let number = 0;
    for (const end = at + width; at < end; at += 1) number = number * 64 + VALUE.get(text[at]);
    last[position] = number;
    return number;
  };
}

/** Fills, ends and reopens what a step did in `tokens`, and tells `note` each position, the kind and its number. */
function play(film, step, tokens, note = () => {}) {
  film.positions[step].forEach((position, i) => {
    tokens[position] = film.filled[step][i];
    note(position, "filled", i);
  });
  for (const position of film.reopenedAt.get(step) ?? []) {
    tokens[position] = film.mask;
    note(position, "reopened", 0);
  }
  for (const position of film.endedAt.get(step) ?? []) {
    tokens[position] = film.end;
    note(position, "ended", 0);
  }
}

/** Adds to a film what its data only imply: its steps, their blocks, and its last canvas. */
function complete(film) {
  film.steps = film.positions.length;
  film.reopenedAt = new Map(film.reopened);
  film.endedAt = new Map(film.ended);
  film.blockAt = [];
  film.blocks.forEach(([step, start, stop], i) => {
    const end = i + 1 < film.blocks.length ? film.blocks[i + 1][0] : film.steps;
    for (let at = step; at < end; at += 1) film.blockAt.push([start, Math.min(stop, film.body.length)]);
  });
  film.final = stateAfter(film, film.steps);
}

/** What the model said of each masked position of the block at each step; made when a film is first shown. */
function recordsOf(film) {
  if (film.records) return film.records;
  const positions = film.body.length;
  const entropy = entryReader(film.seen.entropy, 2, positions);
  const probability = entryReader(film.seen.probability, 2, positions);
  const token = entryReader(film.seen.token, data.width, positions);
  const tokens = [...film.body];
  film.records = film.positions.map((_, step) => {
    const found = new Map();
    const [start, stop] = film.blockAt[step];
    for (let position = start; position < stop; position += 1) {
      if (tokens[position] === film.mask) found.set(position, [entropy(position), token(position), probability(position)]);
    }
    play(film, step, tokens);
    return found;
  });
  return film.records;
}

/** The tokens after so many steps, and of each position the step that filled it, from 1 (0: none), and how. */
function stateAfter(film, steps) {
  const state = {
    tokens: [...film.body],
    step: new Int32Array(film.body.length),
    how: film.body.map((token) => (token === film.mask ? "masked" : "given")),
    number: new Int32Array(film.body.length),
  };
  for (let step = 0; step < steps; step += 1) {
    play(film, step, state.tokens, (position, how, number) => {
      state.step[position] = step + 1;
      state.how[position] = how;
      state.number[position] = number;
    });
  }
  return state;
}

/** The step whose view is shown: before the first step what the first one saw. Undefined if there are none. */
function viewed() {
  return shown.film.steps ? Math.max(shown.step, 1) - 1 : undefined;
}

/** What the model said of a position in the view that is shown: {entropy, token, probability}, or null. */
function seen(position) {
  const found = viewed() === undefined ? undefined : recordsOf(shown.film)[viewed()].get(position);
  if (!found) return null;
  const [entropy, token, probability] = found;
  return { entropy: (entropy / LEVELS) * data.range, token, probability: probability / LEVELS };
}

// Elements, texts and numbers

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

const textOf = (token) => data.tokens[token][1];

/** A token's nodes; the end token, which may stand there hundreds of times, is one sign. */
function faceOf(token, film) {
  if (token === film.end) return [END];
  return textOf(token) === "" ? [element("span", "blank", "∅")] : visible(textOf(token));
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

// Colours

/** The colour of a step, from 1, among so many. */
function stepColour(step, steps) {
  const at = steps > 1 ? ((step - 1) / (steps - 1)) * (VIRIDIS.length - 1) : 0;
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[low].map((part, i) => Math.round(part + (VIRIDIS[low + 1][i] - part) * (at - low)));
}

/** Black or white, whichever has more contrast on the colour, which is 4.5 to 1 or more. */
function inkOn(colour) {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return luminance > 0.1791 ? "#000000" : "#ffffff";
}

const css = (colour) => `rgb(${colour.join(" ")})`;

// The canvas

/** The positions in lines. They are those of the last canvas from the start, so that nothing jumps. */
function linesOf(film) {
  const lines = [[]];
  film.final.tokens.forEach((token, position) => {
    lines[lines.length - 1].push(position);
    const breaks = token === film.mask ? 0 : textOf(token).split("\n").length - 1;
    for (let i = 0; i < breaks; i += 1) lines.push([]);
  });
  return lines;
}

/** Of each position, all tokens that it ever holds; one, but for what is masked again. */
function everHeld(film) {
  const held = film.body.map((token) => new Set([token]));
  film.positions.forEach((positions, step) => positions.forEach((position, i) => held[position].add(film.filled[step][i])));
  film.final.tokens.forEach((token, position) => held[position].add(token).delete(film.mask));
  return held;
}

function buildCanvas(film) {
  shown.cells = everHeld(film).map((tokens, position) => {
    const sizers = [...(tokens.size ? tokens : [film.mask])].map((token) => {
      const sizer = fill(element("span", "sizer"), token === film.mask ? [] : faceOf(token, film));
      sizer.setAttribute("aria-hidden", "true");
      return sizer;
    });
    const cell = element("div", "position-cell", ...sizers, element("span", "face"));
    cell.setAttribute("role", "gridcell");
    cell.dataset.position = position;
    cell.tabIndex = position === 0 ? 0 : -1;
    return cell;
  });
  const lines = linesOf(film).map((positions) => {
    const line = fill(element("div", "line"), positions.map((position) => shown.cells[position]));
    line.setAttribute("role", positions.length ? "row" : "presentation");
    return line;
  });
  byId("canvas").classList.toggle("large", film.body.length <= LARGE_UP_TO);
  shown.drawn = [];
  fill(byId("canvas"), lines);
}

function drawCanvas() {
  const film = shown.film;
  const state = stateAfter(film, shown.step);
  const [start, stop] = film.blockAt[viewed()] ?? [0, 0];
  shown.state = state;
  shown.cells.forEach((cell, position) => {
    const classes = ["position-cell"];
    if (position >= start && position < stop) classes.push("in-block");
    if (position === start) classes.push("block-first");
    if (position === stop - 1) classes.push("block-last");
    if (state.how[position] !== "given" && shown.step > 0 && state.step[position] === shown.step) {
      classes.push(state.how[position] === "reopened" ? "reopened" : "new");
    }
    drawPosition(cell, position, state, classes);
  });
}

/** Draws a position, unless it looks as before: a step changes few of them. */
function drawPosition(cell, position, state, classes) {
  const film = shown.film;
  const isMasked = state.tokens[position] === film.mask;
  const said = isMasked ? seen(position) : null;
  let colour = null;
  if (isMasked) classes.push(said ? "masked" : "unseen");
  else if (state.how[position] === "given") classes.push("given");
  else colour = stepColour(state.step[position], film.steps);
  if (position === shown.chosen) classes.push("chosen");
  const heat = said && data.range ? said.entropy / data.range : 0;
  const sign = isMasked ? (classes.includes("reopened") ? "reopened" : "empty") : String(state.tokens[position]);
  const look = `${classes.join(" ")} ${heat} ${colour} ${sign}`;
  if (shown.drawn[position] === look) return;
  shown.drawn[position] = look;
  const face = cell.lastChild;
  cell.className = classes.join(" ");
  face.style.setProperty("--heat", heat);
  face.style.backgroundColor = colour ? css(colour) : "";
  face.style.color = colour ? inkOn(colour) : "";
  if (face.dataset.sign === sign) return;
  face.dataset.sign = sign;
  if (isMasked) face.replaceChildren(sign === "reopened" ? "↺" : "");
  else fill(face, faceOf(state.tokens[position], film));
}

function buildPrompt(film) {
  const text = film.prefix.map(textOf).join("");
  fill(byId("prompt"), visible(text, true));
  byId("prompt-box").hidden = film.prefix.length === 0;
  byId("prompt-box").open = film.prefix.length <= OPEN_PROMPT_UP_TO;
}

// Details of a position

/** What is known of a position at this step: a heading, figures as [name, text], and [token, probability, is it the one]. */
function factsOf(position) {
  const film = shown.film;
  const state = shown.state;
  const token = state.tokens[position];
  const step = state.step[position];
  const how = state.how[position];
  if (token === film.mask) {
    const said = seen(position);
    const again = how === "reopened" ? [["masked again", `in step ${step}`]] : [];
    if (!said) return { heading: "masked", figures: [...again, ["model", "has not looked at it in this step"]], bars: [] };
    const likeliest = [said.token, said.probability, true];
    return { heading: "masked", figures: [...again, ["entropy", `${number(said.entropy)} nats`]], bars: [likeliest] };
  }
  if (how === "given") return { token, heading: "given from the start", figures: [], bars: [] };
  const when = ["filled", `in step ${step} of ${film.steps}`];
  if (how === "ended") return { token, heading: "", figures: [when, ["why", "the row had ended before it"]], bars: [] };
  const at = state.number[position];
  const top = film.top[step - 1][at];
  const bars = [];
  for (let i = 0; i < top.length; i += 2) bars.push([top[i], top[i + 1], top[i] === token]);
  const confidence = ["confidence", number(film.confidence[step - 1][at])];
  return { token, heading: "", figures: [when, confidence, ["entropy", `${number(film.entropy[step - 1][at])} nats`]], bars };
}

function drawPositionDetails() {
  const position = shown.pointed ?? shown.chosen;
  if (position === null) return;
  const { token, heading, figures, bars } = factsOf(position);
  const title = element("div", "title", element("strong", "", `Position ${position}`));
  if (token !== undefined) title.append(tokenChip(token));
  if (heading) title.append(element("span", "quiet", heading));
  byId("position").replaceChildren(title, definitions(figures), barList(token === undefined, bars));
}

function definitions(figures) {
  const list = element("dl", "figures");
  for (const [name, text] of figures) list.append(element("dt", "", name), element("dd", "", text));
  return list;
}

function barList(isMasked, bars) {
  const box = element("div");
  if (!bars.length) return box;
  const list = element("ul", "bars");
  for (const [token, probability, isTheOne] of bars) {
    const bar = element("i");
    bar.style.width = `${100 * probability}%`;
    const row = element("li", isTheOne ? "the-one" : "", tokenChip(token), element("span", "bar", bar));
    row.append(element("span", "number", number(probability)));
    list.append(row);
  }
  box.append(element("p", "quiet", isMasked ? "Likeliest token now" : "Likeliest tokens when it was filled"), list);
  return box;
}

/** A position in words, for those who hear the page. */
function labelOf(position) {
  const { token, heading, figures, bars } = factsOf(position);
  const name = token === undefined ? "" : `${spoken(token)}, `;
  const likeliest = token === undefined && bars.length ? `, likeliest ${spoken(bars[0][0])} ${number(bars[0][1])}` : "";
  const told = [heading, ...figures.map(([what, text]) => `${what} ${text}`)].filter(Boolean).join(", ");
  return `Position ${position}, ${name}${told}${likeliest}`;
}

function choose(position) {
  if (shown.chosen !== null) {
    shown.cells[shown.chosen].classList.remove("chosen");
    shown.cells[shown.chosen].tabIndex = -1;
    delete shown.drawn[shown.chosen];
  } else {
    shown.cells[0].tabIndex = -1;
  }
  shown.chosen = position;
  const cell = shown.cells[position];
  cell.tabIndex = 0;
  cell.classList.add("chosen");
  delete shown.drawn[position];
  cell.setAttribute("aria-label", labelOf(position));
  drawPositionDetails();
}

/** The position that an arrow leads to: the next one, or in the line above or below the nearest one. */
function neighbour(position, key) {
  if (key === "ArrowLeft") return Math.max(position - 1, 0);
  if (key === "ArrowRight") return Math.min(position + 1, shown.cells.length - 1);
  const way = key === "ArrowUp" ? -1 : 1;
  const { offsetTop: here, offsetLeft: left } = shown.cells[position];
  let best = position;
  let line = null;
  for (let at = position + way; at >= 0 && at < shown.cells.length; at += way) {
    const { offsetTop, offsetLeft } = shown.cells[at];
    if (offsetTop === here) continue;
    if (line !== null && offsetTop !== line) break;
    if (line === null || Math.abs(offsetLeft - left) < Math.abs(shown.cells[best].offsetLeft - left)) best = at;
    line = offsetTop;
  }
  return best;
}

// Candidates

function drawCandidates() {
  const moves = shown.step ? shown.film.candidates[shown.step - 1] : [];
  if (!moves.length) {
    const text = shown.step ? "No candidates were weighed at this step." : "Before the first step.";
    byId("candidates").replaceChildren(element("p", "quiet", text));
    return;
  }
  const head = element("tr");
  for (const [name, title, classes] of [
    ["", "", "star"], ["Positions", "", ""], ["Tokens", "", ""],
    ["C", "Cost: summed entropy of the positions, nats", "number"],
    ["H", "Mean entropy of the masked positions after the move, nats", "number"],
    ["J", "Score: the larger the better", "number"],
  ]) {
    const cell = element("th", classes, name || element("span", "hidden", "Winner"));
    cell.scope = "col";
    if (title) cell.title = title;
    head.append(cell);
  }
  const body = fill(element("tbody"), moves.map(candidateRow));
  const note = element("p", "quiet", "C cost, H entropy that remains, J score; ★ was taken.");
  byId("candidates").replaceChildren(element("table", "", element("thead", "", head), body), note);
}

function candidateRow([positions, tokens, cost, after, score, isWinner]) {
  const star = element("td", "star");
  if (isWinner) star.append("★", element("span", "hidden", "winner"));
  const texts = element("td", "tokens");
  tokens.forEach((token, i) => texts.append(...(i ? [" "] : []), tokenChip(token)));
  const figures = [cost, after, score].map((value) => element("td", "number", number(value)));
  return element("tr", isWinner ? "winner" : "", star, element("td", "positions", positions.join(", ")), texts, ...figures);
}

// Decoding order of all films

function buildOrder() {
  const longest = largest(data.films.map((film) => film.body.length));
  const rows = data.films.flatMap((film, i) => [rowButton(i, ...nameInTwo(film.name)), orderStrip(film, longest)]);
  const axis = element("div", "axis", element("span", "", "position 0"), element("span", "", String(longest - 1)));
  fill(byId("order"), [...rows, axis]);
}

/** A name in two parts, of which only the first gives way where there is no room for both. */
function nameInTwo(name) {
  const characters = [...name];
  return [
    element("span", "name-start", characters.slice(0, -NAME_END).join("")),
    element("span", "name-end", characters.slice(-NAME_END).join("")),
  ];
}

/** A name with its middle left out if it is long: what tells rows apart stands at its end. */
function shortened(name) {
  const characters = [...name];
  if (characters.length <= LONGEST_NAME) return name;
  const half = (LONGEST_NAME - 1) / 2;
  return `${characters.slice(0, half).join("")}…${characters.slice(-half).join("")}`;
}

const largest = (values) => values.reduce((most, value) => Math.max(most, value), 0);

/** A film's positions as a strip, a pixel each or less, in the colours of their steps. */
function orderStrip(film, longest) {
  const strip = element("canvas");
  strip.width = Math.min(film.body.length, WIDEST_STRIP);
  strip.height = 1;
  strip.style.width = `${(100 * film.body.length) / longest}%`;
  strip.setAttribute("role", "img");
  strip.setAttribute("aria-label", `Decoding order of ${film.name}`);
  const pixels = strip.getContext("2d");
  pixels.scale(strip.width / film.body.length, 1);
  film.final.tokens.forEach((token, position) => {
    if (token === film.mask || film.final.how[position] === "given") return;
    pixels.fillStyle = css(stepColour(film.final.step[position], film.steps));
    pixels.fillRect(position, 0, 1, 1);
  });
  return strip;
}

/** A button that shows a film. */
function rowButton(film, ...children) {
  const button = element("button", "row-button", ...children);
  button.type = "button";
  button.dataset.film = film;
  button.title = `Show ${data.films[film].name}`;
  button.addEventListener("click", () => chooseFilm(film));
  return button;
}

// Cumulative entropy of all films

const curveColour = (film) => CURVES[film % CURVES.length];
const curveDashes = (film) => DASHES[Math.floor(film / CURVES.length) % DASHES.length];

/** Round numbers from 0 up to the first that is not below `most`, at most so many more. */
function ticks(most, many) {
  const rough = (most || 1) / many;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough * 0.999);
  return Array.from({ length: Math.ceil((most || 1) / unit - 1e-9) + 1 }, (_, i) => i * unit);
}

/** The positions of steps and nats in the picture, which is as wide as there is room. */
function curveScales() {
  const width = Math.max(byId("curves").clientWidth, 200);
  const steps = largest([1, ...data.films.map((film) => film.steps)]);
  const nats = ticks(largest(data.films.map((film) => film.cumulative.at(-1) ?? 0)), 4);
  const [left, right, top, bottom] = [44, width - 10, 10, 212];
  const most = nats[nats.length - 1];
  return {
    width, steps, nats, left, right, top, bottom,
    x: (step) => left + (step / steps) * (right - left),
    y: (entropy) => bottom - (entropy / most) * (bottom - top),
  };
}

function drawCurves() {
  const scales = curveScales();
  const picture = svgElement("svg", { viewBox: `0 0 ${scales.width} 240`, role: "img", "aria-label": curvesInWords() });
  picture.append(...axes(scales));
  const current = data.films.indexOf(shown.film);
  const order = [...data.films.keys()].filter((film) => film !== current).concat(current);
  for (const film of order) picture.append(curve(film, scales, film === current));
  const line = svgElement("line", { class: "now", y1: scales.top, y2: scales.bottom });
  const dot = svgElement("circle", { class: "now-dot", r: 5.5, fill: curveColour(current) });
  picture.append(line, dot);
  byId("curves").replaceChildren(picture);
  shown.marker = { scales, line, dot };
  drawMarker();
}

function axes({ nats, steps, left, right, bottom, x, y }) {
  const digits = Math.max(0, -Math.floor(Math.log10(nats[1])));
  const made = nats.flatMap((value) => [
    svgElement("line", { class: "grid-line", x1: left, x2: right, y1: y(value), y2: y(value) }),
    svgElement("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(digits)),
  ]);
  for (const step of new Set(ticks(steps, 6).map(Math.round).filter((step) => step <= steps))) {
    made.push(svgElement("text", { x: x(step), y: bottom + 20, "text-anchor": "middle" }, String(step)));
  }
  return made;
}

function curve(film, { x, y }, isCurrent) {
  const points = [0, ...data.films[film].cumulative].map((entropy, step) => `${x(step).toFixed(1)},${y(entropy).toFixed(1)}`);
  return svgElement("polyline", {
    class: isCurrent ? "curve current" : "curve",
    points: points.join(" "), stroke: curveColour(film), "stroke-dasharray": curveDashes(film),
  });
}

function curvesInWords() {
  return `Cumulative entropy: ${data.films.map((film) => `${film.name} ${number(film.cumulative.at(-1) ?? 0)} nats`).join(", ")}`;
}

function drawMarker() {
  const { scales, line, dot } = shown.marker;
  const at = scales.x(shown.step);
  line.setAttribute("x1", at);
  line.setAttribute("x2", at);
  dot.setAttribute("cx", at);
  dot.setAttribute("cy", scales.y(entropyAfter(shown.film, shown.step)));
}

function buildCurveNames() {
  const names = data.films.map((film, i) => {
    const sample = svgElement("svg", { viewBox: "0 0 24 10", "aria-hidden": "true" });
    sample.append(svgElement("line", {
      x1: 0, x2: 24, y1: 5, y2: 5, stroke: curveColour(i), "stroke-width": 3, "stroke-dasharray": curveDashes(i),
    }));
    const total = element("span", "quiet", number(film.cumulative.at(-1) ?? 0));
    return rowButton(i, sample, element("span", "", film.name), total);
  });
  fill(byId("curve-names"), names);
}

const entropyAfter = (film, steps) => (steps ? film.cumulative[steps - 1] : 0);

// Settings

/** A spec as [name, text], the parameters of its parts under their dotted names. */
function specFigures(spec, before = "") {
  return Object.entries(spec).flatMap(([name, value]) => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return specFigures(value, `${before}${name}.`);
    const isNone = value === null || (Array.isArray(value) && value.length === 0);
    return [[before + name, isNone ? "none" : typeof value === "string" ? value : JSON.stringify(value)]];
  });
}

function buildSettings(film) {
  const total = (values) => values.reduce((sum, value) => sum + value, 0).toLocaleString("en");
  const figures = [
    ["row", film.name],
    ["seed", film.seed],
    ["positions", String(film.body.length)],
    ["steps", String(film.steps)],
    ["forwards", total(film.forwards)],
    ["token forwards", total(film.token_forwards)],
    ["cumulative entropy", `${number(entropyAfter(film, film.steps))} nats`],
  ];
  const entry = ([name, text]) => element("div", "", element("dt", "", name), element("dd", "", text));
  fill(byId("row-figures"), figures.map(entry));
  fill(byId("spec"), specFigures(film.spec).map(entry));
}

// Steps

/** The step that is shown, in words. */
function stepInWords() {
  const film = shown.film;
  if (shown.step === 0) return `Step 0 of ${film.steps}: before the first step`;
  const positions = film.positions[shown.step - 1];
  const filled = positions.slice(0, 3).map((position, i) => `${spoken(film.filled[shown.step - 1][i])} at position ${position}`);
  const more = positions.length > 3 ? ` and ${positions.length - 3} more` : "";
  const again = film.reopenedAt.get(shown.step - 1);
  return `Step ${shown.step} of ${film.steps}: ${filled.join(", ")}${more}${again ? `; ${count(again.length, "position")} masked again` : ""}`;
}

function showStep(step) {
  const film = shown.film;
  shown.step = Math.max(0, Math.min(step, film.steps));
  byId("step").value = shown.step;
  byId("step").setAttribute("aria-valuetext", `step ${shown.step} of ${film.steps}`);
  byId("count").textContent = `step ${shown.step} of ${film.steps}`;
  byId("printed").textContent = `${film.name}: step ${shown.step} of ${film.steps}`;
  for (const id of ["first", "previous"]) byId(id).disabled = shown.step === 0;
  for (const id of ["next", "last"]) byId(id).disabled = shown.step === film.steps;
  const forwards = film.forwards.slice(0, shown.step).reduce((sum, value) => sum + value, 0);
  const entropy = number(entropyAfter(film, shown.step));
  byId("summary").textContent = `${entropy} nats so far, ${count(forwards, "forward")}`;
  drawCanvas();
  drawCandidates();
  drawMarker();
  drawPositionDetails();
  if (shown.chosen !== null) shown.cells[shown.chosen].setAttribute("aria-label", labelOf(shown.chosen));
  if (shown.timer === null) byId("said").textContent = stepInWords();
}

/** A step that someone asked for stops the playing. */
function goTo(step) {
  pause();
  showStep(step);
  addressSoon();
}

// The address: #7 is step 7 of the only row, #2/7 that of the second row

function address() {
  return data.films.length > 1 ? `#${data.films.indexOf(shown.film) + 1}/${shown.step}` : `#${shown.step}`;
}

/** Puts what is shown into the address, so that it can be sent as a link. */
function addressSoon() {
  clearTimeout(shown.addressTimer);
  shown.addressTimer = setTimeout(() => {
    try {
      history.replaceState(null, "", address());
    } catch {
      // Some frames have no address of their own.
    }
  }, ADDRESS_AFTER);
}

/** Shows what the address says; without a step in it, a row's last one. */
function followAddress() {
  const found = /^#(?:(\d+)\/)?(\d+)$/.exec(location.hash);
  const row = found?.[1] === undefined ? 0 : Math.min(Math.max(Number(found[1]), 1), data.films.length) - 1;
  showFilm(row, found ? Number(found[2]) : Infinity);
}

function pause() {
  if (shown.timer === null) return;
  clearTimeout(shown.timer);
  shown.timer = null;
  document.body.classList.remove("playing");
  byId("play").setAttribute("aria-label", "Play");
  byId("said").textContent = stepInWords();
  addressSoon();
}

function startPlaying() {
  if (shown.step === shown.film.steps) showStep(0);
  document.body.classList.add("playing");
  byId("play").setAttribute("aria-label", "Pause");
  const tick = () => {
    showStep(shown.step + 1);
    if (shown.step < shown.film.steps) shown.timer = setTimeout(tick, 1000 / Number(byId("speed").value));
    else pause();
  };
  shown.timer = setTimeout(tick, 0);
}

/** Shows a row at a step; without one at that of the row before, or at the last if that was at its last. */
function showFilm(index, asked = shown.step === shown.film.steps ? Infinity : shown.step) {
  pause();
  const film = data.films[index];
  const step = Math.min(asked, film.steps); // before anything is drawn: the curves' marker stands there
  Object.assign(shown, { film, step, chosen: null, pointed: null });
  byId("row").value = index;
  byId("step").max = film.steps;
  for (const button of document.querySelectorAll(".row-button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.film) === index));
  }
  byId("position").replaceChildren(element("p", "quiet", "Point at a position of the canvas, tap it, or walk there with the keyboard."));
  buildPrompt(film);
  buildCanvas(film);
  buildSettings(film);
  drawCurves();
  showStep(step);
}

/** Shows a row that someone asked for. */
function chooseFilm(index) {
  showFilm(index);
  addressSoon();
}

// Keys, pointers and the theme

const positionOf = (node) => {
  const cell = node instanceof Element ? node.closest(".position-cell") : null;
  return cell ? Number(cell.dataset.position) : null;
};

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const here = event.target;
  if (here.matches("select, input[type=range]") && event.key !== " ") return; // have keys of their own
  if (here.matches("select, button, summary") && event.key === " ") return;
  const position = positionOf(here);
  if (position !== null && event.key.startsWith("Arrow")) {
    shown.cells[neighbour(position, event.key)].focus();
  } else if (event.key === "ArrowLeft") goTo(shown.step - 1);
  else if (event.key === "ArrowRight") goTo(shown.step + 1);
  else if (event.key === "Home") goTo(0);
  else if (event.key === "End") goTo(shown.film.steps);
  else if (event.key === " ") togglePlaying();
  else return;
  event.preventDefault();
}

function togglePlaying() {
  if (shown.timer === null) startPlaying();
  else pause();
}

function point(position) {
  if (shown.pointed === position) return;
  shown.pointed = position;
  drawPositionDetails();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Switch to the ${theme === "dark" ? "light" : "dark"} theme`);
}

function listen() {
  byId("first").addEventListener("click", () => goTo(0));
  byId("previous").addEventListener("click", () => goTo(shown.step - 1));
  byId("play").addEventListener("click", togglePlaying);
  byId("next").addEventListener("click", () => goTo(shown.step + 1));
  byId("last").addEventListener("click", () => goTo(shown.film.steps));
  byId("step").addEventListener("input", (event) => goTo(Number(event.target.value)));
  byId("row").addEventListener("change", (event) => chooseFilm(Number(event.target.value)));
  addEventListener("hashchange", followAddress);
  document.addEventListener("keydown", onKey);
  const canvas = byId("canvas");
  canvas.addEventListener("pointerover", (event) => event.pointerType === "mouse" && point(positionOf(event.target)));
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("click", (event) => shown.cells[positionOf(event.target)]?.focus());
  canvas.addEventListener("focusin", (event) => choose(positionOf(event.target)));
  const system = matchMedia("(prefers-color-scheme: dark)");
  setTheme(system.matches ? "dark" : "light");
  system.addEventListener("change", () => setTheme(system.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  let width = byId("curves").clientWidth;
  new ResizeObserver(() => {
    if (byId("curves").clientWidth === width) return;
    width = byId("curves").clientWidth;
    drawCurves();
  }).observe(byId("curves"));
}

function start() {
  data.films.forEach(complete);
  fill(byId("row"), data.films.map((film, i) => new Option(shortened(film.name), i)));
  byId("entropy-top").textContent = `${number(data.range, 2)} nats`;
  byId("order-scale").style.background = `linear-gradient(to right, ${VIRIDIS.map(css).join(", ")})`;
  buildOrder();
  buildCurveNames();
  listen();
  followAddress();
}

start();
