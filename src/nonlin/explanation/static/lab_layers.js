"use strict";

offer("activation", "sigmoid");
const read = (id) => Number(element(id).value);

controls(["activation", "depth", "width", "start", "seed"], () => {
  const name = element("activation").value;
  const gain = element("start").value === "fit" ? (CATALOGUE[name].gain ?? 1) : read("start");
  const setting = { width: read("width"), depth: read("depth"), gain, seed: read("seed") };
  const sample = throughLayers(activationOf(name), setting);
  const mean = inTheMean(activationOf(name), setting);
  const floor = -30;
  const line = (sizes, kind) => ({ kind, points: sizes.map((v, k) => [k, Math.max(Math.log10(v), floor)]) });
  const curves = [line(mean.signal, "c0 second"), line(mean.gradient, "c1 second"), line(sample.signal, "c0"), line(sample.gradient, "c1")];
  const heights = curves.flatMap(({ points: all }) => all.map(([, y]) => y)).filter(Number.isFinite);
  const along = [Math.min(-2, ...heights) - 0.3, Math.max(1, ...heights) + 0.3];
  drawPlot(element("plot"), { curves, across: [0, setting.depth], along, title: "Sizes by layer", xTitle: "layer", whole: true, logarithmic: true });
  const factor = sample.gradient[0] / sample.gradient.at(-1);
  const verdict = factor < 1e-3 ? "it vanishes" : factor > 1e3 ? "it explodes" : "it arrives";
  const rest = factor === 0 ? "nothing" : `${shown(factor, 2)} times what started`;
  element("said").textContent = `Of the gradient, ${rest} reaches the first layer: ${verdict}.`;
});
