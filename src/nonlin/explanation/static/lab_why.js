"use strict";

const WIDTH = 8;
let [networks, data, timer, steps] = [[], [], null, 0];
const straight = { f: (x) => x, slope: () => 1 };

function start() {
  const depth = Number(element("depth").value);
  data = points(element("data").value, 160, 1);
  const sizes = [2, ...Array(depth).fill(WIDTH), 1];
  const make = (one, gain) => new Network(sizes, Array(depth).fill(one), { seed: 5, gain });
  networks = [make(straight, 1), make(activationOf(element("activation").value), CATALOGUE[element("activation").value].gain ?? 1)];
  steps = 0;
}

function draw() {
  networks.forEach((network, k) => {
    const side = ["left", "right"][k];
    drawField(element(side), (at) => network.score(at), data);
    const words = k ? `With ${element("activation").value}` : "Without activation";
    element(`${side}-said`).textContent = `${words}: ${Math.round(100 * network.accuracy(data))} % right after ${steps} steps`;
  });
  // The left one is a plane: its height at three places says all of it.
  const [c, a, b] = [[0, 0], [1, 0], [0, 1]].map((at) => networks[0].score(at));
  const term = (value, name) => `${value < 0 ? " − " : " + "}${shown(Math.abs(value), 3)}·${name}`;
  element("line").textContent = `All layers of the left network together: ${shown(c, 3)}${term(a - c, "x")}${term(b - c, "y")}.`;
}

function stop() {
  clearInterval(timer);
  timer = null;
  element("train").textContent = "Train";
  element("train").setAttribute("aria-pressed", "false");
}

offer("activation", "tanh");
element("train").addEventListener("click", () => {
  if (timer) return stop();
  element("train").textContent = "Pause";
  element("train").setAttribute("aria-pressed", "true");
  timer = setInterval(() => guarded(() => {
    networks.forEach((network) => { for (let k = 0; k < 5; k++) network.step(data, 0.3); });
    steps += 5;
    draw();
    if (steps >= 3000) stop();
  }, element("problem")), 60); // prettier-ignore
});
element("again").addEventListener("click", () => guarded(() => { stop(); start(); draw(); }, element("problem"))); // prettier-ignore
let before = "";
controls(["data", "depth", "activation"], () => {
  const now = ["data", "depth", "activation"].map((id) => element(id).value).join();
  if (now !== before) start();
  before = now;
  draw();
});
