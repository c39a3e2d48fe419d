// The decoding order and the cumulative entropy of all films.

const DASHES = ["", "7 4", "2 3"]; // of curves for which there is no further colour
const LONGEST_NAME = 31; // characters of a row's name in the chooser
const NAME_END = 8; // characters of a name that are always shown: ", row 12"
const WIDEST_STRIP = 8192; // pixels; browsers draw nothing on canvases that are much wider

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
    pixels.fillStyle = stepColours(film.final.step[position], film)[0];
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

const curveColour = (film) => data.palette.curves[film % data.palette.curves.length];
const curveDashes = (film) => DASHES[Math.floor(film / data.palette.curves.length) % DASHES.length];

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
