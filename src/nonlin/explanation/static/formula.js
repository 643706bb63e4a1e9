"use strict";

// The formula box: what a visitor types, parsed, differentiated by the primitives' own rules (PRIMITIVES, in language.js) and
// made into functions. A formula is shared throughout: the same part built twice is one object.

const LONGEST = 600; // characters
const DEEPEST = 80; // brackets within brackets
const MOST_PARTS = 20000; // of a second derivative

class FormulaProblem extends Error {
  constructor(message, column) {
    super(column === undefined ? message : `column ${column}: ${message}`);
    this.column = column;
  }
}

// --- parts --------------------------------------------------------------------------------------------------------------

let interned = new Map();

function intern(key, fields) {
  let part = interned.get(key);
  if (!part) {
    if (interned.size > 10 * MOST_PARTS) throw new FormulaProblem("this is too long to be differentiated here");
    part = { id: interned.size, ...fields };
    interned.set(key, part);
  }
  return part;
}

const number = (value) => intern(`#${value}`, { op: "number", value, args: [] });
const symbol = (name) => intern(`$${name}`, { op: "symbol", name, args: [] });
const applied = (op, ...args) => intern(`${op} ${args.map((a) => a.id)}`, { op, args });
const isNumber = (part, value) => part.op === "number" && (value === undefined || part.value === value);
const isCondition = (part) => Boolean(PRIMITIVES[part.op]?.isCondition);

// Sums, products and powers of numbers are folded, zeros and ones left out; the rest stays as it is written.
const FOLDED = {
  add: (a, b) => (isNumber(a, 0) ? b : isNumber(b, 0) ? a : fold(a, b, (p, q) => p + q)),
  subtract: (a, b) => (isNumber(b, 0) ? a : isNumber(a, 0) ? build("negative", b) : a === b ? number(0) : fold(a, b, (p, q) => p - q)),
  multiply: (a, b) => {
    if (isNumber(a, 0) || isNumber(b, 1)) return a;
    if (isNumber(b, 0) || isNumber(a, 1)) return b;
    if (isNumber(b) && !isNumber(a)) return build("multiply", b, a);
    if (isNumber(a, -1)) return build("negative", b);
    if (isNumber(a) && b.op === "multiply" && isNumber(b.args[0])) return build("multiply", number(a.value * b.args[0].value), b.args[1]);
    if (b.op === "negative") return build("negative", build("multiply", a, b.args[0]));
    if (a.op === "negative") return build("negative", build("multiply", a.args[0], b));
    if (a === b) return power(a, number(2));
    return fold(a, b, (p, q) => p * q);
  },
  divide: (a, b) => {
    if (isNumber(b, 0)) throw new FormulaProblem("this divides by zero");
    return isNumber(b, 1) || isNumber(a, 0) ? a : fold(a, b, (p, q) => p / q);
  },
  negative: (a) => (isNumber(a) ? number(0 - a.value) : a.op === "negative" ? a.args[0] : null),
  where: (condition, a, b) => (a === b ? a : null),
};

function fold(a, b, operation) {
  if (!isNumber(a) || !isNumber(b)) return null;
  const value = operation(a.value, b.value);
  return Number.isFinite(value) ? number(value) : null;
}

function build(op, ...args) {
  return FOLDED[op]?.(...args) ?? applied(op, ...args);
}

function power(base, exponent) {
  if (base.op === "exp" && isNumber(base.args[0], 1)) return build("exp", exponent); // e**x
  if (!isNumber(exponent)) throw new FormulaProblem("an exponent that varies: write exp(exponent*log(base))");
  const n = exponent.value;
  if (n < 0) return build("divide", number(1), power(base, number(-n)));
  if (n === 0) return number(1);
  if (n === 1) return base;
  if (n === 0.5) return build("sqrt", base);
  if (Number.isInteger(n - 0.5)) return build("multiply", power(base, number(n - 0.5)), build("sqrt", base));
  if (!Number.isInteger(n)) throw new FormulaProblem(`the exponent ${n}: only whole and half ones can be; write exp(${n}*log(base))`);
  if (isNumber(base) && Number.isFinite(base.value ** n)) return number(base.value ** n);
  if (base.op === "integer_power") return power(base.args[0], number(base.args[1].value * n));
  return applied("integer_power", base, exponent);
}

// A formula as data, with parts for its symbols.
function fromTree(tree, given) {
  if (typeof tree === "number") return number(tree);
  if (typeof tree === "string") return given[tree.replace("+", "")] ?? symbol(tree);
  const args = tree.slice(1).map((inner) => fromTree(inner, given));
  return tree[0] === "integer_power" ? power(...args) : build(tree[0], ...args);
}

function inOrder(root, seen = new Set()) {
  const order = [];
  const open = [[root, false]];
  while (open.length) {
    const [part, ready] = open.pop();
    if (ready) order.push(part);
    else if (!seen.has(part)) {
      seen.add(part);
      if (seen.size > MOST_PARTS) throw new FormulaProblem("this is too long to be differentiated here");
      open.push([part, true]);
      for (const inner of part.args) open.push([inner, false]);
    }
  }
  return order;
}

function rebuilt(root, change) {
  const done = new Map();
  for (const part of inOrder(root)) {
    const args = part.args.map((inner) => done.get(inner));
    const same = args.every((inner, k) => inner === part.args[k]);
    done.set(part, change(same ? part : part.op === "integer_power" ? power(...args) : build(part.op, ...args)));
  }
  return done.get(root);
}

// --- what is typed --------------------------------------------------------------------------------------------------------

const OTHER_NAMES = { max: "maximum", min: "minimum", abs: "absolute", ln: "log", atan: "arctan", expit: "sigmoid", Phi: "normal_cdf" };
const INFIX = {
  or: ["logical_or", 1], "|": ["logical_or", 1], "||": ["logical_or", 1],
  and: ["logical_and", 2], "&": ["logical_and", 2], "&&": ["logical_and", 2],
  "<": ["less", 3], "<=": ["less_equal", 3], ">": ["greater", 3], ">=": ["greater_equal", 3],
  "+": ["add", 4], "-": ["subtract", 4], "*": ["multiply", 5], "/": ["divide", 5],
}; // prettier-ignore

function tokens(text) {
  const pattern = /\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z_]\w*)|(\*\*|<=|>=|&&|\|\||[-+*/^<>()&|,]))/y;
  const found = [];
  let at = 0;
  while (text.slice(at).trim()) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (!match) {
      const column = at + text.slice(at).search(/\S/) + 1;
      throw new FormulaProblem(`“${[...text.slice(column - 1)][0]}” has no meaning here`, column);
    }
    const [value, kind] = match[1] ? [match[1], "number"] : match[2] ? [match[2], "name"] : [match[3], "sign"];
    at = pattern.lastIndex;
    found.push({ value: value === "^" ? "**" : value, kind, column: at - value.length + 1 });
  }
  found.push({ value: "the end", kind: "end", column: text.length + 1 });
  return found;
}

class Parser {
  constructor(text) {
    if (text.length > LONGEST) throw new FormulaProblem(`a formula of at most ${LONGEST} characters, please`, LONGEST + 1);
    this.tokens = tokens(text);
    this.at = 0;
    this.depth = 0;
    this.names = new Set();
  }

  get next() {
    return this.tokens[this.at];
  }

  take(value) {
    if (this.next.value !== value || this.next.kind === "number") return false;
    this.at++;
    return true;
  }

  expect(value, why) {
    if (!this.take(value)) throw new FormulaProblem(`expected “${value}” ${why}, found ${this.found()}`, this.next.column);
  }

  found() {
    return this.next.kind === "end" ? "the end" : `“${this.next.value}”`;
  }

  whole() {
    const formula = this.expression();
    if (this.next.kind !== "end") throw new FormulaProblem(`expected an operator, found ${this.found()}`, this.next.column);
    if (isCondition(formula)) throw new FormulaProblem("a condition is no number: write where(condition, 1, 0)", 1);
    return formula;
  }

  // What is wrong with a part is said with the column where the part begins.
  made(column, make) {
    try {
      return make();
    } catch (problem) {
      if (problem instanceof FormulaProblem && problem.column === undefined) throw new FormulaProblem(problem.message, column);
      throw problem;
    }
  }

  apply(op, args, column) {
    const wanted = PRIMITIVES[op].conditions ?? [];
    args.forEach((arg, k) => {
      if (isCondition(arg) && !wanted.includes(k)) {
        throw new FormulaProblem("a condition is no number: write where(condition, 1, 0)", column);
      }
      if (!isCondition(arg) && wanted.includes(k)) throw new FormulaProblem(`${op} needs a condition such as x > 0`, column);
    });
    return this.made(column, () => build(op, ...args));
  }

  expression() {
    if (++this.depth > DEEPEST) throw new FormulaProblem("too many brackets within brackets", this.next.column);
    const column = this.next.column;
    let value = this.infix(0);
    if (this.take("if")) {
      const condition = this.infix(0);
      this.expect("else", "after a condition");
      value = this.apply("where", [condition, value, this.expression()], column);
    }
    this.depth--;
    return value;
  }

  infix(least) {
    let left = this.unary();
    for (;;) {
      const { value, column, kind } = this.next;
      const [op, binds] = (kind !== "number" && INFIX[value]) || [];
      if (op === undefined || binds <= least) return left;
      this.at++;
      const right = this.infix(binds);
      if (binds === 3 && isCondition(left)) {
        throw new FormulaProblem("one comparison at a time: write (a < b) & (b < c)", column);
      }
      left = this.apply(op, [left, right], column);
    }
  }

  unary() {
    const column = this.next.column;
    let minus = false;
    while (this.next.value === "-" || this.next.value === "+") {
      minus = minus !== (this.next.value === "-");
      this.at++;
    }
    const value = this.raised();
    return minus ? this.apply("negative", [value], column) : value;
  }

  raised() {
    const base = this.atom();
    const { column } = this.next;
    if (!this.take("**")) return base;
    if (++this.depth > DEEPEST) throw new FormulaProblem("too many powers of powers", column);
    const exponent = this.unary();
    this.depth--;
    if (isCondition(base) || isCondition(exponent)) throw new FormulaProblem("a condition has no power", column);
    return this.made(column, () => power(base, exponent));
  }

  atom() {
    const { value, kind, column } = this.next;
    if (this.take("(")) {
      const inner = this.expression();
      this.expect(")", `for the bracket of column ${column}`);
      return inner;
    }
    if (kind === "end") throw new FormulaProblem("something is missing at the end", column);
    if (kind === "sign") throw new FormulaProblem(`expected a number, a name or a bracket, found ${this.found()}`, column);
    this.at++;
    if (kind === "number") {
      if (!Number.isFinite(Number(value))) throw new FormulaProblem(`${value} is larger than any number here`, column);
      return number(Number(value));
    }
    if (this.next.value === "(") return this.call(value, column);
    if (value === "pi") return applied("pi");
    if (value === "e") return build("exp", number(1));
    if (["if", "else", "and", "or"].includes(value)) throw new FormulaProblem(`“${value}” stands where a value should`, column);
    const op = OTHER_NAMES[value] ?? value;
    if (Object.hasOwn(PRIMITIVES, op) || Object.hasOwn(CATALOGUE, value)) {
      throw new FormulaProblem(`${value} is a function: write ${value}(x)`, column);
    }
    if (value !== "x") this.names.add(value);
    return symbol(value);
  }

  call(name, column) {
    this.expect("(", "");
    const args = [];
    if (!this.take(")")) {
      do args.push(this.expression());
      while (this.take(","));
      this.expect(")", `after what ${name} is given`);
    }
    const op = OTHER_NAMES[name] ?? name;
    if (Object.hasOwn(PRIMITIVES, op) && !["integer_power", "pi", "nan"].includes(op)) {
      const { arity } = PRIMITIVES[op];
      if (args.length !== arity) throw new FormulaProblem(`${name} takes ${arity} value${arity > 1 ? "s" : ""}, got ${args.length}`, column);
      return this.apply(op, args, column);
    }
    if (Object.hasOwn(CATALOGUE, name)) {
      const names = ["x", ...CATALOGUE[name].parameters.map((p) => p.name)];
      if (!args.length || args.length > names.length) {
        throw new FormulaProblem(`${name} takes x and ${names.length - 1} parameters at most, got ${args.length} values`, column);
      }
      if (args.some(isCondition)) throw new FormulaProblem("a condition is no number: write where(condition, 1, 0)", column);
      const given = Object.fromEntries(names.map((n, k) => [n, args[k] ?? number(CATALOGUE[name].parameters[k - 1].default)]));
      return this.made(column, () => fromTree(CATALOGUE[name].tree, given));
    }
    const near = Object.keys({ ...PRIMITIVES, ...CATALOGUE }).find((n) => n.startsWith(name.slice(0, 3).toLowerCase()));
    throw new FormulaProblem(`there is no function ${name}${near ? `; did you mean ${near}?` : ""}`, column);
  }
}

// --- derivatives and stable forms ---------------------------------------------------------------------------------------------

function differentiated(root, name = "x") {
  const slopes = new Map();
  const zero = number(0);
  for (const part of inOrder(root)) {
    const inner = part.args.map((a) => slopes.get(a));
    if (part.op === "symbol") slopes.set(part, number(part.name === name ? 1 : 0));
    else if (part.op === "number" || isCondition(part) || inner.every((s) => s === zero)) slopes.set(part, zero);
    else slopes.set(part, chained(part, inner));
  }
  return slopes.get(root);
}

function chained(part, inner) {
  const { op, args } = part;
  if (op === "where") return build("where", args[0], inner[1], inner[2]);
  if (op === "maximum") return build("where", applied("greater", ...args), ...inner);
  if (op === "minimum") return build("where", applied("less", ...args), ...inner);
  if (op === "integer_power") {
    const n = args[1].value;
    return build("multiply", inner[0], build("multiply", number(n), power(args[0], number(n - 1))));
  }
  const given = { a: args[0], b: args[1], c: args[2] };
  return PRIMITIVES[op].partials
    .map((partial, k) => (isNumber(inner[k], 0) ? number(0) : build("multiply", inner[k], fromTree(partial, given))))
    .reduce((a, b) => build("add", a, b));
}

const POSITIVE = new Set(["exp", "sigmoid", "softplus", "sech", "reciprocal_hypot", "half_hypot_sum", "normal_cdf", "erfc", "pi"]);

function isPositive(part) {
  if (part.op === "number") return part.value > 0;
  if (["add", "multiply", "divide", "sqrt"].includes(part.op)) return part.args.every(isPositive);
  return POSITIVE.has(part.op);
}

// The ways in which a pattern is a part; sums and products match in either order.
function* matches(pattern, part, found) {
  if (typeof pattern === "string") {
    const name = pattern.replace("+", "");
    if (pattern !== name && !isPositive(part)) return;
    if (found[name] === undefined) yield { ...found, [name]: part };
    else if (found[name] === part) yield found;
  } else if (typeof pattern === "number") {
    if (isNumber(part, pattern)) yield found;
  } else if (pattern[0] === part.op) {
    const [first, second] = pattern.slice(1);
    const orders = part.op === "add" || part.op === "multiply" ? [part.args, [...part.args].reverse()] : [part.args];
    for (const args of orders) {
      if (args.length === 1) yield* matches(first, args[0], found);
      else for (const half of matches(first, args[0], found)) yield* matches(second, args[1], half);
    }
  }
}

function stable(root) {
  return rebuilt(root, (part) => {
    for (let tries = 0; tries < 8; tries++) {
      const before = part;
      for (const [pattern, form] of STABLE_FORMS) {
        const { value: found } = matches(pattern, part, {}).next();
        if (found) {
          part = fromTree(form, found);
          break;
        }
      }
      if (part === before) break;
    }
    return part;
  });
}

// --- as text and as functions ---------------------------------------------------------------------------------------------------

function spelled(root, longest = 2000) {
  const done = new Map();
  for (const part of inOrder(root)) {
    const text = written(part, part.args.map((a) => done.get(a)));
    if (text[0].length > longest) return `${text[0].slice(0, longest)} …`;
    done.set(part, text);
  }
  return done.get(root)[0];
}

function written({ op, value, name }, args) {
  if (op === "number") return [String(Number(value.toPrecision(12))), value < 0 ? 15 : 100];
  if (op === "symbol") return [name, 100];
  if (op === "integer_power") return [`${args[0][1] > 30 ? args[0][0] : `(${args[0][0]})`}**${args[1][0]}`, 30];
  const { symbol: sign, binds } = PRIMITIVES[op];
  if (!sign) return [args.length ? `${op}(${args.map((a) => a[0]).join(", ")})` : op, 100];
  if (args.length === 1) return [`${sign}${args[0][1] >= binds ? args[0][0] : `(${args[0][0]})`}`, binds];
  const [left, right] = args;
  const space = binds < 20 ? " " : "";
  return [
    `${left[1] >= binds ? left[0] : `(${left[0]})`}${space}${sign}${space}${right[1] > binds ? right[0] : `(${right[0]})`}`,
    binds,
  ];
}

function compiled(root, parameters) {
  const uses = new Map();
  const order = inOrder(root);
  for (const part of order) for (const inner of part.args) uses.set(inner, (uses.get(inner) ?? 0) + 1);
  const done = new Map();
  const lines = [];
  for (const part of order) {
    const args = part.args.map((a) => done.get(a));
    let code;
    if (part.op === "number") code = part.value < 0 ? `(${part.value})` : String(part.value);
    else if (part.op === "symbol") code = part.name === "x" ? "x" : `p_${part.name}`;
    else if (part.op === "integer_power") code = `((${args[0]}) ** ${args[1]})`;
    else code = PRIMITIVES[part.op].code.replaceAll(/\{(\d)\}/g, (_, k) => args[k]);
    if (part.args.length && (uses.get(part) > 1 || code.length > 400)) {
      lines.push(`const t${lines.length} = ${code};`);
      code = `t${lines.length - 1}`;
    }
    done.set(part, code);
  }
  return new Function("x", ...parameters.map((p) => `p_${p}`), `${lines.join("\n")}\nreturn ${done.get(root)};`);
}

// The catalogue's entry with the same values, found at places where no two of them agree.
function recognised(f) {
  const places = [-7.3, -2.1, -1.4, -0.6, -0.05, 0.3, 0.8, 1.9, 3.3, 6.7];
  for (const [name, entry] of Object.entries(CATALOGUE)) {
    const values = entry.parameters.map((p) => p.default);
    const same = places.every((x) => {
      const [ours, theirs] = [entry.functions[0](x, ...values), f(x)];
      return Math.abs(ours - theirs) <= 1e-12 * Math.max(Math.abs(ours), 1e-3);
    });
    if (same) return name;
  }
  return null;
}

// Everything that follows from a typed formula; a FormulaProblem says what is wrong with it.
function analysed(text) {
  interned = new Map();
  const parser = new Parser(text);
  const formula = parser.whole();
  const parameters = [...parser.names];
  if (parameters.length > 6) throw new FormulaProblem(`at most 6 parameters, got ${parameters.join(", ")}`, 1);
  const parts = [stable(formula)];
  for (let order = 1; order <= 2; order++) parts.push(stable(differentiated(parts[order - 1])));
  const functions = parts.map((part) => compiled(part, parameters));
  return {
    text: spelled(formula),
    slopes: parts.slice(1).map((part) => spelled(part)),
    parameters: parameters.map((name) => ({ name, default: 1, low: -3, high: 3, step: 0.05 })),
    functions,
    recognised: parameters.length ? null : recognised(functions[0]),
  };
}
