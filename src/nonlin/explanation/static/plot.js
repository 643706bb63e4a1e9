"use strict";

// Plots as SVG. The look is the stylesheet's: a curve's class says its colour and its dashes.

const MARGINS = { left: 46, right: 12, top: 12, bottom: 30 };

// As wide as the place it has, so that its text is as large as the page's.
function sizeOf(svg) {
  const width = Math.max(svg.clientWidth || 640, 280);
  return { ...MARGINS, width, height: Math.max(0.6 * width, 240) };
}

function ticks(low, high, about = 6) {
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.75);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

const shown = (value, digits = 5) => {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "no number" : value > 0 ? "∞" : "−∞";
  return String(Number(value.toPrecision(digits))).replace("-", "−");
};

// From values to places and back.
function scales(across, along, size) {
  const [left, right, top, bottom] = [size.left, size.width - size.right, size.top, size.height - size.bottom];
  return {
    x: (value) => left + ((value - across[0]) / (across[1] - across[0])) * (right - left),
    y: (value) => bottom - ((value - along[0]) / (along[1] - along[0])) * (bottom - top),
    xOf: (place) => across[0] + ((place - left) / (right - left)) * (across[1] - across[0]),
    left, right, top, bottom,
  }; // prettier-ignore
}

function pathOf(points, at, along) {
  const margin = 0.6 * (along[1] - along[0]);
  let path = "";
  let down = false;
  for (const [x, y] of points) {
    const inside = Number.isFinite(y) && y > along[0] - margin && y < along[1] + margin;
    if (inside) path += `${down ? "L" : "M"}${at.x(x).toFixed(1)} ${at.y(y).toFixed(1)}`;
    down = inside;
  }
  return path;
}

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

// Draw curves [{points, kind}] between across and along; flat: stretches to shade; cursor: an x; marks: [{x, y, kind}].
function drawPlot(svg, { curves, across, along, flat = [], cursor, marks = [], title, xTitle = "", whole = false, size = sizeOf(svg), logarithmic = false }) {
  const at = scales(across, along, size);
  const clip = `clip-${svg.id}`;
  const parts = [
    `<title>${escaped(title)}</title><clipPath id="${clip}"><rect x="${at.left}" y="${at.top}" width="${at.right - at.left}" height="${at.bottom - at.top}"/></clipPath>`,
  ];
  for (const [from, to] of flat) {
    parts.push(`<rect class="flat" x="${at.x(from).toFixed(1)}" y="${at.top}" width="${(at.x(to) - at.x(from)).toFixed(1)}" height="${at.bottom - at.top}"/>`);
  }
  for (const x of ticks(...across).filter((tick) => !whole || Number.isInteger(tick))) {
    parts.push(`<path class="${x === 0 ? "axis" : "grid"}" d="M${at.x(x)} ${at.top}V${at.bottom}"/>`);
    parts.push(`<text class="tick" text-anchor="middle" x="${at.x(x)}" y="${at.bottom + 18}">${shown(x)}</text>`);
  }
  for (const y of ticks(...along)) {
    const label = logarithmic ? (Number.isInteger(y) ? `10<tspan dy="-5" font-size="9">${shown(y)}</tspan>` : "") : shown(y);
    parts.push(`<path class="${y === 0 && !logarithmic ? "axis" : "grid"}" d="M${at.left} ${at.y(y)}H${at.right}"/>`);
    parts.push(`<text class="tick" text-anchor="end" x="${at.left - 6}" y="${at.y(y) + 4}">${label}</text>`);
  }
  if (xTitle) parts.push(`<text class="tick" text-anchor="end" x="${at.right}" y="${at.bottom - 6}">${escaped(xTitle)}</text>`);
  const drawn = curves.map(({ points, kind }) => `<path class="line ${kind}" d="${pathOf(points, at, along)}"/>`);
  parts.push(`<g clip-path="url(#${clip})">${drawn.join("")}`);
  for (const { x, y, kind } of marks) {
    if (Number.isFinite(y)) parts.push(`<circle class="point ${kind}" r="5" cx="${at.x(x).toFixed(1)}" cy="${at.y(y).toFixed(1)}"/>`);
  }
  if (cursor !== undefined) parts.push(`<path class="cursor" d="M${at.x(cursor).toFixed(1)} ${at.top}V${at.bottom}"/>`);
  svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  svg.innerHTML = `${parts.join("")}</g>`;
  return at;
}

// Points of a function, with a gap where it jumps.
function sampled(f, [low, high], jumps = [], count = 360) {
  const points = [];
  for (let k = 0; k <= count; k++) points.push(low + ((high - low) * k) / count);
  const near = (high - low) * 1e-7;
  for (const jump of jumps) if (jump > low && jump < high) points.push(jump - near, jump, jump + near);
  points.sort((a, b) => a - b);
  return points.map((x) => [x, jumps.includes(x) ? NaN : f(x)]);
}

// What a page must not swallow: an error of its own is said where it can be read.
function guarded(work, place) {
  try {
    work();
  } catch (problem) {
    place.textContent = `This page has a fault: ${problem.message}. The address restores the state; please report it.`;
    throw problem;
  }
}

// The state of a page stands in its address.
function readState() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

function writeState(state) {
  const kept = Object.entries(state).filter(([, value]) => value !== undefined && value !== "");
  history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
}

const element = (id) => document.getElementById(id);

// Let the state of some controls stand in the address, and do something whenever one of them is moved.
function controls(ids, changed) {
  const value = (control) => (control.type === "checkbox" ? String(control.checked) : control.value);
  const read = () => {
    const given = readState();
    for (const id of ids) {
      const control = element(id);
      if (given[id] === undefined) continue;
      if (control.type === "checkbox") control.checked = given[id] === "true";
      else control.value = given[id];
      if (control.value === "" && control.tagName === "SELECT") control.selectedIndex = 0;
    }
  };
  const act = () => {
    for (const id of ids) {
      const output = document.querySelector(`output[for="${id}"]`);
      if (output) output.textContent = shown(Number(element(id).value), 3);
    }
    guarded(changed, element("problem"));
  };
  for (const id of ids) {
    element(id).addEventListener("input", () => {
      writeState(Object.fromEntries(ids.map((each) => [each, value(element(each))])));
      act();
    });
  }
  window.addEventListener("hashchange", () => { read(); act(); }); // prettier-ignore
  window.addEventListener("resize", act);
  read();
  act();
}

// The catalogue as the options of a list.
function offer(id, chosen, more = []) {
  const names = [...more, ...Object.keys(CATALOGUE)];
  element(id).innerHTML = names.map((name) => `<option${name === chosen ? " selected" : ""}>${name}</option>`).join("");
}

// A function of the catalogue and its slope, at the defaults.
function activationOf(name) {
  const { functions, parameters } = CATALOGUE[name];
  const values = parameters.map((p) => p.default);
  return { f: (x) => functions[0](x, ...values), slope: (x) => functions[1](x, ...values) };
}
