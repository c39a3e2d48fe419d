// Details of a position, the candidates of a step, and the settings of a row.

/** What is known of a position at this step: a heading, figures as [name, text], and [token, probability, is it the one]. */
function factsOf(position) {
  const film = shown.film;
  const state = shown.state;
  const token = state.tokens[position];
  const step = state.step[position];
  const how = state.how[position];
  if (token === film.mask) {
    const said = seen().get(position);
    const again = how === "reopened" ? [["masked again", `in step ${step}`]] : [];
    if (!said) return { heading: "masked", figures: [...again, ["model", "has not looked at it in this step"]], bars: [] };
    const likeliest = [said.token, said.probability, true];
    return { heading: "masked", figures: [...again, ["entropy", `${number(said.entropy)} nats`]], bars: [likeliest] };
  }
  if (how === "given") return { token, heading: "given from the start", figures: [], bars: [] };
  const when = ["filled", `in step ${step} of ${film.steps}`];
  if (how === "ended") return { token, heading: "", figures: [when, ["why", "the row had ended before it"]], bars: [] };
  const at = state.number[position];
  const { top, confidence, entropy } = film.frames[step - 1];
  const bars = top[at].map(([likely, probability]) => [likely, probability, likely === token]);
  const figures = [when, ["confidence", number(confidence[at])], ["entropy", `${number(entropy[at])} nats`]];
  return { token, heading: "", figures, bars };
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
  const moves = shown.step ? viewed().candidates : [];
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

function candidateRow({ positions, tokens, cost, next_entropy: after, score, chosen: isWinner }) {
  const star = element("td", "star");
  if (isWinner) star.append("★", element("span", "hidden", "winner"));
  const texts = element("td", "tokens");
  tokens.forEach((token, i) => texts.append(...(i ? [" "] : []), tokenChip(token)));
  const figures = [cost, after, score].map((value) => element("td", "number", number(value)));
  return element("tr", isWinner ? "winner" : "", star, element("td", "positions", positions.join(", ")), texts, ...figures);
}

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
  const total = (name) => film.frames.reduce((sum, frame) => sum + frame[name], 0).toLocaleString("en");
  const figures = [
    ["row", film.name],
    ["seed", film.seed],
    ["positions", String(film.body.length)],
    ["steps", String(film.steps)],
    ["sequential forwards", total("sequential_forwards")],
    ["row-forwards", total("forwards")],
    ["token-forwards", total("token_forwards")],
    ["cumulative entropy", `${number(entropyAfter(film, film.steps))} nats`],
  ];
  const entry = ([name, text]) => element("div", "", element("dt", "", name), element("dd", "", text));
  fill(byId("row-figures"), figures.map(entry));
  fill(byId("spec"), specFigures(film.spec).map(entry));
}
