"use strict";

// Small networks, for the labs: random numbers that a seed decides, signals through layers, training by gradient descent.

function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function normal(seed) {
  const draw = uniform(seed);
  return () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
}

const matrix = (rows, columns, draw) => Array.from({ length: rows }, () => Float64Array.from({ length: columns }, draw));
const size = (vector) => Math.sqrt(vector.reduce((sum, v) => sum + v * v, 0) / vector.length);

// --- a signal and a gradient through many layers --------------------------------------------------------------------------------

// Root mean squares of the values after each layer, and of the gradient that comes back to each.
function throughLayers({ f, slope }, { width, depth, gain, seed }) {
  const draw = normal(seed);
  let values = Float64Array.from({ length: width }, draw);
  const signal = [size(values)];
  const layers = [];
  for (let k = 0; k < depth; k++) {
    const weights = matrix(width, width, () => (draw() * gain) / Math.sqrt(width));
    const sums = weights.map((row) => row.reduce((sum, w, i) => sum + w * values[i], 0));
    layers.push([weights, sums]);
    values = Float64Array.from(sums, f);
    signal.push(size(values));
  }
  let back = Float64Array.from({ length: width }, draw);
  const gradient = [size(back)];
  for (const [weights, sums] of layers.reverse()) {
    const inner = back.map((g, i) => g * slope(sums[i]));
    back = new Float64Array(width);
    weights.forEach((row, i) => row.forEach((w, j) => (back[j] += w * inner[i])));
    gradient.push(size(back));
  }
  return { signal, gradient: gradient.reverse() };
}

// The mean of a function of a normal number, by the midpoint rule, so that a kink at 0 lies between two points.
function expected(f, deviation) {
  let sum = 0;
  const step = 0.02;
  for (let z = step / 2 - 8; z < 8; z += step) sum += f(deviation * z) * Math.exp((-z * z) / 2);
  return (sum * step) / Math.sqrt(2 * Math.PI);
}

// The same sizes as an infinitely wide network has them.
function inTheMean({ f, slope }, { depth, gain }) {
  let square = 1;
  const signal = [1];
  const factors = [];
  for (let k = 0; k < depth; k++) {
    const deviation = gain * Math.sqrt(square);
    factors.push(gain * Math.sqrt(expected((x) => slope(x) ** 2, deviation)));
    square = expected((x) => f(x) ** 2, deviation);
    signal.push(Math.sqrt(square));
  }
  const gradient = [1];
  for (const factor of factors.reverse()) gradient.push(gradient.at(-1) * factor);
  return { signal, gradient: gradient.reverse() };
}

// --- networks that are trained ------------------------------------------------------------------------------------------------

class Network {
  // sizes: of the layers, the input's first; activations: {f, slope} of each hidden layer. The one output is a score for a class.
  constructor(sizes, activations, { seed, gain = Math.SQRT2 }) {
    const draw = normal(seed);
    this.activations = activations;
    this.weights = sizes.slice(1).map((n, k) => matrix(n, sizes[k], () => (draw() * (k < activations.length ? gain : 1)) / Math.sqrt(sizes[k])));
    this.biases = sizes.slice(1).map((n) => new Float64Array(n));
  }

  // The sums that go into each layer's activation, and what comes out.
  forward(input) {
    const sums = [];
    const values = [input];
    for (let k = 0; k < this.weights.length; k++) {
      const [rows, before] = [this.weights[k], values[k]];
      const [into, out] = [new Float64Array(rows.length), new Float64Array(rows.length)];
      for (let i = 0; i < rows.length; i++) {
        let sum = this.biases[k][i];
        for (let j = 0; j < before.length; j++) sum += rows[i][j] * before[j];
        into[i] = sum;
        out[i] = k < this.activations.length ? this.activations[k].f(sum) : sum;
      }
      sums.push(into);
      values.push(out);
    }
    return { sums, values };
  }

  score(input) {
    return this.forward(input).values.at(-1)[0];
  }

  // One step of gradient descent on the logistic loss over all points; returns the loss before it.
  step(points, rate) {
    const slopes = this.weights.map((rows) => rows.map((row) => new Float64Array(row.length)));
    const shifts = this.biases.map((b) => new Float64Array(b.length));
    let loss = 0;
    for (const { at, label } of points) {
      const { sums, values } = this.forward(at);
      const margin = (2 * label - 1) * values.at(-1)[0];
      loss += softplus(-margin) / points.length;
      let back = [(-(2 * label - 1) * sigmoid(-margin)) / points.length];
      for (let k = this.weights.length - 1; k >= 0; k--) {
        const next = new Float64Array(values[k].length);
        for (let i = 0; i < back.length; i++) {
          const g = k < this.activations.length ? back[i] * this.activations[k].slope(sums[k][i]) : back[i];
          if (g === 0) continue;
          shifts[k][i] += g;
          for (let j = 0; j < next.length; j++) {
            slopes[k][i][j] += g * values[k][j];
            next[j] += g * this.weights[k][i][j];
          }
        }
        back = next;
      }
    }
    this.weights.forEach((rows, k) => rows.forEach((row, i) => row.forEach((_, j) => (row[j] -= rate * slopes[k][i][j]))));
    this.biases.forEach((b, k) => b.forEach((_, i) => (b[i] -= rate * shifts[k][i])));
    return loss;
  }

  accuracy(points) {
    return points.filter(({ at, label }) => this.score(at) > 0 === (label === 1)).length / points.length;
  }

  // Whether each hidden unit has no slope at any point, so that nothing can change its weights.
  dead(points) {
    const found = this.activations.map((_, k) => this.weights[k].map(() => true));
    for (const { at } of points) {
      const { sums } = this.forward(at);
      found.forEach((layer, k) => layer.forEach((_, i) => (layer[i] &&= this.activations[k].slope(sums[k][i]) === 0)));
    }
    return found;
  }
}

// The chance that a random relu network passes nothing on for an input: that some layer has no positive sum.
const bornDead = (width, depth) => 1 - (1 - 0.5 ** width) ** depth;

// --- data and drawings -------------------------------------------------------------------------------------------------------------

const DATA = {
  circles: (draw, label) => {
    const [angle, radius] = [2 * Math.PI * draw(), label ? 0.4 * Math.sqrt(draw()) : 0.7 + 0.2 * draw()];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
  moons: (draw, label) => {
    const angle = Math.PI * draw();
    const noise = () => 0.12 * (draw() - 0.5);
    return label ? [0.55 * Math.cos(angle) - 0.25 + noise(), 0.6 * Math.sin(angle) - 0.15 + noise()] : [0.25 - 0.55 * Math.cos(angle) + noise(), 0.15 - 0.6 * Math.sin(angle) + noise()];
  },
  corners: (draw, label) => {
    const [a, b] = [0.1 + 0.8 * draw(), 0.1 + 0.8 * draw()];
    const side = draw() < 0.5 ? 1 : -1;
    return label ? [side * a, side * b] : [side * a, -side * b];
  },
}; // prettier-ignore

function points(name, count, seed) {
  const draw = uniform(seed);
  return Array.from({ length: count }, (_, k) => ({ at: DATA[name](draw, k % 2), label: k % 2 }));
}

// Where a score is above and below zero, in two colours, with the points on it.
function drawField(canvas, score, data, resolution = 36) {
  const context = canvas.getContext("2d");
  const cell = canvas.width / resolution;
  for (let i = 0; i < resolution; i++) {
    for (let j = 0; j < resolution; j++) {
      const at = [((i + 0.5) / resolution) * 2 - 1, 1 - ((j + 0.5) / resolution) * 2];
      const part = Math.tanh(score(at));
      context.fillStyle = part > 0 ? `rgba(59,130,246,${part * 0.75})` : `rgba(229,72,77,${-part * 0.75})`;
      context.clearRect(i * cell, j * cell, cell + 1, cell + 1);
      context.fillRect(i * cell, j * cell, cell + 0.5, cell + 0.5);
    }
  }
  for (const { at, label } of data) {
    context.beginPath();
    context.arc(((at[0] + 1) / 2) * canvas.width, ((1 - at[1]) / 2) * canvas.height, canvas.width / 90, 0, 2 * Math.PI);
    context.fillStyle = label ? "#1d4ed8" : "#b91c1c";
    context.fill();
    context.strokeStyle = "#fff";
    context.stroke();
  }
}
