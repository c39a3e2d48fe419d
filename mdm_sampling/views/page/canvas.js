// The canvas and the prompt.

const LARGE_UP_TO = 120; // positions of a canvas that has room for large ones
const OPEN_PROMPT_UP_TO = 200; // tokens

/** The positions in lines. They are those of the last canvas from the start, so that nothing jumps. */
function linesOf(film) {
  const lines = [[]];
  film.final.tokens.forEach((token, position) => {
    lines[lines.length - 1].push(position);
    const breaks = token === film.mask ? 0 : textOf(token, film).split("\n").length - 1;
    for (let i = 0; i < breaks; i += 1) lines.push([]);
  });
  return lines;
}

/** Of each position, all tokens that it ever holds; one, but for what is masked again. */
function everHeld(film) {
  const held = film.body.map((token) => new Set([token]));
  for (const { positions, tokens } of film.frames) positions.forEach((position, i) => held[position].add(tokens[i]));
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
  const [start, end] = viewed()?.block ?? [0, 0];
  const stop = Math.min(end, film.body.length);
  const said = seen();
  shown.state = state;
  shown.cells.forEach((cell, position) => {
    const classes = ["position-cell"];
    if (position >= start && position < stop) classes.push("in-block");
    if (position === start) classes.push("block-first");
    if (position === stop - 1) classes.push("block-last");
    if (state.how[position] !== "given" && shown.step > 0 && state.step[position] === shown.step) {
      classes.push(state.how[position] === "reopened" ? "reopened" : "new");
    }
    drawPosition(cell, position, state, said.get(position), classes);
  });
}

/** Draws a position, unless it looks as before: a step changes few of them. */
function drawPosition(cell, position, state, said, classes) {
  const film = shown.film;
  const isMasked = state.tokens[position] === film.mask;
  let [colour, ink] = ["", ""];
  if (isMasked) classes.push(said ? "masked" : "unseen");
  else if (state.how[position] === "given") classes.push("given");
  else [colour, ink] = stepColours(state.step[position], film);
  if (position === shown.chosen) classes.push("chosen");
  const heat = isMasked && said && data.range ? said.entropy / data.range : 0;
  const sign = isMasked ? (classes.includes("reopened") ? "reopened" : "empty") : String(state.tokens[position]);
  const look = `${classes.join(" ")} ${heat} ${colour} ${sign}`;
  if (shown.drawn[position] === look) return;
  shown.drawn[position] = look;
  const face = cell.lastChild;
  cell.className = classes.join(" ");
  face.style.setProperty("--heat", heat);
  face.style.backgroundColor = colour;
  face.style.color = ink;
  if (face.dataset.sign === sign) return;
  face.dataset.sign = sign;
  if (isMasked) face.replaceChildren(sign === "reopened" ? "↺" : "");
  else fill(face, faceOf(state.tokens[position], film));
}

function buildPrompt(film) {
  const text = film.prefix.map((token) => textOf(token, film)).join("");
  fill(byId("prompt"), visible(text, true));
  byId("prompt-box").hidden = film.prefix.length === 0;
  byId("prompt-box").open = film.prefix.length <= OPEN_PROMPT_UP_TO;
}
