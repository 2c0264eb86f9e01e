"use strict";
// Elements are made here and nowhere else. Text becomes text nodes; no markup is ever parsed.

const PALETTE = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#8b8bf5", "#b8b000", "#999999"];

function build(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    made.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return made;
}

const el = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const fill = (node, ...children) => { node.replaceChildren(); return build(node, null, children); };
const $ = (id) => document.getElementById(id);

// Text that a policy or a tool wrote: set apart, so that its direction marks cannot reorder the page's own words.
const said = (text, kind = "") => el("bdi", { class: `said ${kind}`, dir: "auto" }, text);

function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  return size >= 1000 || (size < 0.001 && size > 0) ? value.toPrecision(3) : String(Number(value.toFixed(digits)));
}

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

function duration(seconds) {
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  return seconds < 120 ? `${seconds.toFixed(seconds < 10 ? 2 : 0)} s` : `${(seconds / 60).toFixed(0)} min`;
}

// The score interval of a proportion (Wilson 1927), 95 %.
function wilson(successes, n) {
  if (!n) return [0, 1];
  const z = 1.959963984540054, p = successes / n, q = z * z;
  const middle = (p + q / (2 * n)) / (1 + q / n);
  const half = (z * Math.sqrt((p * (1 - p)) / n + q / (4 * n * n))) / (1 + q / n);
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

function colour(name, names) {
  const position = names.indexOf(name);
  return PALETTE[(position < 0 ? PALETTE.length - 1 : position) % PALETTE.length];
}

// A picture is fetched when it comes near the screen.
const nearby = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      nearby.unobserve(entry.target);
      entry.target.begin();
    }
  },
  { rootMargin: "300px" },
);

function picture(address, attributes) {
  const image = el("img", { decoding: "async", ...attributes });
  image.begin = () => {
    const url = address();
    if (url) image.src = url;
    else image.classList.add("missing");
  };
  image.addEventListener("error", () => image.classList.add("missing"));
  nearby.observe(image);
  return image;
}
