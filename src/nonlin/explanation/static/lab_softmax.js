"use strict";

const ANIMALS = ["cat", "dog", "horse", "whale", "newt"];

function softmax(scores) {
  const top = Math.max(...scores);
  const shares = scores.map((s) => Math.exp(s - top));
  const sum = shares.reduce((a, b) => a + b);
  return shares.map((s) => s / sum);
}

// Shares max(score - threshold, 0)**power that add up to 1; the threshold is found by halving.
function thresholded(scores, power) {
  let [low, high] = [Math.max(...scores) - 1, Math.max(...scores)];
  const sharesAt = (threshold) => scores.map((s) => Math.max(s - threshold, 0) ** power);
  for (let k = 0; k < 60; k++) {
    const middle = (low + high) / 2;
    if (sharesAt(middle).reduce((a, b) => a + b) > 1) low = middle;
    else high = middle;
  }
  return sharesAt((low + high) / 2);
}

const sparsemax = (scores) => thresholded(scores, 1);
const entmax15 = (scores) => thresholded(scores.map((s) => s / 2), 2); // prettier-ignore

if (typeof document !== "undefined") {
  const ids = [...ANIMALS.map((_, k) => `score${k}`), "temperature", "shift"];
  controls(ids, () => {
    const scores = ANIMALS.map((_, k) => (Number(element(`score${k}`).value) + Number(element("shift").value)) / Number(element("temperature").value));
    const kinds = [softmax(scores), entmax15(scores), sparsemax(scores)];
    const bar = (share, k) => `<svg viewBox="0 0 100 16" style="width:100px" aria-hidden="true"><path class="line c${k}" style="stroke-width:10" d="M0 8H${(100 * share).toFixed(1)}"/></svg>`;
    const rows = ANIMALS.map((animal, i) => {
      const cells = kinds.map((shares, k) => `<td>${(100 * shares[i]).toFixed(1)} %</td><td>${bar(shares[i], k)}</td>`);
      return `<tr><td>${animal}</td>${cells.join("")}</tr>`;
    });
    element("rows").innerHTML = rows.join("");
    const best = scores.indexOf(Math.max(...scores));
    element("said").textContent = `${ANIMALS[best]} leads: softmax gives it ${(100 * kinds[0][best]).toFixed(0)} %.`;
  });
}
