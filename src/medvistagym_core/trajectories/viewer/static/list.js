"use strict";
// The list of episodes: what fits the filters, and of that only the rows in sight are in the document.

const ROW = 66;
const FILTERS = [
  ["outcome", "Outcome"], ["family", "Family"], ["tool", "Tool"], ["error", "Error"], ["task", "Task"],
  ["policy", "Policy"], ["split", "Split"], ["file", "File"],
];
const SORTS = {
  order: ["In order", null],
  low: ["Lowest reward", (a, b) => cell(a, "reward") - cell(b, "reward")],
  high: ["Highest reward", (a, b) => cell(b, "reward") - cell(a, "reward")],
  calls: ["Most calls", (a, b) => cell(b, "tools").length - cell(a, "tools").length],
  slow: ["Slowest", (a, b) => cell(b, "seconds") - cell(a, "seconds")],
};
const list = { shown: [], chosen: null, extra: null, drawn: new Map(), words: [], fields: {}, listeners: [] };

// The values of a row that a filter looks at.
function valuesOf(row, filter) {
  if (filter === "outcome") return [data.outcomes[cell(row, "outcome")]];
  if (filter === "tool") return cell(row, "tools").length ? texts(row, "tools") : ["(no call)"];
  if (filter === "error") return cell(row, "errors").length ? cell(row, "errors").map((e) => data.strings[e[0]]) : ["(none)"];
  if (filter === "file") return [data.files[cell(row, "file")]];
  return [text(row, filter)];
}

function wordsOf(n) {
  const row = data.rows[n];
  return (list.words[n] ??= ["id", "question", "answer", "expected", "family"].map((c) => text(row, c)).join("\n").toLowerCase());
}

function buildFilters() {
  const search = el("input", {
    type: "search", id: "search", placeholder: "Search question, answer, id  ( / )", "aria-label": "Search", input: applyFilters,
  });
  const more = el("div", { class: "selects", id: "selects" });
  const opener = el("button", {
    type: "button", id: "more", "aria-controls": "selects", "aria-expanded": "false",
    click: () => opener.setAttribute("aria-expanded", String($("filters").classList.toggle("open"))),
  }, "Filters");
  list.fields.search = search;
  for (const [name, label] of FILTERS) {
    list.fields[name] = el("select", { name, "aria-label": label, change: applyFilters });
    more.append(list.fields[name]);
  }
  list.fields.sort = el("select", { name: "sort", "aria-label": "Order", change: applyFilters },
    Object.entries(SORTS).map(([value, [label]]) => el("option", { value }, label)));
  more.append(list.fields.sort);
  $("filters").append(search, opener, more);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("clear").addEventListener("click", clearFilters);
  $("list").addEventListener("scroll", () => requestAnimationFrame(drawRows), { passive: true });
  new ResizeObserver(() => drawRows()).observe($("list"));
}

// Every filter offers what occurs, with how often; one that has nothing to choose from is not shown.
function fillFilters() {
  for (const [name, label] of FILTERS) {
    const counts = new Map();
    for (const n of reachable()) {
      for (const value of new Set(valuesOf(data.rows[n], name))) counts.set(value, (counts.get(value) || 0) + 1);
    }
    const field = list.fields[name], before = field.value;
    const values = [...counts.keys()].sort((a, b) => (name === "outcome" ? data.outcomes.indexOf(a) - data.outcomes.indexOf(b) : a < b ? -1 : 1));
    const keep = before && !counts.has(before) ? [before] : [];
    field.replaceChildren(
      el("option", { value: "" }, `${label}: any`),
      ...[...values, ...keep].map((value) => el("option", { value }, `${value || "(empty)"} (${counts.get(value) || 0})`)),
    );
    field.value = before;
    field.hidden = values.length < 2 && !before;
  }
}

const reachable = () => data.here || data.rows.keys();

function fits(n) {
  const row = data.rows[n];
  for (const [name] of FILTERS) {
    const wanted = list.fields[name].value;
    if (wanted && !valuesOf(row, name).includes(wanted)) return false;
  }
  return !list.extra || list.extra.test(row);
}

function searched(numbers) {
  const words = list.fields.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length ? numbers.filter((n) => words.every((word) => wordsOf(n).includes(word))) : numbers;
}

function applyFilters() {
  list.shown = searched([...reachable()].filter(fits));
  const compare = (SORTS[list.fields.sort.value] || SORTS.order)[1];
  if (compare) list.shown.sort((a, b) => compare(data.rows[a], data.rows[b]) || a - b);
  const any = filtered(), total = data.here ? data.here.length : data.rows.length;
  $("clear").hidden = !any;
  $("count").textContent = any ? `${number(list.shown.length)} of ${number(total)} episodes` : `${number(total)} episode${total === 1 ? "" : "s"}${data.here && total < data.rows.length ? ` of ${number(data.rows.length)}` : ""}`;
  $("chips").replaceChildren(...(list.extra ? [el("button", { type: "button", class: "chip", title: "Remove", click: () => filterBy(null) }, list.extra.label, " ×")] : []));
  for (const [name] of FILTERS) list.fields[name].classList.toggle("on", Boolean(list.fields[name].value));
  $("more").classList.toggle("on", FILTERS.some(([name]) => list.fields[name].value));
  drawRows(true);
  for (const listener of list.listeners) listener();
}

const filtered = () => Boolean(list.extra || list.fields.search.value || FILTERS.some(([name]) => list.fields[name].value));

function clearFilters() {
  list.extra = null;
  list.fields.search.value = "";
  for (const [name] of FILTERS) list.fields[name].value = "";
  applyFilters();
}

// A filter of a chart's own: `{label, test}`; null takes it away.
function filterBy(extra) {
  list.extra = extra;
  applyFilters();
}

function drawRows(anew = false) {
  const box = $("list"), inner = $("rows");
  if (anew) {
    // What stays in its place stays in the document, so that a run that goes on does not flicker.
    for (const [position, node] of list.drawn) {
      if (node.id === `row-${list.shown[position]}`) {
        node.setAttribute("aria-setsize", list.shown.length);
        continue;
      }
      node.remove();
      list.drawn.delete(position);
    }
    inner.querySelector(".empty")?.remove();
    if (!list.shown.length) inner.append(el("p", { class: "empty" }, data.done ? "No episode fits." : "Reading …"));
    inner.style.height = `${list.shown.length * ROW}px`;
    if (box.scrollTop > list.shown.length * ROW) box.scrollTop = 0;
  }
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 6);
  const last = Math.min(list.shown.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + 6);
  for (const [position, node] of list.drawn) {
    if (position < first || position >= last) {
      node.remove();
      list.drawn.delete(position);
    }
  }
  for (let position = first; position < last; position++) {
    if (list.drawn.has(position)) continue;
    const node = drawRow(list.shown[position], position);
    list.drawn.set(position, node);
    inner.append(node);
  }
  box.setAttribute("aria-activedescendant", list.chosen === null ? "" : `row-${list.chosen}`);
}

function drawRow(n, position) {
  const row = data.rows[n], outcome = data.outcomes[cell(row, "outcome")], errors = cell(row, "errors").length;
  const tools = texts(row, "tools");
  const node = el(
    "div",
    {
      class: "row", role: "option", id: `row-${n}`, "aria-selected": String(n === list.chosen), "aria-posinset": position + 1,
      "aria-setsize": list.shown.length, click: () => openEpisode(n),
    },
    picture(() => thumbAddress(n), { alt: "", class: "thumb" }),
    el("div", { class: "what" },
      el("div", { class: "line" }, said(text(row, "question").split("\n", 1)[0] || text(row, "id"), "question")),
      el("div", { class: "line small" },
        el("span", { class: `dot ${outcome.replace(" ", "-")}`, title: outcome }),
        said(text(row, "answer") || outcome, "answer"),
        el("span", { class: "quiet" }, text(row, "family")),
        tools.length ? el("span", { class: "quiet", title: tools.join(", ") }, `${tools.length} call${tools.length > 1 ? "s" : ""}`) : null,
        errors ? el("span", { class: "bad" }, `${errors} error${errors > 1 ? "s" : ""}`) : null)),
    text(row, "expected") ? el("span", { class: "reward" }, number(cell(row, "reward"), 2)) : null,
  );
  node.style.transform = `translateY(${position * ROW}px)`;
  return node;
}

function choose(n) {
  if (n === null) return;
  for (const [position, node] of list.drawn) node.setAttribute("aria-selected", String(list.shown[position] === n));
  list.chosen = n;
  const position = list.shown.indexOf(n), box = $("list");
  if (position >= 0) {
    if (position * ROW < box.scrollTop) box.scrollTop = position * ROW;
    else if ((position + 1) * ROW > box.scrollTop + box.clientHeight) box.scrollTop = (position + 1) * ROW - box.clientHeight;
  }
  drawRows();
}

// The episode `by` places further in the list.
function neighbour(by) {
  if (!list.shown.length) return null;
  const at = list.shown.indexOf(list.chosen);
  return list.shown[at < 0 ? 0 : Math.max(0, Math.min(list.shown.length - 1, at + by))];
}
