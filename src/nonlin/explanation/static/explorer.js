"use strict";

const MOST = 4;
const MINE = "yours"; // the name of the typed formula
const state = { shown: [], values: {}, orders: new Set([0, 1]), x: 1, reach: null, format: "float64", formula: "" };
let mine = null;

const entryOf = (name) => (name === MINE ? mine : CATALOGUE[name]);
const valuesOf = (name) => entryOf(name).parameters.map((p) => state.values[name]?.[p.name] ?? p.default);

// A derivative with its parameters, in the numbers of the chosen format.
function seen(name, order, format = state.format) {
  const [f, values] = [entryOf(name).functions[order], valuesOf(name)];
  return (x) => rounded(f(rounded(x, format), ...values), format);
}

function reach() {
  return state.reach ?? Math.max(...state.shown.map((name) => entryOf(name).interval?.[1] ?? 6));
}

// --- the address ----------------------------------------------------------------------------------------------------------

function restore() {
  const given = readState();
  state.formula = given.formula ?? "";
  mine = null;
  if (state.formula) typed(state.formula);
  state.shown = [];
  state.values = {};
  for (const part of (given.f ?? (mine ? MINE : "gelu")).split(";").slice(0, MOST)) {
    const [name, ...settings] = part.split(",");
    if (!(name === MINE ? mine : Object.hasOwn(CATALOGUE, name)) || state.shown.includes(name)) continue;
    state.shown.push(name);
    state.values[name] = {};
    for (const setting of settings) {
      const [parameter, value] = setting.split(":");
      if (Number.isFinite(Number(value))) state.values[name][parameter] = Number(value);
    }
  }
  if (!state.shown.length) state.shown = ["gelu"];
  const orders = [...(given.orders ?? "01")].map(Number).filter((n) => n <= 2);
  state.orders = new Set(orders.length ? orders : [0]);
  state.reach = Number(given.reach) > 0 ? Math.min(Number(given.reach), 1e6) : null;
  state.x = Number.isFinite(Number(given.x ?? 1)) ? Number(given.x ?? 1) : 1;
  state.format = Object.hasOwn(FORMATS, given.format ?? "") ? given.format : "float64";
  element("formula").value = state.formula;
  element("format").value = state.format;
  element("choose").value = state.shown[0] === MINE ? "" : state.shown[0];
}

function save() {
  const settings = (name) => Object.entries(state.values[name] ?? {}).map(([p, value]) => `,${p}:${value}`).join("");
  writeState({
    f: state.shown.map((name) => name + settings(name)).join(";"),
    orders: [...state.orders].sort().join(""),
    x: state.x,
    reach: state.reach ?? undefined,
    format: state.format === "float64" ? undefined : state.format,
    formula: state.formula,
  });
}

// --- the formula box --------------------------------------------------------------------------------------------------------

function typed(text) {
  const place = element("problem");
  place.textContent = "";
  mine = null;
  state.formula = text.trim();
  if (!state.formula) return;
  try {
    mine = analysed(state.formula);
  } catch (problem) {
    if (!(problem instanceof FormulaProblem)) throw problem;
    place.textContent = problem.message;
    return;
  }
  mine.summary = mine.recognised ? `This is ${mine.recognised}.` : "Not one of the catalogue.";
  mine.facts = found(mine);
  place.textContent = mine.summary;
}

// What numbers alone can tell of a typed function.
function found({ functions, parameters }) {
  const values = parameters.map((p) => p.default);
  const [f, slope] = functions.map((g) => (x) => g(x, ...values));
  const far = sampled(f, [-30, 30], [], 6000);
  const finite = far.filter(([, y]) => Number.isFinite(y));
  if (!finite.length) return { "no value": "between −30 and 30" };
  const lowest = finite.reduce((a, b) => (b[1] < a[1] ? b : a));
  const highest = finite.reduce((a, b) => (b[1] > a[1] ? b : a));
  const steepest = sampled(slope, [-30, 30], [], 6000).reduce((a, b) => (Math.abs(b[1]) > Math.abs(a[1]) ? b : a), [0, 0]);
  // The mean square for normal inputs, by the trapezoidal rule.
  let square = 0;
  for (let x = -10; x <= 10; x += 0.01) square += ((f(x) ** 2 * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI)) * 0.01;
  const facts = {
    "lowest in ±30": `${shown(lowest[1])} at ${shown(lowest[0], 3)}`,
    "highest in ±30": `${shown(highest[1])} at ${shown(highest[0], 3)}`,
    "steepest in ±30": `${shown(steepest[1])} at ${shown(steepest[0], 3)}`,
    "f(0)": shown(f(0)),
    "slope at 0": shown(slope(0)),
  };
  if (finite.length < far.length) facts["has no value"] = `at ${far.length - finite.length} of ${far.length} places in ±30`;
  if (Number.isFinite(square) && square > 0) facts["gain for weights"] = shown(square ** -0.5);
  return facts;
}

// --- drawing ----------------------------------------------------------------------------------------------------------------

function stretches(f, across) {
  const flat = [];
  let from = null;
  const points = sampled(f, across, [], 240);
  for (const [x, y] of points) {
    if (Math.abs(y) < 0.05) from ??= x;
    else if (from !== null) {
      flat.push([from, x]);
      from = null;
    }
  }
  if (from !== null) flat.push([from, across[1]]);
  return flat;
}

function draw() {
  const across = [-reach(), reach()];
  state.x = Math.min(Math.max(state.x, across[0]), across[1]);
  const curves = [];
  const marks = [];
  let [low, high] = [0, 0];
  state.shown.forEach((name, k) => {
    for (const order of state.orders) {
      const f = seen(name, order);
      const points = sampled(f, across, order ? (entryOf(name).kinks ?? []) : []);
      curves.push({ points, kind: `c${k} ${["", "second", "third"][order]}` });
      marks.push({ x: state.x, y: f(state.x), kind: k === 0 ? "on" : "" });
      for (const [, y] of points) {
        if (!Number.isFinite(y)) continue;
        low = Math.min(low, y);
        high = Math.max(high, y);
      }
    }
  });
  // No more than what a square shows.
  [low, high] = [Math.max(low, -1.2 * reach()), Math.min(high, 1.2 * reach())];
  const margin = 0.06 * (high - low) || 1;
  const first = state.shown[0];
  drawPlot(element("plot"), {
    curves,
    across,
    along: [low - margin, high + margin],
    flat: stretches(seen(first, 1, "float64"), across),
    cursor: state.x,
    marks,
    title: `${state.shown.join(", ")} from ${shown(across[0])} to ${shown(across[1])}`,
  });
  const slider = element("x");
  [slider.min, slider.max, slider.step] = [across[0], across[1], across[1] / 600];
  slider.value = state.x;
  element("xvalue").textContent = shown(state.x, 4);
  tell();
  save();
}

function tell() {
  const rows = state.shown.map((name, k) => {
    const cells = [0, 1, 2].map((order) => `<td>${shown(seen(name, order)(state.x), 6)}</td>`).join("");
    return `<tr><td><span class="key c${k}"></span> ${name}</td>${cells}</tr>`;
  });
  element("values").innerHTML = rows.join("");
  element("seen").textContent = formatted(state.shown[0]);
}

// How a format sees the first function: rounding, and where it underflows and overflows.
function formatted(name) {
  const { format } = state;
  if (format === "float64") return "";
  const [f, exact] = [seen(name, 0), seen(name, 0, "float64")];
  const said = [`In ${format} this x is ${shown(rounded(state.x, format), 8)} and f is ${shown(f(state.x), 8)}; exactly it is ${shown(exact(state.x), 8)}.`];
  for (const sign of [-1, 1]) {
    let [vanishes, overflows] = [null, null];
    for (let size = 2 ** -4; size < 2 ** 15; size *= 1.01) {
      const [got, want] = [f(sign * size), exact(sign * size)];
      if (got === 0 && want !== 0) vanishes ??= sign * size;
      if (Math.abs(got) === Infinity && Number.isFinite(want)) overflows ??= sign * size;
    }
    if (vanishes !== null) said.push(`From about x = ${shown(vanishes, 3)} on f is rounded to 0.`);
    if (overflows !== null) said.push(`From about x = ${shown(overflows, 3)} on f is too large and becomes infinite.`);
  }
  return said.join(" ");
}

// What does not change while x moves.
function write() {
  element("chips").innerHTML = state.shown
    .map((name, k) => {
      const close = state.shown.length > 1 ? ` <button type="button" data-close="${name}" aria-label="Remove ${name}">×</button>` : "";
      return `<li><span class="key c${k}"></span> ${name}${close}</li>`;
    })
    .join("");
  const sliders = state.shown.flatMap((name) =>
    entryOf(name).parameters.map((p, k) => {
      const label = `${name}: ${p.name}`;
      const value = valuesOf(name)[k];
      return `<label class="field">${label} <input type="range" data-name="${name}" data-parameter="${p.name}" min="${p.low}" max="${p.high}" step="${p.step}" value="${value}"> <output>${shown(value)}</output></label>`;
    }),
  );
  element("sliders").innerHTML = sliders.join("");
  const first = state.shown[0];
  const entry = entryOf(first);
  const facts = Object.entries(entry.facts ?? {}).map(([name, fact]) => `<dt>${name}</dt><dd>${escaped(fact)}</dd>`);
  element("facts").innerHTML = facts.join("");
  const code = Object.entries(entry.code ?? { "f′": entry.slopes?.[0] ?? "", "f″": entry.slopes?.[1] ?? "" });
  element("code").innerHTML = code.map(([title, text]) => `<h3>${title}</h3><pre tabindex="0"><code>${escaped(text)}</code></pre>`).join("");
  element("code-title").textContent = entry.code ? "Code" : "Its derivatives";
  const link = first === MINE ? "" : ` <a href="entries/${first}.html">All about ${first}</a>`;
  element("about").innerHTML = `${escaped(entry.summary ?? "")} ${entry.source ? `Source: ${escaped(entry.source)}.` : ""}${link}`;
  for (const button of element("views").querySelectorAll("[data-order]")) {
    button.setAttribute("aria-pressed", String(state.orders.has(Number(button.dataset.order))));
  }
  element("add").disabled = state.shown.length >= MOST;
  draw();
}

// --- what the visitor does ----------------------------------------------------------------------------------------------------

// The entry of a name or an alias.
function named(text) {
  const plain = (name) => name.toLowerCase().replaceAll(/[_\s-]/g, "");
  return Object.keys(CATALOGUE).find((name) => [name, ...CATALOGUE[name].aliases].some((n) => plain(n) === plain(text)));
}

function listen(id, event, action) {
  element(id).addEventListener(event, (given) => guarded(() => action(given), element("problem")));
}

function choose(add) {
  const name = named(element("choose").value);
  if (!name) {
    element("problem").textContent = `There is no activation “${element("choose").value}” in the list.`;
    return;
  }
  element("problem").textContent = "";
  if (add && !state.shown.includes(name)) state.shown.push(name);
  else if (!add) state.shown = [name, ...state.shown.slice(1).filter((other) => other !== name)];
  write();
}

function dragged(event) {
  if (event.buttons !== 1 && event.type !== "pointerdown") return;
  const box = element("plot").getBoundingClientRect();
  const size = sizeOf(element("plot"));
  state.x = scales([-reach(), reach()], [0, 1], size).xOf(((event.clientX - box.left) / box.width) * size.width);
  draw();
}

element("names").innerHTML = Object.keys(CATALOGUE).map((name) => `<option value="${name}">`).join("");
listen("choose", "keydown", (event) => event.key === "Enter" && choose(false));
listen("show", "click", () => choose(false));
listen("add", "click", () => choose(true));
listen("x", "input", (event) => {
  state.x = Number(event.target.value);
  draw();
});
listen("plot", "pointerdown", dragged);
listen("plot", "pointermove", dragged);
listen("sliders", "input", ({ target }) => {
  (state.values[target.dataset.name] ??= {})[target.dataset.parameter] = Number(target.value);
  target.nextElementSibling.textContent = shown(Number(target.value));
  draw();
});
listen("formula", "input", (event) => {
  typed(event.target.value);
  state.shown = state.shown.filter((name) => name !== MINE);
  if (mine) state.shown = [MINE, ...state.shown.slice(0, MOST - 1)];
  if (!state.shown.length) state.shown = ["gelu"];
  write();
});
listen("chips", "click", ({ target }) => {
  if (!target.dataset.close) return;
  state.shown = state.shown.filter((name) => name !== target.dataset.close);
  write();
});
listen("views", "click", ({ target }) => {
  const order = Number(target.dataset.order);
  if (target.dataset.order === undefined) return;
  if (!state.orders.delete(order)) state.orders.add(order);
  if (!state.orders.size) state.orders.add(0);
  write();
});
listen("format", "change", (event) => {
  state.format = event.target.value;
  draw();
});
listen("nearer", "click", () => {
  state.reach = Math.max(reach() / 2, 1e-3);
  draw();
});
listen("farther", "click", () => {
  state.reach = Math.min(reach() * 2, 1e6);
  draw();
});
window.addEventListener("resize", () => guarded(draw, element("problem")));
window.addEventListener("hashchange", () => guarded(() => { restore(); write(); }, element("problem"))); // prettier-ignore
guarded(() => { restore(); write(); }, element("problem")); // prettier-ignore
