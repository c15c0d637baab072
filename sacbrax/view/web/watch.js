// The page of `sacbrax.watch`: asks this machine for runs every two seconds, and for the curves of those that changed.
// All text that comes from files is set as text, never as HTML.
"use strict";

const EVERY_MS = 2000, AT_ONCE = 6, SHOWN_FIRST = 10, GROWING_SECONDS = 30, TRIALS_SHOWN = 50;
const FIRST_METRICS = [
  "eval/return_mean", "train/critic_loss", "train/actor_loss", "train/temperature", "train/entropy",
  "time/env_steps_per_second", "time/gradient_steps_per_second", "train/faults", "train/skipped_updates",
];
const $ = (selector) => document.querySelector(selector);
let runs = [], sweeps = [], known = [], metrics = [], recalled = false;
const shown = new Set(), colours = new Map(), curves = new Map();  // curves: name -> {key, x, values}
let settingsOf = "", loading = 0;

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const colour = (name) => {
  if (!colours.has(name)) colours.set(name, `hsl(${(colours.size * 137.508 + 210) % 360} 65% 48%)`);
  return colours.get(name);
};

const number = (value, digits = 4) => {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e15) {
    const step = Math.floor(Math.log10(size) / 3);
    return `${+(value / 10 ** (3 * step)).toPrecision(digits)}${["", "k", "M", "G", "T"][step]}`;
  }
  return `${+value.toPrecision(digits)}`;
};

// ---- what the server knows

const ask = async (path, pairs = []) => {
  const answer = await fetch(`${path}?${new URLSearchParams(pairs)}`, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
};

async function refresh() {
  try {
    const found = await ask("api/runs");
    runs = found.runs;
    sweeps = found.sweeps;
    known = found.metrics;
    for (const run of runs) run.growing = found.now - run.written < GROWING_SECONDS && run.state === "open";
    document.title = `${found.directory} · sacbrax`;
    if (!recalled && known.length) {  // not before there is something to show
      recalled = true;
      recall();
    }
    $("#state").textContent = runs.length ? "" : "no runs here yet";
    listRuns();
    listMetrics();
    listSweeps();
    await load();
  } catch (error) {
    $("#state").textContent = `no answer (${error.message})`;
  }
  setTimeout(refresh, EVERY_MS);
}

// Ask for the curves of the chosen runs that changed, some at a time, and draw as they come.
async function load() {
  const x = $("#x").value, turn = ++loading;
  const waiting = runs.filter((run) => shown.has(run.name)).map((run) => [run, [run.written, x, metrics].join()])
    .filter(([run, key]) => curves.get(run.name)?.key !== key);
  let left = waiting.length;
  draw();
  const work = async () => {
    for (let next = waiting.shift(); next && turn === loading; next = waiting.shift()) {
      const [run, key] = next;
      const pairs = [["run", run.name], ["x", x], ...metrics.map((name) => ["metric", name])];
      const found = await ask("api/curves", pairs);
      curves.set(run.name, { key, ...found });
      left -= 1;
      if (left % 10 === 0) drawSoon();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (turn === loading) await showSettings();
}

// ---- lists

function listRuns() {
  const wanted = $("#filter").value.toLowerCase(), place = $("#side").scrollTop;
  const matching = runs.filter((run) => `${run.name} ${run.task}`.toLowerCase().includes(wanted));
  $("#count").textContent = `${shown.size} of ${runs.length} shown`;
  listEpisodes();
  const content = JSON.stringify([matching, [...shown]]);
  if ($("#runs").dataset.content === content) return;  // else what the reader is clicking on would be replaced
  $("#runs").dataset.content = content;
  $("#runs").replaceChildren(...matching.map((run) => {
    const box = make("input", { type: "checkbox", checked: shown.has(run.name), ariaLabel: run.name });
    box.onchange = () => { box.checked ? shown.add(run.name) : shown.delete(run.name); changed(); };
    const dot = make("i");
    dot.style.background = colour(run.name);
    const share = run.total_env_steps ? ` of ${number(run.total_env_steps, 3)}` : "";
    const facts = `${run.task} · ${number(run.env_steps, 3)}${share} steps · ` +
      `last ${number(run.last)} · best ${number(run.best)} · ${run.state}`;
    const live = make("span", { className: run.growing ? "live" : "" });
    return make("li", {}, make("label", {}, box, dot, make("b", { textContent: run.name }), live,
      make("small", { textContent: facts })));
  }));
  $("#side").scrollTop = place;
}

function listEpisodes() {
  const select = $("#episode select"), names = runs.map((run) => run.name), chosen = select.value;
  if (select.dataset.names === names.join("\n")) return;
  select.dataset.names = names.join("\n");
  select.replaceChildren(...names.map((name) => make("option", { textContent: name, value: name })));
  if (names.includes(chosen)) select.value = chosen;
}

function listMetrics() {
  const rest = known.filter((name) => !metrics.includes(name)), select = $("#more");
  if (select.dataset.names === rest.join("\n")) return;
  select.dataset.names = rest.join("\n");
  select.replaceChildren(make("option", { textContent: "a metric …", value: "" }),
    ...rest.map((name) => make("option", { textContent: name, value: name })));
}

function listSweeps() {
  const section = $("#sweeps"), content = JSON.stringify(sweeps);
  section.hidden = sweeps.length === 0;
  if (section.dataset.content === content) return;
  section.dataset.content = content;
  section.replaceChildren(make("h2", { textContent: "Sweeps" }), ...sweeps.flatMap((sweep) => {
    const keys = [...new Set(sweep.trials.flatMap((trial) => Object.keys(trial.parameters)))];
    const ranked = [...sweep.trials].sort((a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity));
    const rows = ranked.slice(0, TRIALS_SHOWN).map((trial) => make("tr", {},
      ...[trial.trial, trial.status, number(trial.score), ...keys.map((key) => trial.parameters[key] ?? "")]
        .map((text) => make("td", { textContent: text })), make("td", {}, showButton(trial.run))));
    const head = make("tr", {}, ...["trial", "status", "score", ...keys].map((text) => make("th", { textContent: text })));
    const done = sweep.trials.filter((trial) => trial.status === "done").length;
    const title = `${sweep.name}: ${done} of ${sweep.trials.length} trials done, the highest score first`;
    return [make("h3", { textContent: title }), make("div", { className: "wide" }, make("table", {}, head, ...rows))];
  }));
}

function showButton(name) {
  if (!name) return "";
  const button = make("button", { type: "button", textContent: "show" });
  button.onclick = () => { shown.add(name); changed(); scrollTo({ top: 0, behavior: "smooth" }); };
  return button;
}

async function showSettings() {
  const names = runs.filter((run) => shown.has(run.name)).map((run) => run.name);
  if (settingsOf === names.join("\n")) return;
  settingsOf = names.join("\n");
  const found = await ask("api/settings", names.map((name) => ["run", name]));
  const [line, table] = [$("#settings p"), $("#settings table")];
  const what = names.length === 1 ? "Other than the defaults." : "Those in which the runs shown differ.";
  line.textContent = found.rows.length ? what : "No difference.";
  const head = make("tr", {}, make("th"), ...found.columns.map((text) => make("th", { textContent: text })));
  table.replaceChildren(...(found.rows.length ? [head] : []),
    ...found.rows.map((row) => make("tr", {}, ...row.map((text, i) => make(i ? "td" : "th", { textContent: text })))));
}

// ---- curves

// The mean of the values within `width` of the range of x around each point; gaps stay gaps.
function smooth(x, y, width) {
  if (!width) return y;
  const reach = (x[x.length - 1] - x[0]) * width / 2, result = new Array(y.length);
  let sum = 0, count = 0, low = 0, high = 0;
  for (let i = 0; i < y.length; i += 1) {
    for (; high < y.length && x[high] <= x[i] + reach; high += 1) if (y[high] !== null) { sum += y[high]; count += 1; }
    for (; x[low] < x[i] - reach; low += 1) if (y[low] !== null) { sum -= y[low]; count -= 1; }
    result[i] = y[i] === null || !count ? null : sum / count;
  }
  return result;
}

function lines(metric) {
  const width = $("#smoothing").value / 100, log = $("#log").checked, found = [];
  for (const run of runs) {
    const curve = curves.get(run.name), y = curve?.values[metric];
    if (!shown.has(run.name) || !y?.length || !curve.x.length) continue;
    const values = smooth(curve.x, y, width).map((value) => (log && value !== null && value <= 0 ? null : value));
    found.push({ name: run.name, colour: colour(run.name), x: curve.x, y: values });
  }
  return found;
}

// Round numbers that part a range into about `count`.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const result = [];
  for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-12); i += 1) result.push(i * step);
  return result;
}

function extent(found, log) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { x, y } of found) {
    for (let i = 0; i < x.length; i += 1) {
      if (x[i] === null || y[i] === null) continue;
      const value = log ? Math.log10(y[i]) : y[i];
      left = Math.min(left, x[i]); right = Math.max(right, x[i]);
      low = Math.min(low, value); high = Math.max(high, value);
    }
  }
  if (left > right) return null;
  if (left === right) right = left + 1;
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return { left, right, low: low - margin, high: high + margin };
}

function panel(metric) {
  const canvas = make("canvas"), close = make("button", { type: "button", textContent: "×", title: "take away" });
  close.onclick = () => { metrics = metrics.filter((name) => name !== metric); changed(); };
  const figure = make("figure", {}, make("figcaption", {}, make("span", { textContent: metric }), close), canvas);
  figure.dataset.metric = metric;
  canvas.onmousemove = (event) => point(figure, event);
  canvas.onmouseleave = () => { $("#tip").hidden = true; };
  return figure;
}

function drawPanel(figure) {
  const canvas = figure.querySelector("canvas"), log = $("#log").checked, scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight], style = getComputedStyle(document.body);
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "11px system-ui, sans-serif";
  pen.fillStyle = style.getPropertyValue("--faint");
  pen.strokeStyle = style.getPropertyValue("--line");
  const found = lines(figure.dataset.metric), range = extent(found, log);
  figure.view = null;
  if (!range) return void pen.fillText("no value", width / 2 - 24, height / 2);
  const [x0, x1, y0, y1] = [52, width - 10, height - 20, 8];
  const across = (x) => x0 + (x - range.left) / (range.right - range.left) * (x1 - x0);
  const up = (y) => y0 + ((log ? Math.log10(y) : y) - range.low) / (range.high - range.low) * (y1 - y0);
  pen.textAlign = "right";
  for (const tick of ticks(range.low, range.high, 4)) {
    const y = y0 + (tick - range.low) / (range.high - range.low) * (y1 - y0);
    pen.fillText(number(log ? 10 ** tick : tick, 3), x0 - 6, y + 4);
    pen.beginPath(); pen.moveTo(x0, y); pen.lineTo(x1, y); pen.stroke();
  }
  pen.textAlign = "center";
  const time = $("#x").value === "wall_seconds";
  for (const tick of ticks(range.left, range.right, 6)) pen.fillText(number(tick, 3) + (time ? " s" : ""), across(tick), height - 4);
  pen.lineWidth = found.length > 30 ? 1 : 1.6;
  pen.lineJoin = "round";
  for (const { colour: stroke, x, y } of found) {
    pen.strokeStyle = pen.fillStyle = stroke;
    pen.beginPath();
    let down = false, alone = null;
    for (let i = 0; i < x.length; i += 1) {
      if (x[i] === null || y[i] === null) { down = false; continue; }
      down ? pen.lineTo(across(x[i]), up(y[i])) : pen.moveTo(across(x[i]), up(y[i]));
      alone = alone === null ? i : -1;
      down = true;
    }
    pen.stroke();
    if (alone >= 0 && alone !== null) pen.fillRect(across(x[alone]) - 2, up(y[alone]) - 2, 4, 4);
  }
  figure.view = { found, range, across, up };
}

// Say what is under the pointer: the nearest point of the nearest curve.
function point(figure, event) {
  const tip = $("#tip"), view = figure.view;
  tip.hidden = true;
  if (!view) return;
  let best = null;
  for (const line of view.found) {
    let [low, high] = [0, line.x.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (view.across(line.x[middle]) < event.offsetX) low = middle; else high = middle;
    }
    for (const i of [low, high]) {
      if (line.y[i] === null) continue;
      const away = Math.hypot(view.across(line.x[i]) - event.offsetX, view.up(line.y[i]) - event.offsetY);
      if (!best || away < best.away) best = { away, line, i };
    }
  }
  if (!best || best.away > 40) return;
  tip.textContent = `${best.line.name}: ${number(best.line.y[best.i], 5)} at ${number(best.line.x[best.i], 5)}`;
  tip.hidden = false;
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${event.clientY + 14}px`;
}

function draw() {
  const place = $("#panels"), there = [...place.children].map((figure) => figure.dataset.metric);
  if (there.join() !== metrics.join()) place.replaceChildren(...metrics.map(panel));
  for (const figure of place.children) drawPanel(figure);
}

let planned = false;
function drawSoon() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => { planned = false; draw(); });
}

// ---- what the reader does; the address keeps it, to be marked or sent to a colleague

const episodeName = () => $("#episode iframe")?.dataset.name;

function recall() {
  const past = new URLSearchParams(location.hash.slice(1)), chosen = past.getAll("run"), names = past.getAll("metric");
  const everyone = runs.map((run) => run.name);
  for (const name of chosen.length ? chosen : everyone.slice(0, SHOWN_FIRST)) if (everyone.includes(name)) shown.add(name);
  metrics = (names.length ? names : FIRST_METRICS).filter((name) => known.includes(name));
  $("#x").value = past.get("x") ?? "env_steps";
  $("#smoothing").value = past.get("smoothing") ?? 0;
  $("#log").checked = past.get("log") === "true";
  if (everyone.includes(past.get("episode"))) play(past.get("episode"));
}

function remember() {
  const pairs = [["x", $("#x").value], ["smoothing", $("#smoothing").value], ["log", $("#log").checked]];
  pairs.push(...metrics.map((name) => ["metric", name]), ...[...shown].map((name) => ["run", name]));
  if (episodeName()) pairs.push(["episode", episodeName()]);
  history.replaceState(null, "", `#${new URLSearchParams(pairs)}`);
}

function play(name) {
  const frame = make("iframe", { title: `an episode of ${name}` });
  frame.dataset.name = name;
  frame.sandbox = "allow-scripts";
  frame.src = `episode?${new URLSearchParams([["run", name], ["at", Date.now()]])}`;
  const note = make("p", { textContent: "An episode is being played; a task's first time takes a while to compile …" });
  frame.onload = () => note.remove();
  $("#episode select").value = name;
  $("#episode .frame").replaceChildren(note, frame);
}

function changed() {
  remember();
  listRuns();
  listMetrics();
  load().catch((error) => { $("#state").textContent = `no answer (${error.message})`; });
}

$("#filter").oninput = listRuns;
$("#x").onchange = changed;
$("#smoothing").oninput = () => { remember(); drawSoon(); };
$("#log").onchange = () => { remember(); drawSoon(); };
$("#all").onclick = () => {
  for (const box of document.querySelectorAll("#runs input")) shown.add(box.ariaLabel);
  changed();
};
$("#none").onclick = () => { shown.clear(); changed(); };
$("#more").onchange = ({ target }) => { if (target.value) metrics.push(target.value); changed(); };
$("#episode button").onclick = () => { play($("#episode select").value); remember(); };
addEventListener("resize", drawSoon);
if (matchMedia("(max-width: 700px)").matches) $("#side").open = false;
refresh();
