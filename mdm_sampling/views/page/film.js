"use strict";

// The films in the page's data, see data.py, and what is known after each of their steps.
// Whatever a model wrote goes into text nodes and attributes of labels only, never into markup.

const byId = (id) => document.getElementById(id);

let data = null;

// What is shown. Step 0 is before the first step; step k shows what step k saw and did.
const shown = {
  film: null,
  step: 0,
  state: null, // after that step, see stateAfter
  chosen: null, // the position that has the focus
  pointed: null, // the one under the pointer
  cells: [], // an element for each position
  drawn: [], // how each of them looks
  marker: null, // of the step among the curves
  timer: null, // of the next step, while it plays
  addressTimer: null,
};

async function readData() {
  const bytes = Uint8Array.from(atob(byId("data").textContent), (character) => character.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).json();
}

/** Fills, ends and reopens what a step did in `tokens`, and tells `note` each position, the kind and its number. */
function play(film, step, tokens, note = () => {}) {
  const frame = film.frames[step];
  frame.positions.forEach((position, i) => {
    tokens[position] = frame.tokens[i];
    note(position, "filled", i);
  });
  for (const position of frame.reopened) {
    tokens[position] = film.mask;
    note(position, "reopened", 0);
  }
  for (const position of frame.ended) {
    tokens[position] = film.end;
    note(position, "ended", 0);
  }
}

/** Adds to a film what its data only imply: its steps and its last canvas. */
function complete(film) {
  film.steps = film.frames.length;
  film.final = stateAfter(film, film.steps);
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

/** The frame that is shown: before the first step what that one saw. Undefined if there are no steps. */
function viewed() {
  return shown.film.frames[Math.max(shown.step, 1) - 1];
}

/** What the model said of the masked positions in the view that is shown: {entropy, token, probability} by position. */
function seen() {
  const { masked, masked_entropy: entropies, likeliest, likeliest_confidence: confidences } = viewed() ?? { masked: [] };
  return new Map(
    masked.map((position, i) => [position, { entropy: entropies[i], token: likeliest[i], probability: confidences[i] }]),
  );
}
