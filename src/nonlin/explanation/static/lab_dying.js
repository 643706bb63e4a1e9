"use strict";

const HIDDEN = 8;
let [network, data, timer, steps, loss] = [null, [], null, 0, NaN];

const named = { yours: null };
function activation(id) {
  const name = element(id).value;
  if (name !== "yours") return activationOf(name);
  return named.yours ?? activationOf("relu");
}

function typed() {
  const place = element("problem");
  place.textContent = "";
  named.yours = null;
  const text = element("formula").value.trim();
  if (!text) return;
  try {
    const { functions, parameters } = analysed(text);
    const values = parameters.map((p) => p.default);
    named.yours = { f: (x) => functions[0](x, ...values), slope: (x) => functions[1](x, ...values) };
  } catch (problem) {
    if (!(problem instanceof FormulaProblem)) throw problem;
    place.textContent = problem.message;
  }
}

const rate = () => 10 ** Number(element("rate").value);

function start() {
  typed();
  data = points(element("data").value, 160, 1);
  network = new Network([2, HIDDEN, HIDDEN, 1], [activation("first"), activation("second")], { seed: Number(element("seed").value) });
  [steps, loss] = [0, NaN];
}

function canvasOf(layer, unit) {
  const place = element(`units${layer}`);
  while (place.children.length <= unit) {
    place.insertAdjacentHTML("beforeend", `<figure><canvas width="42" height="42" role="img"></canvas><figcaption></figcaption></figure>`);
  }
  return place.children[unit];
}

function draw() {
  const dead = network.dead(data);
  const grid = 14;
  dead.forEach((layer, k) =>
    layer.forEach((isDead, i) => {
      const figure = canvasOf(k, i);
      figure.className = isDead ? "dead" : "";
      const words = isDead ? `unit ${i + 1}, dead` : `unit ${i + 1}`;
      figure.querySelector("figcaption").textContent = words;
      const canvas = figure.querySelector("canvas");
      canvas.setAttribute("aria-label", `Where ${words} answers`);
      drawField(canvas, (at) => network.forward(at).values[k + 1][i], [], grid);
    }),
  );
  drawField(element("field"), (at) => network.score(at), data);
  const count = dead.flat().filter(Boolean).length;
  const right = Math.round(100 * network.accuracy(data));
  element("said").textContent = `Step ${steps}: ${right} % right, ${count} of ${2 * HIDDEN} units dead`;
  element("rate-shown").textContent = shown(rate(), 2);
}

function train(count) {
  for (let k = 0; k < count; k++) loss = network.step(data, rate());
  steps += count;
  draw();
  if (!Number.isFinite(loss)) {
    stop();
    element("problem").textContent = "The numbers have grown beyond all bounds: the steps were too large. Start again with a smaller learning rate.";
  }
}

function stop() {
  clearInterval(timer);
  timer = null;
  element("train").textContent = "Train";
  element("train").setAttribute("aria-pressed", "false");
}

offer("first", "relu", ["yours"]);
offer("second", "relu", ["yours"]);
element("train").addEventListener("click", () => {
  if (timer) return stop();
  element("train").textContent = "Pause";
  element("train").setAttribute("aria-pressed", "true");
  timer = setInterval(() => guarded(() => train(2), element("problem")), 60);
});
element("one").addEventListener("click", () => guarded(() => train(1), element("problem")));
element("again").addEventListener("click", () => guarded(() => { stop(); start(); draw(); }, element("problem"))); // prettier-ignore

let before = "";
controls(["data", "first", "second", "rate", "seed", "formula", "width", "depth"], () => {
  const now = ["data", "first", "second", "seed", "formula"].map((id) => element(id).value).join();
  if (now !== before) start(); // the learning rate may change while the network learns
  before = now;
  draw();
  const chance = bornDead(Number(element("width").value), Number(element("depth").value));
  element("born").textContent = `${shown(100 * chance, 3)} % pass nothing on`;
});
