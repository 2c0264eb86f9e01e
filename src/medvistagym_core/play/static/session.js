"use strict";
// What the server holds, as the page last heard of it, and the requests that change it.

const state = {
  sources: [], tools: [], images: [], turns: [], policy: null, question: "", answered: false,
  before: null, after: null, // handles shown
  series: new Map(), // what an opened source holds, by its number
  busy: 0,
};
const listeners = []; // called after every change

const image = (handle) => state.images[handle] ?? null;
const toolOf = (name) => state.tools.find((tool) => tool.name === name) ?? null;
const changed = () => { for (const listener of listeners) listener(); };

function say(message, bad = false) {
  $("status").textContent = message;
  $("status").classList.toggle("bad", bad);
  $("status").hidden = !message;
}

function take(session) {
  const { images, turns, policy, question, answered } = session;
  Object.assign(state, { images, turns, policy, question, answered });
  if (state.before !== null && state.before >= images.length) state.before = null;
  if (state.after !== null && state.after >= images.length) state.after = null;
}

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return answer.json();
}

// The value that a request gave, or undefined where it failed; then the page says why.
async function send(path, body = {}, waiting = "") {
  state.busy += 1;
  document.body.classList.add("busy");
  if (waiting) say(waiting);
  try {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const news = await answer.json();
    if (news.error !== undefined) {
      say(news.error, true);
      return undefined;
    }
    if (waiting) say("");
    if (news.session) take(news.session);
    return news.value === undefined ? null : news.value;
  } catch {
    say("The page's server is gone; start `medvistagym play` again.", true);
    return undefined;
  } finally {
    state.busy -= 1;
    document.body.classList.toggle("busy", state.busy > 0);
  }
}

// The handles that an image was made from, from a file on, itself last.
function lineage(handle) {
  const line = [];
  for (let h = handle; h !== null && h !== undefined && !line.includes(h); h = image(h)?.parent) line.unshift(h);
  return line;
}

// Corners of an image on its parent, as fractions of the parent's width and height; null where they do not lie on one plane.
function outline(handle) {
  const made = image(handle), parent = made && image(made.parent);
  if (!parent || String(made.source_shape) !== String(parent.source_shape)) return null;
  const [a, b, c, d, e, f] = parent.to_source, det = a * e - b * d;
  if (!det) return null;
  const [h, w] = made.shape, [height, width] = parent.shape, m = made.to_source;
  const corners = [[0, 0], [w, 0], [w, h], [0, h]].map(([x, y]) => {
    const sx = m[0] * x + m[1] * y + m[2] - c, sy = m[3] * x + m[4] * y + m[5] - f;
    return [(e * sx - b * sy) / det / width, (a * sy - d * sx) / det / height];
  });
  const whole = [[0, 0], [1, 0], [1, 1], [0, 1]].every(([x, y], k) => Math.hypot(corners[k][0] - x, corners[k][1] - y) < 2e-3);
  return whole ? null : corners;
}

function windowText(one) {
  if (one.colour) return "colours";
  if (one.table) return "lookup table";
  if (one.window) return `window ${number(one.window.center)} / ${number(one.window.width)}${one.window.name ? ` (${one.window.name})` : ""}`;
  return one.range ? `${number(one.range[0])} to ${number(one.range[1])}` : "";
}

const sizeText = (one) => `${one.shape[1]} × ${one.shape[0]}${one.stack ? ` × ${one.frames}` : ""}`;
const spacingText = (one) => (one.spacing ? `${one.spacing.map((mm) => number(mm)).join(" × ")} mm` : "spacing unknown");
const titleOf = (handle) => {
  const one = image(handle);
  if (!one) return "";
  const call = one.made && state.turns[one.made[0]]?.calls[one.made[1]];
  return one.name ?? (call ? call.name : `image ${handle}`);
};
