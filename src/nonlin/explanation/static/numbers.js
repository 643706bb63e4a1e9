"use strict";

// What other formats make of a number.

const FORMATS = {
  float64: null,
  float32: { digits: 23, lowest: -126, highest: 127 },
  float16: { digits: 10, lowest: -14, highest: 15 },
  bfloat16: { digits: 7, lowest: -126, highest: 127 },
};

// The nearest number of a format, ties to even.
function rounded(x, name) {
  const format = FORMATS[name];
  if (!format || x === 0 || !Number.isFinite(x)) return x;
  let exponent = Math.floor(Math.log2(Math.abs(x)));
  if (2 ** exponent > Math.abs(x)) exponent--; // log2 may round up to a whole number
  const unit = 2 ** (Math.max(exponent, format.lowest) - format.digits);
  const scaled = x / unit;
  let whole = Math.round(scaled);
  if (Math.abs(scaled - Math.trunc(scaled)) === 0.5 && whole % 2 !== 0) whole--;
  const result = whole * unit;
  return Math.abs(result) >= 2 ** (format.highest + 1) ? Math.sign(x) * Infinity : result;
}
