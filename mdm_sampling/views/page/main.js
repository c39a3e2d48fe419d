// The step that is shown, playing, the address, keys, pointers and the theme.

const ADDRESS_AFTER = 300; // milliseconds without a further step; browsers refuse to change it more often

/** The step that is shown, in words. */
function stepInWords() {
  const film = shown.film;
  if (shown.step === 0) return `Step 0 of ${film.steps}: before the first step`;
  const { positions, tokens, reopened } = viewed();
  const filled = positions.slice(0, 3).map((position, i) => `${spoken(tokens[i])} at position ${position}`);
  const more = positions.length > 3 ? ` and ${positions.length - 3} more` : "";
  const again = reopened.length ? `; ${count(reopened.length, "position")} masked again` : "";
  return `Step ${shown.step} of ${film.steps}: ${filled.join(", ")}${more}${again}`;
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
  const forwards = film.frames.slice(0, shown.step).reduce((sum, frame) => sum + frame.sequential_forwards, 0);
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

async function start() {
  if (typeof DecompressionStream === "undefined") {
    byId("summary").textContent = "This page needs a browser of 2023 or later.";
    return;
  }
  data = await readData();
  data.films.forEach(complete);
  fill(byId("row"), data.films.map((film, i) => new Option(shortened(film.name), i)));
  byId("entropy-top").textContent = `${number(data.range, 2)} nats`;
  byId("order-scale").style.background = `linear-gradient(to right, ${data.palette.order.join(", ")})`;
  buildOrder();
  buildCurveNames();
  listen();
  followAddress();
  performance.mark("shown");
}

start();
