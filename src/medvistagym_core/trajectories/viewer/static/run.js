"use strict";
// The run as a whole: figures over the episodes that fit the filters, and the curves that a training logged.

const SHADES = { right: "var(--right)", wrong: "var(--wrong)", abstained: "var(--abstained)", "no answer": "var(--none)", answered: "var(--policy)" };
const NO_CALL = "(no call)";
const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : NaN);
const between = (low, high) => `${(100 * low).toFixed(0)}–${(100 * high).toFixed(0)} %`;
const firstTool = (row) => (cell(row, "tools").length ? data.strings[cell(row, "tools")[0]] : NO_CALL);
const outcomeName = (row) => data.outcomes[cell(row, "outcome")];
const isGraded = (row) => text(row, "expected") !== ""; // of the others nobody has said what is right

async function drawRun() {
  const rows = runRows();
  const logged = await figures();
  const problems = [...data.problems, ...logged.problems];
  const narrowed = rows.length < data.rows.length;
  fill($("run"),
    el("p", { class: "quiet small scope" },
      narrowed ? `Over the ${number(rows.length)} of ${number(data.rows.length)} episodes that fit the filters. ` : `Over all ${number(data.rows.length)} episodes of ${data.name}. `,
      narrowed ? el("button", { click: () => { clearFilters(); } }, "Clear filters") : null),
    policyPicks(),
    problems.length ? el("details", { class: "fault" }, el("summary", null, `${problems.length} lines or files could not be read`), problems.map((p) => el("p", null, said(p)))) : null,
    rows.length ? tiles(rows) : el("p", { class: "empty" }, data.rows.length ? "No episode fits the filters." : "No episode yet."),
    logged.results.map(resultsTable),
    el("div", { class: "charts" }, curves(logged.curves, rows), rows.length ? [toolUse(rows), callLengths(rows), errorKinds(rows), confusion(rows), accuracyTable(rows, "family", "Accuracy by family"), accuracyTable(rows, "policy", "Accuracy by policy"), accuracyTable(rows, "task", "Accuracy by task"), fileTable(rows)] : null));
}

// Averages over several policies say little: one of them at a touch.
function policyPicks() {
  const names = [...new Set(data.rows.map((row) => cell(row, "policy")))].map((n) => data.strings[n]);
  if (names.length < 2 || names.length > 24) return null;
  const button = (label, name, content) => el("button", {
    "aria-pressed": String((list.extra?.label ?? "") === label), click: () => filterBy(name === null ? null : { label, test: (row) => text(row, "policy") === name }),
  }, content);
  return el("div", { class: "picks", role: "group", "aria-label": "Policy" },
    button("", null, "All policies"), names.map((name) => button(`policy ${name}`, name, said(name))));
}

// In an exported page the figures are of the whole run, also of episodes that it does not hold.
const runRows = () => (filtered() ? searched([...data.rows.keys()].filter(fits)) : [...data.rows.keys()]).map((n) => data.rows[n]);

function tiles(rows) {
  const graded = rows.filter(isGraded), right = rows.filter((r) => cell(r, "outcome") === 0).length, [low, high] = wilson(right, graded.length);
  const known = rows.filter((r) => cell(r, "informed") !== null);
  const tile = (label, value, note) => el("div", { class: "tile" }, el("span", { class: "quiet" }, label), el("b", null, value), note ? el("span", { class: "quiet small" }, note) : null);
  return el("div", { class: "tiles" },
    tile("Episodes", number(rows.length)),
    graded.length ? tile("Accuracy", percent(right / graded.length), `95 % interval ${between(low, high)}`) : null,
    graded.length ? tile("Mean reward", number(mean(graded.map((r) => cell(r, "reward") ?? 0)))) : null,
    tile("Calls an episode", number(mean(rows.map((r) => cell(r, "tools").length)), 2)),
    tile("Abstained", percent(rows.filter((r) => outcomeName(r) === "abstained").length / rows.length)),
    known.length ? tile("Saw what it needed", percent(known.filter((r) => cell(r, "informed")).length / known.length)) : null,
    tile("With an error", percent(rows.filter((r) => cell(r, "errors").length).length / rows.length)));
}

// -- curves

const GROUPS = [
  ["Accuracy", /(^|\/)accuracy$/i, { range: [0, 1], share: true }],
  ["Reward", /(^|\/)(mean_)?reward$/i, {}],
  ["Tool use", /^tool\/[^/]+$/i, {}, "calls an episode"],
  ["Tool calls", /^tools\/(call|failure)_frequency$/i, {}],
  ["Calls an episode", /(^|\/)calls$/i, {}],
  ["Errors", /^error\/[^/]+$/i, {}, "an episode"],
  ["Saw what it needed", /(^|\/)informed$/i, { range: [0, 1], share: true }],
  ["Abstained", /(^|\/)abstained$/i, { range: [0, 1], share: true }],
  ["Tokens a completion", /^completions\/mean_length$/i, {}],
  ["Loss", /(^|\/)loss$/i, {}],
];

const NAMED = { "tools/call_frequency": "calls a completion", "tools/failure_frequency": "share that failed", "completions/mean_length": "mean" };

function curves(logged, rows) {
  const charts = [];
  for (const { name, series } of logged) {
    for (const [title, pattern, options, unit] of GROUPS) {
      for (const [phase, metrics] of Object.entries(series)) {
        let found = Object.entries(metrics).filter(([metric]) => pattern.test(metric));
        if (title === "Errors") found = found.filter(([, points]) => points.some((p) => p[1]));
        if (title === "Tool calls" && Object.keys(metrics).some((metric) => metric.startsWith("tool/"))) continue; // it says the same with less
        if (!found.length) continue;
        found.sort(([a], [b]) => a.includes("/") - b.includes("/") || (a < b ? -1 : 1));
        let next = 0;
        const drawn = found.map(([metric, points]) => {
          const label = NAMED[metric] || metric.replace(/^(tool|error)\/|\/?(accuracy|calls|informed|abstained)$/gi, "") || "all";
          const shade = !metric.includes("/") ? "var(--text)" : toolNames().includes(label) ? colour(label, toolNames()) : PALETTE[(toolNames().length + next++) % PALETTE.length];
          return { name: label, points, colour: shade };
        });
        charts.push(chart(title, [unit, phase, logged.length > 1 ? name : ""].filter(Boolean).join(", "), lines(drawn, options)));
      }
    }
  }
  if (!logged.some(({ series }) => Object.values(series).some((s) => Object.keys(s).some((m) => GROUPS[0][1].test(m)))) && rows.filter(isGraded).length >= 20) charts.unshift(...inOrder(rows.filter(isGraded)));
  return charts;
}

// Without a training's figures: the same by the order of the episodes in the files.
function inOrder(rows) {
  const bins = Math.min(40, Math.floor(rows.length / 10)), size = rows.length / bins;
  const parts = Array.from({ length: bins }, (_, k) => rows.slice(Math.round(k * size), Math.round((k + 1) * size)));
  const series = (name, colourOf, value) => ({ name, colour: colourOf, points: parts.map((part, k) => [Math.round((k + 0.5) * size), value(part)]) });
  const note = "in the order of the files", across = "episode";
  return [
    chart("Accuracy", note, lines([series("all", "var(--accent)", (p) => mean(p.map((r) => Number(cell(r, "outcome") === 0))))], { range: [0, 1], share: true, across })),
    chart("Reward", note, lines([series("mean", "var(--accent)", (p) => mean(p.map((r) => cell(r, "reward") ?? 0)))], { across })),
    toolNames().length ? chart("Tool use", `calls an episode, ${note}`, lines(toolNames().slice(0, 8).map((tool) => series(tool, colour(tool, toolNames()), (p) => mean(p.map((r) => texts(r, "tools").filter((t) => t === tool).length)))), { across })) : null,
  ];
}

// What an evaluation reported: a line for each policy and decoding, a column for each family.
function resultsTable({ name, task, split, rows, notes }) {
  const families = [...new Set(rows.map((r) => r.family))].filter((f) => f !== "overall");
  const groups = [...new Set(rows.map((r) => JSON.stringify([r.policy, r.decoding])))].map((key) => JSON.parse(key));
  const body = groups.map(([policy, decoding]) => {
    const mine = new Map(rows.filter((r) => r.policy === policy && r.decoding === decoding).map((r) => [r.family, r])), whole = mine.get("overall");
    if (!whole) return null;
    return el("tr", null, el("th", { scope: "row" }, said(policy)),
      [said(decoding), number(whole.n), el("b", null, percent(whole.accuracy)), between(whole.low, whole.high), ...families.map((f) => (mine.has(f) ? percent(mine.get(f).accuracy) : "–")), number(whole.calls_per_question, 2), percent(whole.abstained)].map((v) => el("td", null, v)));
  });
  return chart("Results", [task, split, name].join(", "),
    el("div", { class: "scroll" }, el("table", null, el("thead", null, el("tr", null, ["", "Decoding", "n", "Right", "95 %", ...families, "Calls", "Abstained"].map((h) => el("th", { scope: "col" }, said(h))))), el("tbody", null, body))),
    notes.map((note) => el("p", { class: "quiet small" }, said(note))));
}

// -- counts

function tally(rows, keysOf) {
  const counts = new Map();
  for (const row of rows) for (const key of keysOf(row)) counts.set(key, (counts.get(key) || 0) + 1);
  return counts;
}

function show(label, test) {
  filterBy({ label, test });
  view("episodes");
}

function byOutcome(rows, name, pick) {
  const counts = tally(rows, (r) => [outcomeName(r)]);
  return { name, pick, parts: data.outcomes.map((o) => ({ name: o, value: counts.get(o) || 0, colour: SHADES[o] })) };
}

function toolUse(rows) {
  const names = [...toolNames(), NO_CALL], uses = (row, name) => (name === NO_CALL ? !cell(row, "tools").length : texts(row, "tools").includes(name));
  const items = names.map((name) => byOutcome(rows.filter((r) => uses(r, name)), name, () => show(`calls ${name}`, (r) => uses(r, name))));
  return chart("Tools called", "episodes that call each, by outcome", bars(items.filter((b) => b.parts.some((p) => p.value))));
}

function callLengths(rows) {
  const most = Math.min(20, rows.reduce((a, r) => Math.max(a, cell(r, "tools").length), 0));
  const items = Array.from({ length: most + 1 }, (_, k) => {
    const fit = (r) => (k === 20 ? cell(r, "tools").length >= k : cell(r, "tools").length === k);
    return byOutcome(rows.filter(fit), `${k}${k === 20 ? "+" : ""} call${k === 1 ? "" : "s"}`, () => show(`${k} calls`, fit));
  });
  return chart("Number of calls", "episodes by number of calls and outcome", bars(items));
}

function errorKinds(rows) {
  const pairs = tally(rows, (r) => cell(r, "errors").map(([code, tool]) => JSON.stringify([data.strings[code], data.strings[tool]])));
  if (!pairs.size) return chart("Errors", null, el("p", { class: "quiet" }, "None: every turn could be read and every call succeeded."));
  const byCode = new Map();
  for (const [pair, value] of pairs) {
    const [code, tool] = JSON.parse(pair);
    byCode.set(code, [...(byCode.get(code) || []), { name: tool || "turn that could not be read", value, colour: tool ? colour(tool, toolNames()) : "var(--none)" }]);
  }
  const items = [...byCode].map(([code, parts]) => ({
    name: code, parts, pick: () => show(`error ${code}`, (r) => cell(r, "errors").some((e) => data.strings[e[0]] === code)),
  }));
  items.sort((a, b) => b.parts.reduce((s, p) => s + p.value, 0) - a.parts.reduce((s, p) => s + p.value, 0));
  return chart("Errors", "by kind and tool", bars(items));
}

function confusion(rows) {
  const known = rows.filter((r) => cell(r, "needed") !== null), told = known.length > 0;
  const used = told ? known : rows, need = (r) => (told ? text(r, "needed") || NO_CALL : text(r, "family"));
  const columns = [...new Set([...(told ? used.map(need) : []), ...used.map(firstTool)])].sort((a, b) => (a === NO_CALL) - (b === NO_CALL) || (a < b ? -1 : 1));
  const counts = new Map([...new Set(used.map(need))].sort((a, b) => (a === NO_CALL) - (b === NO_CALL) || (a < b ? -1 : 1)).map((name) => [name, new Map()]));
  for (const r of used) counts.get(need(r)).set(firstTool(r), (counts.get(need(r)).get(firstTool(r)) || 0) + 1);
  return chart(told ? "Tool chosen against tool needed" : "Tool chosen by family",
    told ? "first call; outlined where it is the one needed" : "first call; the task does not say which tool is needed",
    matrix(counts, columns, {
      corner: told ? "needed" : "family", expected: told ? (row) => row : null,
      pick: (row, column) => show(`${told ? "needs" : "family"} ${row}, first call ${column}`, (r) => (!told || cell(r, "needed") !== null) && need(r) === row && firstTool(r) === column),
    }));
}

function accuracyTable(rows, column, title) {
  return accuracyRows(rows, (r) => text(r, column), title);
}

const fileTable = (rows) => accuracyRows(rows, (r) => data.files[cell(r, "file")].replace(/^trajectories\/|\.jsonl$/g, ""), "Accuracy by file");

function accuracyRows(rows, keyOf, title) {
  const groups = new Map();
  for (const row of rows) {
    const key = keyOf(row);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  if (groups.size < 2 || groups.size > 60) return null;
  const head = ["", "n", "Right", "95 %", "Calls", "Reward"];
  const body = [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, members]) => {
    const graded = members.filter(isGraded).length, right = members.filter((r) => cell(r, "outcome") === 0).length, [low, high] = wilson(right, graded);
    return el("tr", null,
      el("th", { scope: "row" }, el("button", { class: "pick", title: "Show these episodes", click: () => show(name, (r) => keyOf(r) === name) }, said(name))),
      [number(members.length), graded ? percent(right / graded) : "–", graded ? between(low, high) : "–", number(mean(members.map((r) => cell(r, "tools").length)), 2), graded ? number(mean(members.filter(isGraded).map((r) => cell(r, "reward") ?? 0))) : "–"].map((v) => el("td", null, v)));
  });
  return chart(title, null, el("div", { class: "scroll" }, el("table", null, el("thead", null, el("tr", null, head.map((h) => el("th", { scope: "col" }, h)))), el("tbody", null, body))));
}
