"use strict";

// Leaky integrate and fire: tau dV/dt = I - V, a spike at V = 1, then V = 0 for a rest. Times in milliseconds.

// Spikes per second: the time from 0 to 1 is tau log(I/(I - 1)).
function firingRate(current, tau, rest) {
  return current > 1 ? 1000 / (rest + tau * Math.log(current / (current - 1))) : 0;
}

// The voltage over time and the spikes, in steps in which the current is constant, so that each is exact.
function simulated(current, tau, rest, duration, step = 0.1) {
  const trace = [];
  const spikes = [];
  let [voltage, free] = [0, 0]; // from when on it collects again
  for (let k = 0; k * step <= duration; k++) {
    let from = Math.max(k * step, free);
    const to = (k + 1) * step;
    trace.push([k * step, voltage]);
    while (from < to) {
      const until = current > 1 ? from + tau * Math.log((current - voltage) / (current - 1)) : Infinity;
      if (until > to) {
        voltage = current + (voltage - current) * Math.exp((from - to) / tau);
        break;
      }
      spikes.push(until);
      trace.push([until, 1], [until, 1.6], [until, 0]);
      [voltage, free] = [0, until + rest];
      from = free;
    }
  }
  return { trace, spikes };
}

if (typeof document !== "undefined") {
  controls(["current", "tau", "rest", "sharpness"], () => {
    const [current, tau, rest, sharpness] = ["current", "tau", "rest", "sharpness"].map((id) => Number(element(id).value));
    const { trace } = simulated(current, tau, rest, 200);
    drawPlot(element("trace"), { curves: [{ points: trace, kind: "c0" }, { points: [[0, 1], [200, 1]], kind: "c3 second" }], across: [0, 200], along: [0, 1.7], title: "Voltage over 200 ms", xTitle: "ms" }); // prettier-ignore
    const counted = simulated(current, tau, rest, 4000).spikes;
    const rate = counted.length > 1 ? (1000 * (counted.length - 1)) / (counted.at(-1) - counted[0]) : 0;
    element("said").textContent = `${shown(rate, 4)} spikes per second; by the formula ${shown(firingRate(current, tau, rest), 4)}.`;
    const across = [0, 4];
    const points = sampled((i) => firingRate(i, tau, rest), across, [1]);
    const top = Math.max(firingRate(4, tau, rest) * 1.1, 10);
    const relu = sampled((i) => Math.max(i - 1, 0) * (firingRate(4, tau, rest) / 3), across, []);
    drawPlot(element("curve"), { curves: [{ points: relu, kind: "c1 second" }, { points, kind: "c0" }], across, along: [0, top], marks: [{ x: current, y: rate, kind: "on" }], title: "Spikes per second by current", xTitle: "current" }); // prettier-ignore
    const soft = (v) => 1 / (1 + Math.exp(-2 * sharpness * v));
    const slope = (v) => 2 * sharpness * soft(v) * (1 - soft(v));
    drawPlot(element("surrogate"), { curves: [{ points: sampled((v) => (v > 0 ? 1 : 0), [-2, 2], [0]), kind: "c0" }, { points: sampled(slope, [-2, 2]), kind: "c1" }], across: [-2, 2], along: [-0.1, Math.max(1.2, slope(0) * 1.1)], title: "Step and surrogate slope", xTitle: "voltage above the threshold" }); // prettier-ignore
  });
}
