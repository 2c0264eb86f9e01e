"use strict";
// Charts as SVG: lines, bars in parts, and a matrix. All colours come from the style or the palette.

function chart(title, note, ...content) {
  return el("figure", { class: "chart" }, el("figcaption", null, el("b", null, title), note ? el("span", { class: "quiet small" }, note) : null), content);
}

// Round numbers that divide a range into about `count` parts.
function ticks(low, high, count = 4) {
  const rough = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough) || 10);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

// Points and the means of their neighbours, where there are so many that the eye cannot follow them.
const reach = (points) => (points.length > 40 ? Math.round(points.length / 40) + 1 : 0);

function smooth(points) {
  const by = reach(points);
  return !by ? points : points.map(([x], k) => {
    const near = points.slice(Math.max(0, k - by), k + by + 1);
    return [x, near.reduce((sum, p) => sum + p[1], 0) / near.length];
  });
}

// `series`: [{name, points: [[x, y], ...], colour}]; `range` fixes the y axis.
function lines(series, { range = null, across = "step", share = false } = {}) {
  const [W, H, left, bottom, top] = [440, 210, 42, 34, 8];
  series = series.map((s) => ({ ...s, raw: s.points, points: smooth(s.points) }));
  const xs = series.flatMap((s) => s.points.map((p) => p[0])), ys = series.flatMap((s) => s.raw.map((p) => p[1]));
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  let [y0, y1] = range || [Math.min(0, ...ys), Math.max(...ys)];
  if (y1 <= y0) y1 = y0 + 1;
  const X = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (W - left - 12), Y = (y) => H - bottom - ((y - y0) / (y1 - y0)) * (H - bottom - top);
  const drawn = (points) => points.map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(" ");
  const shown = (y) => (share ? percent(y) : number(y, 2));
  const cross = svg("line", { class: "cross", y1: top, y2: H - bottom, visibility: "hidden" });
  const drawing = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${series.map((s) => s.name).join(", ")} by ${across}` },
    ticks(y0, y1).map((y) => [svg("line", { class: "grid", x1: left, x2: W - 12, y1: Y(y), y2: Y(y) }), svg("text", { class: "tick end", x: left - 6, y: Y(y) + 4 }, shown(y))]),
    ticks(x0, x1, 5).map((x) => svg("text", { class: "tick middle", x: X(x), y: H - bottom + 16 }, number(x))),
    svg("text", { class: "tick middle", x: (left + W) / 2, y: H - 3 }, across),
    series.filter((s) => s.raw !== s.points).map((s) => svg("polyline", { class: "raw", stroke: s.colour, points: drawn(s.raw) })),
    series.map((s) => s.points.length > 1
      ? svg("polyline", { class: "series", stroke: s.colour, points: drawn(s.points) })
      : svg("circle", { cx: X(s.points[0][0]), cy: Y(s.points[0][1]), r: 4, fill: s.colour })),
    cross);
  const most = Math.max(...series.map((s) => reach(s.raw)));
  const values = series.map((s) => el("span", { class: "value" }, shown(s.points.at(-1)[1])));
  const names = el("p", { class: "legend" }, series.map((s, k) => {
    const mark = el("i", { class: "swatch" });
    mark.style.background = s.colour;
    return el("span", null, mark, said(s.name), " ", values[k]);
  }), most ? el("span", { class: "quiet" }, `bold: mean over ±${most} points`) : null);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect(), x = x0 + ((((event.clientX - box.left) / box.width) * W - left) / (W - left - 12)) * (x1 - x0);
    const nearest = (points) => points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
    const at = X(nearest(series[0].points)[0]);
    cross.setAttribute("x1", at);
    cross.setAttribute("x2", at);
    cross.setAttribute("visibility", "visible");
    series.forEach((s, k) => { values[k].textContent = shown(nearest(s.points)[1]); });
  });
  drawing.addEventListener("pointerleave", () => {
    cross.setAttribute("visibility", "hidden");
    series.forEach((s, k) => { values[k].textContent = shown(s.points.at(-1)[1]); });
  });
  return [drawing, names];
}

// `bars`: [{name, parts: [{name, value, colour}], pick}]; a bar that can be picked filters the episodes.
function bars(items, { unit = "" } = {}) {
  const most = Math.max(1e-9, ...items.map((b) => b.parts.reduce((sum, p) => sum + p.value, 0)));
  const kinds = new Map(items.flatMap((b) => b.parts.map((p) => [p.name, p.colour])));
  const rows = items.map((bar) => {
    const total = bar.parts.reduce((sum, p) => sum + p.value, 0);
    const drawn = bar.parts.filter((p) => p.value > 0).map((p) => {
      const part = el("i", { title: `${p.name}: ${number(p.value)}` });
      part.style.width = `${(100 * p.value) / most}%`;
      part.style.background = p.colour;
      return part;
    });
    return el("tr", null,
      el("th", { scope: "row" }, bar.pick ? el("button", { class: "pick", title: "Show these episodes", click: bar.pick }, said(bar.name)) : said(bar.name)),
      el("td", { class: "stack" }, drawn), el("td", null, number(total), unit));
  });
  const many = kinds.size > 1;
  return [
    el("table", { class: "bar-chart" }, el("tbody", null, rows)),
    many ? el("p", { class: "legend" }, [...kinds].map(([name, shade]) => {
      const mark = el("i", { class: "swatch" });
      mark.style.background = shade;
      return el("span", null, mark, said(name));
    })) : null,
  ];
}

// `counts`: Map of row name to Map of column name to count. Shading is the share of the row.
function matrix(counts, columns, { corner, pick, expected }) {
  const body = [...counts].map(([row, found]) => {
    const total = [...found.values()].reduce((a, b) => a + b, 0);
    return el("tr", null, el("th", { scope: "row" }, said(row)), columns.map((column) => {
      const count = found.get(column) || 0, share = total ? count / total : 0;
      const field = el("td", { class: expected && expected(row) === column ? "cell hit" : "cell" },
        el("button", { disabled: !count, title: `${row}: ${column}, ${percent(share)}`, click: () => pick(row, column) }, number(count), el("small", null, percent(share))));
      field.style.setProperty("--share", share.toFixed(3));
      return field;
    }));
  });
  return el("div", { class: "scroll" }, el("table", { class: "matrix" },
    el("thead", null, el("tr", null, el("th", { scope: "col" }, corner), columns.map((c) => el("th", { scope: "col" }, said(c))))),
    el("tbody", null, body)));
}
