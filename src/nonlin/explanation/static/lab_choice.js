"use strict";

const NAMES = ["relu", "sigmoid"].filter((name) => name in CATALOGUE);

// Nanoseconds for one value, measured here and now.
function cost(f) {
  const values = Float64Array.from({ length: 20000 }, (_, k) => (k % 200) / 20 - 5);
  let sum = 0;
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    for (const x of values) sum += f(x);
    best = Math.min(best, performance.now() - start);
  }
  return Number.isFinite(sum) ? (best * 1e6) / values.length : NaN;
}

const functions = NAMES.map(activationOf);
const costs = functions.map(({ f }) => cost(f));

controls(["x", "depth"], () => {
  const x = Number(element("x").value);
  const depth = Number(element("depth").value);
  const curves = functions.flatMap(({ f, slope }, k) => [
    { points: sampled(f, [-8, 8]), kind: `c${k}` },
    { points: sampled(slope, [-8, 8], [0]), kind: `c${k} second` },
  ]);
  const marks = functions.map(({ f }) => ({ x, y: f(x), kind: "on" }));
  drawPlot(element("plot"), { curves, across: [-8, 8], along: [-0.3, 4], cursor: x, marks, title: "relu and sigmoid" });
  const odds = Math.exp(x);
  const rows = [
    ["answer to this sum", ...functions.map(({ f }) => shown(f(x), 4))],
    ["slope there", ...functions.map(({ slope }) => shown(slope(x), 4))],
    [`slope through ${depth} layers, at best`, "1", shown(0.25 ** depth, 3)],
    [`the same at this sum`, ...functions.map(({ slope }) => shown(slope(x) ** depth, 3))],
    ["answers lie", "from 0 to ∞", "between 0 and 1"],
    ["as a probability", "none", `${shown(100 * functions[1].f(x), 3)} %, odds of ${shown(odds, 3)} to 1`],
    ["dies?", "yes: slope exactly 0 below 0", "no, but its slope fades on both sides"],
    ["cost here, per value", ...costs.map((ns) => `${shown(ns, 2)} ns`)],
  ];
  element("rows").innerHTML = rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("");
});
