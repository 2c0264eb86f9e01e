"use strict";
// The two pictures: before and after. Slices are pictures made by the server; neighbours are fetched ahead.

const AHEAD = 4;

// A tool that takes one slice of a stack by its number.
const takesSlice = (tool) => tool.images.length === 1 && tool.returns.includes("image") && tool.properties.index?.type === "integer" && tool.required.every((name) => tool.images.includes(name));

async function takeSlice(tool, handle, index) {
  const turn = await send("call", { name: tool.name, arguments: { [tool.images[0]]: handle, index } }, `${tool.name} runs…`);
  if (turn === undefined) return;
  showTurn(turn);
  useResult();
}

function viewport(id, label) {
  const view = { handle: null, frame: 0, window: null, x: 0, y: 0, preview: null, drawn: 0 };
  const picture = el("img", { alt: "", draggable: "false" });
  const marks = svg("svg", { class: "marks", viewBox: "0 0 1000 1000", preserveAspectRatio: "none", "aria-hidden": "true" });
  const stage = el("div", { class: "stage" }, picture, marks);
  const empty = el("p", { class: "empty" });
  const value = el("p", { class: "value small", "aria-live": "off", hidden: true });
  const screen = el("div", { class: "screen", tabindex: "0", "aria-label": `${label}: picture; arrow keys change the slice` }, stage, empty, value);
  const slider = el("input", { type: "range", min: "0", step: "1", "aria-label": `${label}: slice`, input: () => view.turn(Number(slider.value)) });
  const counter = el("output", { class: "small" });
  const slices = el("div", { class: "slices" }, slider, counter);
  const chosen = el("select", { "aria-label": `${label}: image`, change: () => view.show(Number(chosen.value)) });
  const windows = el("select", { class: "windows", "aria-label": `${label}: display`, title: "How it is displayed here; calls keep the image's own window", change: () => view.choose(windows.value) });
  const caption = el("p", { class: "caption small" });
  const line = el("p", { class: "line small quiet" });
  const slice = el("p", { class: "hint small" });
  fill($(id), el("div", { class: "title" }, el("h3", null, label), chosen, windows), screen, slices, slice, caption, line);

  const address = (frame) => {
    const side = Math.min(2048, Math.max(256, 2 ** Math.ceil(Math.log2(Math.max(256, screen.clientWidth * Math.min(2, devicePixelRatio || 1))))));
    const shown = view.window ? `&center=${view.window.center}&width=${view.window.width}` : "";
    return `slice/${view.handle}/${frame}.png?side=${side}${shown}`;
  };
  const ahead = new Map();
  const fetchAhead = (frame) => {
    const url = address(frame);
    if (!ahead.has(url)) {
      const next = new Image();
      next.src = url;
      ahead.set(url, next);
      if (ahead.size > 48) ahead.delete(ahead.keys().next().value);
    }
    return ahead.get(url);
  };

  view.draw = () => {
    const one = image(view.handle);
    stage.hidden = !one && !view.preview;
    empty.hidden = !stage.hidden;
    empty.textContent = id === "before" ? "Open a file to begin." : shown.turn === null ? "What a tool makes is shown here." : "This call made no image.";
    slices.hidden = !one?.stack;
    windows.hidden = !one || one.colour;
    chosen.hidden = !one;
    fill(chosen, state.images.map((each, h) => el("option", { value: h, selected: h === view.handle }, `${h} · ${titleOf(h)}`)));
    if (!one) {
      for (const part of [caption, line, slice]) part.textContent = "";
      value.hidden = true;
      fill(marks);
      return;
    }
    view.preview = null;
    const [h, w] = one.shape, [sy, sx] = one.spacing ? one.spacing.slice(-2) : [1, 1], ratio = (w * sx) / (h * sy);
    stage.style.aspectRatio = String(ratio);
    stage.style.width = `${Math.min(1, ratio) * 100}%`;
    picture.classList.toggle("coarse", Math.max(h, w) < 256);
    view.frame = Math.min(view.frame, one.frames - 1);
    slider.max = String(one.frames - 1);
    slider.value = String(view.frame);
    counter.textContent = `${view.frame + 1} / ${one.frames}`;
    picture.alt = `${label}: image ${view.handle}, ${titleOf(view.handle)}${one.stack ? `, slice ${view.frame + 1} of ${one.frames}` : ""}`;
    const current = ++view.drawn, loaded = fetchAhead(view.frame);
    const put = () => {
      if (current !== view.drawn) return;
      picture.src = loaded.src;
      for (let k = 1; k <= AHEAD; k++) for (const frame of [view.frame + k, view.frame - k]) if (frame >= 0 && frame < one.frames) fetchAhead(frame);
    };
    if (loaded.complete) put();
    else loaded.addEventListener("load", put, { once: true });
    const own = view.window ? `shown at ${number(view.window.center)} / ${number(view.window.width)}` : windowText(one);
    caption.textContent = [one.modality, sizeText(one), one.unit, own, spacingText(one)].filter(Boolean).join(" · ");
    fill(line, `handle ${view.handle}: `, lineage(view.handle).map((each, k) => [k ? " → " : "", el("button", { class: "link", type: "button", click: () => view.show(each) }, `${each} ${titleOf(each)}`)]));
    const cutter = id === "before" && one.stack && view.frame !== one.frame && state.tools.find((tool) => takesSlice(tool));
    fill(slice, cutter && ["A tool that takes one slice of this stack takes slice ", String(one.frame + 1), ". ",
      el("button", { type: "button", class: "link", click: () => takeSlice(cutter, view.handle, view.frame) }, `Cut out slice ${view.frame + 1}`)]);
    view.mark();
  };
  view.mark = () => {
    const own = id === "before" && state.after !== null && image(state.after)?.parent === view.handle ? outline(state.after) : null;
    fill(marks, own && svg("polygon", { class: "cut", points: own.map(([x, y]) => `${x * 1000},${y * 1000}`).join(" ") }), id === "before" ? drawing.shapes() : null);
  };
  view.show = (handle) => {
    const one = image(handle);
    if (view.handle !== handle) {
      const other = image(view.handle);
      view.frame = one && other?.frames === one.frames ? view.frame : one ? one.frame : 0;
      view.window = null;
      view.handle = one ? handle : null;
      const list = one ? [["", one.window ? "as stored" : "whole range"], ...one.windows.map((w) => [`${w.center},${w.width}`, `${w.name || "window"} ${number(w.center)} / ${number(w.width)}`]), ["other", "other…"]] : [];
      fill(windows, list.map(([key, text]) => el("option", { value: key }, text)));
    }
    state[id] = view.handle;
    changed();
  };
  view.choose = (key) => {
    if (key === "other") {
      const typed = prompt("Centre and width, such as 40 400", view.window ? `${view.window.center} ${view.window.width}` : "");
      const [center, width] = (typed ?? "").split(/[\s,;/]+/).filter(Boolean).map(Number);
      if (Number.isFinite(center) && width > 0) view.window = { center, width };
      else windows.value = "";
    } else if (key) {
      const [center, width] = key.split(",").map(Number);
      view.window = { center, width };
    } else view.window = null;
    ahead.clear();
    view.draw();
  };
  view.turn = (frame, follow = true) => {
    const one = image(view.handle);
    if (!one?.stack) return;
    view.frame = Math.max(0, Math.min(one.frames - 1, frame));
    view.draw();
    view.read();
    const other = id === "before" ? after : before;
    if (follow && image(other.handle)?.frames === one.frames && other.frame !== view.frame) other.turn(view.frame, false);
  };
  view.showPreview = (source, name) => {
    view.preview = source;
    view.handle = null;
    stage.hidden = false;
    empty.hidden = true;
    stage.style.aspectRatio = "1";
    stage.style.width = "100%";
    picture.alt = `a slice of ${name}`;
    view.drawn += 1;
    picture.src = `preview/${source}.png?side=1024`;
    caption.textContent = `One slice of ${name}, while the others are read.`;
    fill(marks);
  };

  // The value under the pointer: asked for one at a time, so that a moving pointer asks no faster than it is answered.
  let asking = false, wanted = false;
  view.read = async () => {
    const one = image(view.handle);
    value.hidden = !one || !view.inside;
    if (value.hidden) return;
    if (asking) { wanted = true; return; }
    asking = true;
    const [x, y] = [Math.min(one.shape[1] - 1, Math.floor(view.x * one.shape[1])), Math.min(one.shape[0] - 1, Math.floor(view.y * one.shape[0]))];
    try {
      const found = await get(`value?handle=${view.handle}&frame=${view.frame}&x=${x}&y=${y}`);
      const shown = Array.isArray(found.value) ? found.value.join(", ") : number(found.value, 4);
      const place = found.mm ? ` · L ${found.mm[0]}, P ${found.mm[1]}, S ${found.mm[2]} mm` : "";
      value.textContent = `column ${x}, row ${y}: ${shown} ${one.unit}${place}`;
    } catch {
      value.hidden = true;
    }
    asking = false;
    if (wanted) { wanted = false; view.read(); }
  };
  stage.addEventListener("pointermove", (event) => {
    [view.x, view.y] = view.at(event);
    view.inside = view.x >= 0 && view.y >= 0 && view.x < 1 && view.y < 1;
    view.read();
  });
  stage.addEventListener("pointerleave", () => { view.inside = false; value.hidden = true; });
  screen.addEventListener("wheel", (event) => {
    if (event.ctrlKey || !image(view.handle)?.stack) return;
    event.preventDefault();
    view.turn(view.frame + Math.sign(event.deltaY));
  }, { passive: false });
  screen.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -1e6, End: 1e6 };
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(steps, event.key)) return;
    event.preventDefault();
    view.turn(view.frame + steps[event.key]);
  });
  view.at = (event) => {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  Object.assign(view, { stage, screen, picture, marks, slider });
  listeners.push(view.draw);
  return view;
}
