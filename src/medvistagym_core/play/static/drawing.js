"use strict";
// Boxes, points and polygons drawn on the picture before: each belongs to a field of the form, on the grid of 0 to 1000.

const drawing = {
  active: null, // name of the field that is drawn
  corner: null, // where a box was begun
  open: false, // whether a polygon takes more corners

  field() { return this.active && form.fields.find((one) => one.name === this.active); },

  activate(name) {
    this.active = name;
    this.corner = null;
    this.open = form.fields.find((one) => one.name === name)?.kind === "points";
    before.stage.classList.toggle("drawing", Boolean(name));
    for (const one of form.fields) one.button?.setAttribute("aria-pressed", String(one.name === name));
    before.mark();
  },

  // The shapes of all fields that hold one, for the picture.
  shapes() {
    return form.fields.filter((one) => ["box", "point", "points"].includes(one.kind)).flatMap((one) => {
      const value = one.parsed(), kind = `shape${one.name === this.active ? " hot" : ""}`;
      const numbers = (list, count) => Array.isArray(list) && list.length === count && list.every((n) => typeof n === "number");
      if (one.kind === "box" && numbers(value, 4)) {
        const [x0, y0, x1, y1] = value;
        return [svg("rect", { class: kind, x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.abs(x1 - x0), height: Math.abs(y1 - y0) })];
      }
      const points = one.kind === "point" && numbers(value, 2) ? [value] : one.kind === "points" && Array.isArray(value) ? value.filter((p) => numbers(p, 2)) : [];
      const crosses = points.map(([x, y]) => svg("path", { class: kind, d: `M${x - 14} ${y}H${x + 14}M${x} ${y - 14}V${y + 14}` }));
      if (one.kind === "points" && points.length > 1) crosses.unshift(svg(this.open && one.name === this.active ? "polyline" : "polygon", { class: kind, points: points.map(String).join(" ") }));
      return crosses;
    });
  },

  // A pair of points of one tool, such as the ends of a distance, is drawn one after the other.
  next() {
    const points = form.fields.filter((one) => one.kind === "point");
    const at = points.findIndex((one) => one.name === this.active);
    if (at >= 0 && points.length > 1) this.activate(points[(at + 1) % points.length].name);
  },

  undo() {
    const field = this.field();
    if (field?.kind !== "points") return;
    const value = field.parsed();
    if (Array.isArray(value)) field.write(value.slice(0, -1));
  },
};

const grid = (fraction) => Math.max(0, Math.min(1000, Math.round(fraction * 1000)));

function attachDrawing() {
  const { stage } = before;
  stage.addEventListener("pointerdown", (event) => {
    const field = drawing.field();
    if (!field || event.button > 0 || image(before.handle) === null) return;
    event.preventDefault();
    before.screen.focus({ preventScroll: true });
    const point = before.at(event).map(grid);
    if (field.kind === "box") {
      stage.setPointerCapture(event.pointerId);
      drawing.corner = point;
    } else if (field.kind === "point") {
      field.write(point);
      drawing.next();
    } else {
      const value = drawing.open && Array.isArray(field.parsed()) ? field.parsed() : [];
      const last = value.at(-1);
      drawing.open = true;
      if (!last || Math.hypot(last[0] - point[0], last[1] - point[1]) > 3) field.write([...value, point]);
    }
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drawing.corner) return;
    const [x, y] = before.at(event).map(grid), [u, v] = drawing.corner;
    drawing.field()?.write([Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)]);
  });
  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, () => { drawing.corner = null; });
  stage.addEventListener("dblclick", () => { drawing.open = false; before.mark(); });
}
