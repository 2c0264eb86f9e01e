"use strict";
// The form of a tool, made from the JSON Schema of its arguments. What a field holds is sent as it stands: whether it is a good
// value is decided by the tool's validator, so that a person reads the sentence that a policy would.

const form = { tool: null, fields: [] };

const branches = (schema) => {
  const list = schema.anyOf || schema.oneOf;
  return list ? list.flatMap(branches).filter((one) => one.type !== "null") : [schema];
};
const isNumber = (schema) => ["integer", "number"].includes(branches(schema ?? {})[0]?.type);
const isPoint = (schema) => schema?.type === "array" && schema.minItems === 2 && schema.maxItems === 2 && (schema.prefixItems ?? [schema.items]).every(isNumber);

function kindOf(tool, name, schema) {
  const list = branches(schema);
  if (tool.images.includes(name)) return list[0].type === "array" ? "images" : "image";
  if (list.length !== 1) return "json";
  const [one] = list;
  if (tool.boxes.includes(name) || (one.type === "array" && one.minItems === 4 && one.maxItems === 4 && one.items?.maximum === 1000)) return "box";
  if (isPoint(one)) return "point";
  if (one.type === "array" && isPoint(branches(one.items ?? {})[0])) return "points";
  if (one.enum || one.const !== undefined) return "choice";
  return { integer: "integer", number: "number", boolean: "boolean", string: "text" }[one.type] ?? "json";
}

function asNumber(typed) {
  const plain = typed.replace("−", "-").trim();
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) ? Number(plain) : typed;
}

// Text of a list as the command line writes it too: `0,0,500,500`, or `100,100 900,100` for points.
function asList(typed, kind) {
  if (typed.trim().startsWith("[")) return asJson(typed);
  const list = (part) => part.split(/\s*,\s*/).filter((word) => word !== "").map(asNumber);
  return kind === "points" ? typed.trim().replace(/\s*,\s*/g, ",").split(/[\s;]+/).filter(Boolean).map(list) : list(typed);
}

function asJson(typed) {
  try {
    return JSON.parse(typed);
  } catch {
    return typed;
  }
}

function limits(one) {
  const [least, most] = [one.minimum ?? one.exclusiveMinimum, one.maximum ?? one.exclusiveMaximum];
  if (least !== undefined && most !== undefined) return `${least} to ${most}`;
  return least !== undefined ? `${one.minimum === undefined ? "above" : "at least"} ${least}` : most !== undefined ? `${one.maximum === undefined ? "below" : "at most"} ${most}` : "";
}

function makeField(tool, name, schema) {
  const one = branches(schema)[0] ?? {}, kind = kindOf(tool, name, schema), required = tool.required.includes(name), id = `field-${name}`;
  const field = { name, kind, required };
  const edited = () => { before.mark(); copyCall(); };
  const options = (list, blank) => [required && !blank ? null : el("option", { value: "" }, blank ?? "—"), ...list.map((text) => el("option", { value: String(text) }, String(text)))];
  let input, parts = [];
  if (kind === "image") {
    input = el("select", { id, change: () => { if (field.main) before.show(Number(input.value)); edited(); } });
    field.fillImages = () => {
      const kept = input.value;
      fill(input, field.required ? null : el("option", { value: "" }, "—"), state.images.map((_, h) => el("option", { value: h }, `${h} · ${titleOf(h)}`)));
      input.value = field.main && state.before !== null ? String(state.before) : kept || (field.required && state.images.length ? String(state.images.length - 1) : "");
    };
    field.parsed = () => (input.value === "" ? undefined : Number(input.value));
  } else if (kind === "images") {
    input = el("select", { id, multiple: true, size: 3, change: edited });
    field.fillImages = () => {
      const kept = new Set([...input.selectedOptions].map((option) => option.value));
      fill(input, state.images.map((_, h) => el("option", { value: h, selected: kept.has(String(h)) || (!kept.size && h === state.before) }, `${h} · ${titleOf(h)}`)));
    };
    field.parsed = () => [...input.selectedOptions].map((option) => Number(option.value));
  } else if (kind === "choice") {
    const values = one.enum ?? [one.const];
    input = el("select", { id, change: edited }, options(values, one.default === undefined ? (required ? null : "—") : `${one.default} (default)`));
    field.parsed = () => (input.value === "" ? undefined : values.find((value) => String(value) === input.value));
  } else if (kind === "boolean") {
    input = el("select", { id, change: edited }, options(["true", "false"], schema.default === undefined ? null : `${schema.default} (default)`));
    field.parsed = () => (input.value === "" ? undefined : input.value === "true");
  } else {
    const hints = { box: "x0,y0,x1,y1", point: "x,y", points: "x,y x,y x,y", json: "JSON" };
    const hint = hints[kind] ?? (schema.default !== undefined && schema.default !== null ? `${schema.default} (default)` : "");
    input = el("input", { id, type: "text", autocomplete: "off", spellcheck: "false", placeholder: hint, inputmode: kind === "integer" ? "numeric" : null, input: edited });
    const read = { integer: asNumber, number: asNumber, box: (t) => asList(t, kind), point: (t) => asList(t, kind), points: (t) => asList(t, kind), json: asJson, text: (t) => t };
    field.parsed = () => (input.value.trim() === "" ? undefined : read[kind](input.value));
  }
  if (["box", "point", "points"].includes(kind)) {
    field.button = el("button", { type: "button", class: "draw", "aria-pressed": "false", click: () => drawing.activate(drawing.active === name ? null : name) }, kind === "points" ? "Outline" : kind === "point" ? "Point" : "Box");
    parts = [field.button, el("button", { type: "button", class: "clear", title: "Clear", "aria-label": `Clear ${name}`, click: () => field.write(null) }, "×")];
  }
  if (kind === "integer" && ["index", "slice", "frame"].includes(name)) {
    parts = [el("button", { type: "button", class: "draw", click: () => field.write(before.frame) }, "This slice")];
  }
  field.write = (value) => {
    if (value === null || value === undefined) input.value = "";
    else if (kind === "points") input.value = value.map((point) => point.join(",")).join(" ");
    else if (kind === "box" || kind === "point") input.value = Array.isArray(value) ? value.join(",") : String(value);
    else if (kind === "images") for (const option of input.options) option.selected = [].concat(value).includes(Number(option.value));
    else input.value = typeof value === "object" ? JSON.stringify(value) : String(value);
    edited();
  };
  const range = ["integer", "number"].includes(kind) ? limits(one) : "";
  field.node = el("div", { class: "field" },
    el("label", { for: id }, el("b", null, name), required ? null : el("span", { class: "quiet small" }, " optional"), range && el("span", { class: "quiet small" }, ` ${range}`)),
    el("div", { class: "entry" }, input, parts),
    schema.description && el("p", { class: "quiet small" }, said(schema.description)));
  return field;
}

function chooseTool(name) {
  const tool = toolOf(name);
  if (!tool) return;
  form.tool = tool;
  $("tool").value = name;
  form.fields = Object.entries(tool.properties).map(([argument, schema]) => makeField(tool, argument, schema));
  const main = form.fields.find((one) => one.kind === "image");
  if (main) main.main = true;
  fill($("fields"), form.fields.map((one) => one.node));
  fill($("about"), said(tool.description));
  fill($("facts"), `gives ${tool.returns.join(" and ")}${tool.modalities.length ? ` · made for ${tool.modalities.join(", ")}` : ""} · ${tool.id} ${tool.version}`);
  refreshImages();
  const drawn = form.fields.filter((one) => ["box", "point", "points"].includes(one.kind));
  drawing.activate((drawn.find((one) => one.required) ?? drawn[0])?.name ?? null);
  copyCall();
}

function refreshImages() {
  for (const one of form.fields) one.fillImages?.();
  const ready = form.tool && (state.images.length || !form.tool.images.length) && !state.answered;
  if (!$("run")) return;
  $("run").disabled = !ready;
  $("run").textContent = state.answered ? "Answered; begin anew to call" : "Call";
}

function givenArguments() {
  return Object.fromEntries(form.fields.map((one) => [one.name, one.parsed()]).filter(([, value]) => value !== undefined));
}

function fillForm(call) {
  chooseTool(call.name);
  for (const one of form.fields) if (Object.hasOwn(call.arguments, one.name)) one.write(call.arguments[one.name]);
  const main = form.fields.find((one) => one.main), handle = main && call.arguments[main.name];
  if (Number.isInteger(handle) && image(handle)) before.show(handle);
}

async function runCall() {
  if (!form.tool || $("run").disabled || state.busy) return;
  const turn = await send("call", { name: form.tool.name, arguments: givenArguments() }, `${form.tool.name} runs…`);
  if (turn === undefined) return;
  showTurn(turn);
}

function buildForm() {
  const groups = new Map();
  for (const tool of state.tools) {
    const plugin = tool.id.split(":")[0];
    groups.set(plugin, [...(groups.get(plugin) ?? []), tool]);
  }
  fill($("call"), el("h3", null, "Tool"),
    el("select", { id: "tool", "aria-label": "Tool", change: (event) => chooseTool(event.target.value) },
      [...groups].map(([plugin, tools]) => el("optgroup", { label: plugin }, tools.map((tool) => el("option", { value: tool.name }, tool.name))))),
    el("p", { id: "about" }), el("p", { id: "facts", class: "quiet small" }),
    el("form", { id: "form", submit: (event) => { event.preventDefault(); runCall(); } },
      el("div", { id: "fields" }), el("button", { id: "run", class: "main", title: "Ctrl+Enter" }, "Call")));
  listeners.push(refreshImages);
  if (state.tools.length) chooseTool((state.tools.find((tool) => tool.name === "window") ?? state.tools[0]).name);
}

// The call as text to copy; asked for when the form has been still for a moment.
const copied = { kind: "shell", texts: {}, kinds: null, tabs: new Map(), timer: 0 };
function copyCall() {
  clearTimeout(copied.timer);
  copied.timer = setTimeout(async () => {
    if (!form.tool || !state.images.length) return;
    const answer = await fetch("copy", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name: form.tool.name, arguments: givenArguments() }) }).catch(() => null);
    if (!answer?.ok) return;
    copied.texts = (await answer.json()).value;
    drawCopy();
  }, 250);
}

// The tabs stay where they are, so that a text that arrives takes neither a press nor the focus from them.
function drawCopy() {
  const kinds = [["shell", "Shell"], ["python", "Python"], ["tool_call", "<tool_call>"]].filter(([kind]) => kind in copied.texts);
  if (!kinds.some(([kind]) => kind === copied.kind) && kinds.length) copied.kind = kinds[0][0];
  if (String(kinds) !== String(copied.kinds)) buildCopy(kinds);
  for (const [kind, tab] of copied.tabs) tab.setAttribute("aria-pressed", String(kind === copied.kind));
  const text = copied.texts[copied.kind] ?? "";
  if ($("copied").textContent === text) return;
  $("copied").textContent = text;
  $("copy-text").textContent = "Copy";
}

function buildCopy(kinds) {
  copied.kinds = kinds;
  copied.tabs = new Map(kinds.map(([kind, label]) => [kind, el("button", { type: "button", click: () => { copied.kind = kind; drawCopy(); } }, label)]));
  const done = el("button", { type: "button", id: "copy-text", click: async () => {
    const text = $("copied").textContent;
    let told = "Copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren($("copied"));
      told = "Press Ctrl+C";
    }
    if ($("copied").textContent === text) done.textContent = told;
  } }, "Copy");
  fill($("copy"), el("h3", null, "This call as text"),
    el("div", { class: "tabs", role: "group", "aria-label": "Kind of text" }, [...copied.tabs.values()], done),
    el("pre", { id: "copied", tabindex: "0" }));
}
