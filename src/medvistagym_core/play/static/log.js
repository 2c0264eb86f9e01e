"use strict";
// Files, the images of the session, and what was called.

const thumb = (handle) => el("img", { class: "thumb", alt: "", loading: "lazy", src: `slice/${handle}/${image(handle).frame}.png?side=128` });

async function openSource(number) {
  const source = state.sources[number];
  if (state.series.has(number)) return useSeries(number, 0);
  if (source.preview) before.showPreview(number, source.name);
  const opened = await send("open", { source: number }, `Reading ${source.name}${source.files > 1 ? ` (${source.files} files)` : ""}…`);
  if (opened === undefined) {
    before.draw();
    return;
  }
  state.series.set(number, opened.series);
  if (opened.handle === null && opened.series.length) await useSeries(number, 0);
  else before.show(opened.handle);
  changed();
}

async function useSeries(number, index) {
  const handle = await send("use", { source: number, image: index }, "Opening…");
  if (handle !== undefined) before.show(handle);
}

function drawSources() {
  const name = (text) => el("span", { class: "name" }, said(text));
  const wanted = $("find").value.toLowerCase();
  $("find").hidden = state.sources.length < 9;
  fill($("sources"), state.sources.map((source, number) => {
    if (!source.name.toLowerCase().includes(wanted)) return null;
    const series = state.series.get(number) ?? [];
    return el("div", { class: "source" },
      el("button", { type: "button", class: "row", click: () => openSource(number) }, name(source.name), source.files > 1 && el("span", { class: "quiet small" }, `${source.files} files`)),
      series.length > 1 && series.map((one, index) => el("button", { type: "button", class: "row series", click: () => useSeries(number, index) }, el("span", null, `${index}: ${one.modality ?? "image"}`), el("span", { class: "quiet small" }, sizeText(one)))));
  }));
}

function drawTree() {
  const children = new Map();
  state.images.forEach((one, handle) => children.set(one.parent, [...(children.get(one.parent) ?? []), handle]));
  const branch = (handle) => el("li", null,
    el("button", { type: "button", class: `row${handle === state.before ? " shown" : ""}${handle === state.after ? " made" : ""}`, title: "Show it before, for the next call", click: () => before.show(handle) },
      thumb(handle), el("span", { class: "what" }, el("b", null, `${handle} `), said(titleOf(handle)), el("br"), el("span", { class: "quiet small" }, `${sizeText(image(handle))} ${image(handle).unit}`))),
    children.has(handle) && el("ol", null, children.get(handle).map(branch)));
  fill($("tree"), (children.get(null) ?? []).map(branch), !state.images.length && el("li", { class: "quiet small" }, "None yet. Each image gets a number, its handle, by which calls name it."));
}

// A turn's images before and after, and its words.
function showTurn(number) {
  const turn = state.turns[number], call = turn?.calls[0];
  if (call) {
    const made = call.handles.at(-1), tool = toolOf(call.name);
    const from = made !== undefined ? image(made).parent : call.arguments[tool?.images[0]];
    if (Number.isInteger(from) && image(from)) state.before = from;
    state.after = made ?? null;
  }
  shown.turn = number;
  const { before: first, after: second } = state;
  before.show(first);
  after.show(second);
  if (image(second)) before.mark();
}
const shown = { turn: null };

function callNode(call) {
  return [
    el("p", { class: "argument" }, el("b", null, call.name), ` ${JSON.stringify(call.arguments)}`),
    call.error && el("p", { class: "fault" }, said(call.error.message), " ", el("span", { class: "small" }, call.error.code)),
    call.text && said(call.text, "long"),
    call.repairs.length > 0 && el("p", { class: "quiet small" }, `mended: ${call.repairs.join(", ")}`),
  ];
}

function drawResult() {
  const turn = state.turns[shown.turn];
  if (!turn) return fill($("result"));
  const call = turn.calls[0];
  fill($("result"),
    el("div", { class: "head" }, el("h3", null, call ? `Call ${shown.turn + 1}` : turn.answer !== null ? "Answer" : `Turn ${shown.turn + 1}`), call && !call.error && el("span", { class: "quiet small" }, call.cached ? "as before, from memory" : duration(call.seconds))),
    turn.error && el("p", { class: "fault" }, said(turn.error)), turn.answer !== null && el("p", { class: "final" }, said(turn.answer)),
    turn.calls.map(callNode),
    call?.handles.length > 0 && el("p", null, el("button", { type: "button", id: "chain", title: "b", click: useResult }, `Go on with image ${call.handles.at(-1)}`)),
    call?.data && el("details", null, el("summary", null, "Data"), el("pre", null, JSON.stringify(call.data, null, 1))));
}

function useResult() {
  if (state.after === null) return;
  const made = state.after;
  state.after = null;
  after.show(null);
  before.show(made);
}

function drawLog() {
  fill($("log"), state.turns.length > 0 && el("h3", null, "Session"), el("ol", { class: "turns" }, state.turns.map((turn, number) => {
    const call = turn.calls[0], fault = turn.error ?? call?.error?.message;
    return el("li", { class: `turn${number === shown.turn ? " shown" : ""}` },
      el("button", { type: "button", class: "row", click: () => showTurn(number) },
        el("span", { class: "quiet" }, `${number + 1}`),
        el("span", { class: "what" }, el("b", null, call ? call.name : turn.answer !== null ? "answer" : "turn"), turn.who !== "person" && el("span", { class: "who small" }, said(turn.who)),
          turn.think && el("span", { class: "think" }, said(turn.think)),
          el("span", { class: `small ${fault ? "bad" : "quiet"}` }, said((fault ?? turn.answer ?? (call?.text || JSON.stringify(call?.arguments ?? {}))).slice(0, 160)))),
        (call?.handles ?? []).slice(-1).filter((handle) => image(handle)).map(thumb)),
      call && toolOf(call.name) && el("button", { type: "button", class: "again", title: "Put this call into the form", click: () => fillForm(call) }, "Edit"));
  })));
}
