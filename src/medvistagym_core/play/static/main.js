"use strict";
// The page as a whole: its start, the keys, saving, and the model.

const KEYS = [
  ["wheel  ↑  ↓", "slices of the picture"], ["Page Up  Page Down", "ten slices"], ["Home  End", "first and last slice"],
  ["/", "choose a tool"], ["d", "draw the next box, point or outline of the form"], ["Enter", "on the picture: close the outline"],
  ["Backspace", "on the picture: take back its last corner"], ["Ctrl+Enter", "call the tool"], ["b", "go on with the result"],
  ["m", "let the model take a turn"], ["s", "save the session"], ["t", "dark or light"], ["Esc", "stop drawing"], ["?", "these keys"],
];
const DARK = matchMedia("(prefers-color-scheme: dark)");
const before = viewport("before", "Before"), after = viewport("after", "After");

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("medvistagym-theme", theme);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}
const toggleTheme = () => setTheme((document.documentElement.dataset.theme || (DARK.matches ? "dark" : "light")) === "dark" ? "light" : "dark");

function help() {
  fill($("help"), el("h2", null, "Keys"),
    el("table", null, el("tbody", null, KEYS.map(([keys, meaning]) => el("tr", null, el("th", { scope: "row" }, keys.split("  ").map((key) => el("kbd", null, key))), el("td", null, meaning))))),
    el("p", { class: "quiet small" }, "Research use only, not for clinical use."), el("button", { click: () => $("help").close() }, "Close"));
  $("help").showModal();
}

function openSave() {
  const entry = (name, label, value) => el("label", { class: "field" }, el("b", null, label), el("input", { type: "text", name, value, autocomplete: "off" }));
  const answered = state.turns.find((turn) => turn.answer !== null)?.answer;
  fill($("save"), el("h2", null, "Save as a trajectory"),
    el("p", { class: "quiet small" }, "Each call is a turn. It can be looked at with `medvistagym view`, and holds these images."),
    el("form", { submit: saveSession }, entry("question", "Question", state.question || ""), answered ? null : entry("answer", "Answer (optional)", ""), entry("expected", "Right answer, if it is known", ""),
      el("p", { class: "actions" }, el("button", { class: "main" }, "Save"), el("button", { type: "button", click: () => $("save").close() }, "Cancel"))));
  $("save").showModal();
}

async function saveSession(event) {
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(event.target));
  $("save").close();
  const saved = await send("save", fields, "Saving…");
  if (saved) say(`Saved to ${saved.file}. Look at it: medvistagym view ${saved.folder}`);
}

async function reset() {
  if (state.turns.length && !confirm("Begin anew? What is not saved is lost.")) return;
  if ((await send("reset")) === undefined) return;
  state.before = state.after = shown.turn = null;
  before.handle = after.handle = null;
  changed();
}

// The model: it takes a turn when asked to; a person may call tools between its turns, or answer in its place.
const asking = { all: false };
function drawAsk() {
  $("ask").hidden = state.policy === null;
  if (state.policy === null || $("ask").contains(document.activeElement)) return;
  const going = state.question && !state.answered;
  fill($("ask"), el("h3", null, "Ask ", said(state.policy)),
    el("form", { submit: async (event) => { event.preventDefault(); const text = $("question").value; document.activeElement.blur(); if ((await send("ask", { question: text })) !== undefined) await modelTurn(); } },
      el("textarea", { id: "question", rows: 2, placeholder: "Is there a fracture?", "aria-label": "Question" }, state.question), el("button", { class: "main" }, going ? "Ask anew" : "Ask")),
    going && el("div", { class: "actions" },
      el("button", { type: "button", id: "step", title: "m", click: modelTurn }, "Next turn"),
      el("button", { type: "button", id: "to-end", click: modelToEnd }, asking.all ? "Stop" : "To the end"),
      el("button", { type: "button", click: answerInstead }, "Answer in its place")));
}

async function modelTurn() {
  document.activeElement?.blur();
  const turn = await send("step", {}, `${state.policy} is thinking…`);
  if (turn !== undefined) showTurn(turn);
  return turn !== undefined;
}

async function modelToEnd() {
  asking.all = !asking.all;
  while (asking.all && !state.answered && (await modelTurn()));
  asking.all = false;
  changed();
}

async function answerInstead() {
  const typed = prompt("The answer");
  if (!typed) return;
  const turn = await send("answer", { answer: typed });
  if (turn !== undefined) showTurn(turn);
}

function drawNext() {
  const drawn = form.fields.filter((one) => one.button && ["box", "point", "points"].includes(one.kind));
  const at = drawn.findIndex((one) => one.name === drawing.active);
  drawing.activate(drawn[(at + 1) % (drawn.length || 1)]?.name ?? null);
}

function pressed(event) {
  if ($("help").open || $("save").open) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
    event.preventDefault();
    runCall();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const field = event.target.closest("input, select, textarea");
  if (field) {
    if (event.key === "Escape") field.blur();
    return;
  }
  const onPicture = event.target.closest(".screen");
  const actions = {
    "/": () => $("tool").focus(), "?": help, t: toggleTheme, b: useResult, s: openSave, d: drawNext, m: state.policy !== null && state.question && !state.answered && modelTurn,
    Escape: () => drawing.activate(null), Enter: onPicture && (() => { drawing.open = false; before.mark(); }), Backspace: onPicture && (() => drawing.undo()),
  };
  const action = Object.hasOwn(actions, event.key) && actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

async function start() {
  try {
    const theme = localStorage.getItem("medvistagym-theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // As above.
  }
  $("theme").addEventListener("click", toggleTheme);
  $("help-open").addEventListener("click", help);
  $("save-open").addEventListener("click", openSave);
  $("reset").addEventListener("click", reset);
  $("find").addEventListener("input", drawSources);
  document.addEventListener("keydown", pressed);
  for (const id of ["help", "save"]) $(id).addEventListener("click", (event) => { if (event.target === $(id)) $(id).close(); });
  let begun;
  try {
    begun = await get("start");
  } catch {
    say("The page's server is gone; start `medvistagym play` again.", true);
    return;
  }
  state.sources = begun.sources;
  state.tools = begun.tools;
  $("name").textContent = begun.name;
  document.title = `${begun.name} · MedVistaGym`;
  take(begun.session);
  buildForm();
  attachDrawing();
  listeners.push(drawSources, drawTree, drawResult, drawLog, drawAsk, () => { before.show === undefined || before.mark(); });
  listeners.push(() => { $("save-open").disabled = !state.turns.length; $("reset").disabled = !state.images.length; copyCall(); });
  if (state.turns.length) showTurn(state.turns.length - 1);
  else if (state.images.length) before.show(0);
  else changed();
  if (!state.images.length && state.sources.length === 1) await openSource(0);
  document.body.dataset.begun = "yes";
}

start();
