"use strict";
// One episode: its sources with the places looked at, the conversation, the reward and the time it took.

const shownEpisode = { record: null, pictures: [] };

function drawEpisode(record) {
  shownEpisode.record = record;
  shownEpisode.pictures = record.images.map((_, handle) => handle);
  const order = callNumbers(record);
  const roots = record.images.map((image, handle) => handle).filter((handle) => record.images[handle].turn === null);
  const sources = el("section", { class: "sources" },
    el("h3", null, record.marks.length ? "Where it looked" : roots.length > 1 ? "Images" : "Image"),
    roots.map((handle) => figure(record, handle, { marks: record.marks.filter((m) => m.root === handle && m.at), place: "at", order })),
    legend(record));
  fill($("episode"),
    el("button", { class: "back", click: () => back() }, "‹ Episodes"),
    heading(record),
    el("div", { class: "sheet" },
      el("div", { class: "side" }, sources, record.outcome.expected ? rewardTable(record) : null, timings(record), facts(record)),
      conversation(record, order)),
  );
  $("episode").scrollTop = 0;
}

// The number of each call in the episode, from 1.
function callNumbers(record) {
  const order = new Map();
  record.turns.forEach((turn, t) => turn.calls.forEach((_, c) => order.set(`${t}/${c}`, order.size + 1)));
  return order;
}

const outcomeOf = (record) => {
  const o = record.outcome;
  if (o.answer !== null && !o.abstained && !o.expected) return "answered"; // nobody has said what is right
  return o.correct ? "right" : o.abstained ? "abstained" : o.answer === null ? "no answer" : "wrong";
};

function heading(record) {
  const o = record.outcome, outcome = outcomeOf(record);
  const asked = record.opening.filter((block) => block.text).at(-1);
  const badges = [
    el("span", { class: `badge ${outcome.replace(" ", "-")}` }, outcome),
    o.expected ? el("span", { class: "badge" }, "reward ", el("b", null, number(record.reward))) : null,
    el("span", { class: "badge" }, said(record.family)),
    o.informed === null ? null : el("span", { class: "badge" }, o.informed ? "saw what it needed" : "never saw what it needed"),
    o.ended === "answered" ? null : el("span", { class: "badge wrong" }, `ended: ${o.ended.replace("_", " ")}`),
  ];
  return el("header", { class: "heading" },
    el("h2", null, said(asked ? asked.text.split("\n")[0].slice(0, 240) : record.id)),
    el("div", { class: "badges" }, badges),
    el("p", { class: "verdict" },
      "Answered ", o.answer === null ? el("i", null, "nothing") : el("b", null, said(o.answer)),
      o.expected ? [", expected ", el("b", null, said(o.expected)), "."] : "."),
    o.reason ? el("p", { class: "bad" }, said(o.reason)) : null);
}

// -- pictures

function caption(image, handle) {
  const whole = image.shape[0] === image.height && image.shape[1] === image.width;
  const parts = [`image ${handle}`, `${image.width} × ${image.height}${whole ? "" : ` of ${image.shape[1]} × ${image.shape[0]}`} pixels`];
  if (image.modality) parts.push(image.modality);
  if (image.window_center !== null && image.window_width !== null) {
    const unit = image.unit === "grey" || image.unit === "raw" ? "" : ` ${image.unit}`, half = (image.window_width - 1) / 2;
    parts.push(image.window_function === "table" ? `lookup table from ${number(image.window_center - half)} to ${number(image.window_center + half)}${unit}`
      : `window ${image.window_name ? `${image.window_name} ` : ""}C ${number(image.window_center)} W ${number(image.window_width)}${unit}`);
  }
  if (image.spacing) parts.push(`${image.spacing.slice(-2).map((s) => number(s, 2)).join(" × ")} mm a pixel`);
  if (image.parent !== null) parts.push(`from image ${image.parent}`);
  return parts.join(" · ");
}

function figure(record, handle, { marks = [], place = "on", order, large = false }) {
  const image = record.images[handle];
  if (!image) return el("p", { class: "bad" }, `image ${handle} is not in the record`);
  const small = Math.max(image.width, image.height) <= 160;
  const frame = el("div", { class: "frame" },
    picture(() => pictureAddress(record.file, image.picture), {
      alt: `image ${handle}`, width: image.width, height: image.height, class: small ? "coarse" : "",
    }),
    marks.length ? overlay(image, marks, place, order) : null);
  const ratio = image.width / image.height;
  frame.style.aspectRatio = String(ratio);
  if (large) frame.style.width = `min(94vw, calc(82vh * ${ratio}))`;
  if (!large) {
    frame.setAttribute("role", "button");
    frame.setAttribute("tabindex", "0");
    frame.setAttribute("aria-label", `Enlarge image ${handle}`);
    frame.addEventListener("click", () => enlarge(handle));
    frame.addEventListener("keydown", (event) => { if (event.key === "Enter") enlarge(handle); });
  }
  return el("figure", null, frame, el("figcaption", null, caption(image, handle)));
}

function overlay(image, marks, place, order) {
  const high = (1000 * image.height) / image.width;
  const same = new Map(); // calls that looked at the same place share a box
  for (const mark of marks) {
    const where = mark.tool + JSON.stringify(mark[place]);
    same.set(where, [...(same.get(where) || []), mark]);
  }
  const drawn = [...same.values()].map((group) => {
    const mark = group[0], points = mark[place].map(([x, y]) => [x * 1000, y * high]);
    const keys = group.map((m) => `${m.turn}/${m.call}`), label = [...new Set(keys)].map((key) => order.get(key)).join(" "), wide = 26 + 28 * label.length;
    const [x, y] = [Math.max(0, Math.min(1000 - wide, Math.min(...points.map((p) => p[0])))), Math.max(0, Math.min(high - 60, Math.min(...points.map((p) => p[1]))))];
    const path = points.map((p) => p.join(",")).join(" ");
    return svg("g", { class: "mark", "data-call": keys.join(" "), stroke: colour(mark.tool, toolNames()), fill: colour(mark.tool, toolNames()) },
      svg("title", null, `${label}: ${mark.tool}`),
      svg("polygon", { class: "rim", points: path }),
      svg("polygon", { class: "edge", points: path }),
      svg("rect", { x, y, width: wide, height: 60, class: "tag" }),
      svg("text", { x: x + wide / 2, y: y + 45, class: "tag" }, label));
  });
  return svg("svg", { viewBox: `0 0 1000 ${high}`, class: "marks", "aria-hidden": "true" }, drawn);
}

function legend(record) {
  const names = [...new Set(record.marks.map((mark) => mark.tool))];
  if (!names.length) return null;
  return el("p", { class: "legend" }, names.map((name) => el("span", null, swatch(name, toolNames()), said(name))));
}

function swatch(name, names) {
  const mark = el("i", { class: "swatch" });
  mark.style.background = colour(name, names);
  return mark;
}

function enlarge(handle) {
  const record = shownEpisode.record, dialog = $("large");
  if (!record || !record.images[handle]) return;
  shownEpisode.large = handle;
  const isRoot = record.images[handle].turn === null;
  const marks = record.marks.filter((m) => (isRoot ? m.root === handle && m.at : m.handle === handle));
  dialog.replaceChildren(
    figure(record, handle, { marks, place: isRoot ? "at" : "on", order: callNumbers(record), large: true }),
    el("div", { class: "turning" },
      el("button", { click: () => turnLarge(-1), "aria-label": "Previous image" }, "‹"),
      el("span", null, `${handle + 1} of ${record.images.length}`),
      el("button", { click: () => turnLarge(1), "aria-label": "Next image" }, "›"),
      marks.length ? el("button", { click: () => dialog.classList.toggle("plain") }, "Boxes") : null,
      finer(record.images[handle]) ? el("button", { id: "full", title: "As a tool sees it (f)", click: fullSize }, "Full resolution") : null,
      el("button", { click: () => dialog.close() }, "Close")));
  if (!dialog.open) dialog.showModal();
}

// Whether the image itself has more pixels than the picture that the policy was shown.
const finer = (image) => data.full && Math.max(...image.shape) > Math.max(image.width, image.height);

function fullSize() {
  const { record, large } = shownEpisode, image = document.querySelector("#large img"), button = $("full");
  if (!button || button.disabled) return;
  button.disabled = true;
  button.textContent = "Making it again …";
  const shown = image.src;
  image.addEventListener("load", () => { button.textContent = image.classList.contains("full") ? "Full resolution" : "Not to be had"; });
  image.addEventListener("error", () => { image.classList.remove("full", "missing"); image.src = shown; }, { once: true });
  image.classList.remove("coarse");
  image.classList.add("full");
  image.src = `full/${Number(record.number)}/${Number(large)}.png`;
}

function turnLarge(by) {
  const count = shownEpisode.record.images.length;
  enlarge((shownEpisode.large + by + count) % count);
}

// -- conversation

function conversation(record, order) {
  const parts = [];
  if (record.prompt) parts.push(el("details", { class: "bubble system" }, el("summary", null, "System prompt"), said(record.prompt, "long")));
  parts.push(el("div", { class: "bubble user" }, el("h4", null, "Case"), blocks(record, record.opening, order)));
  record.turns.forEach((turn, t) => parts.push(turnOf(record, turn, t, order)));
  return el("section", { class: "conversation" }, el("h3", null, "Conversation"), parts);
}

function blocks(record, shown, order) {
  return shown.map((block) => {
    if (block.type === "text") return /^image \d+:$/.test(block.text) ? null : el("div", { class: "text" }, said(block.text, "long"));
    const marks = record.images[block.image]?.turn === null ? [] : record.marks.filter((m) => m.handle === block.image);
    return figure(record, block.image, { marks, order });
  });
}

function turnOf(record, turn, t, order) {
  const parts = [];
  if (turn.think) parts.push(el("div", { class: "think" }, said(turn.think, "long")));
  turn.calls.forEach((call, c) => parts.push(callCard(record, call, `${t}/${c}`, order)));
  if (turn.error) parts.push(el("div", { class: "fault" }, el("b", null, turn.error.code), " ", said(turn.error.message)));
  if (turn.error || (!turn.calls.length && turn.answer === null)) parts.push(el("div", { class: "text raw" }, said(turn.text, "long")));
  if (turn.answer !== null) {
    parts.push(el("div", { class: `final ${outcomeOf(record).replace(" ", "-")}` }, el("span", { class: "quiet" }, "Answer "), said(turn.answer)));
  }
  if (!turn.error) {
    parts.push(el("details", { class: "written" }, el("summary", null, "As written"), el("pre", null, said(turn.text))));
  }
  const times = [turn.policy_seconds ? `policy ${duration(turn.policy_seconds)}` : null, turn.calls.length ? `tools ${duration(turn.tool_seconds)}` : null];
  return el("div", { class: "bubble policy" },
    el("h4", null, `Turn ${t + 1}`, turn.conforms ? null : el("span", { class: "bad" }, "not in the wire format"),
      el("span", { class: "quiet" }, times.filter(Boolean).join(" · "))),
    parts);
}

function callCard(record, call, key, order) {
  const name = el("span", { class: "tool" }, el("b", null, order.get(key)), said(call.name));
  name.style.setProperty("--tool", colour(call.name, toolNames()));
  const hot = (on) => {
    for (const mark of document.querySelectorAll(".mark")) mark.classList.toggle("hot", on && mark.dataset.call.split(" ").includes(key));
  };
  return el("div", { class: call.error ? "call failed" : "call", "data-call": key, mouseenter: () => hot(true), mouseleave: () => hot(false) },
    el("div", { class: "head" }, name,
      Object.entries(call.arguments).map(([argument, value]) =>
        el("span", { class: "argument" }, el("span", { class: "quiet" }, said(argument), " "), said(shortJson(value)))),
      el("span", { class: "quiet time" }, call.cached ? "from an equal call" : duration(call.seconds))),
    call.error
      ? el("div", { class: "fault" }, el("b", null, call.error.code), " ", said(call.error.message))
      : blocks(record, call.shown, order),
    call.data === null ? null : el("details", { class: "written" }, el("summary", null, "Facts for programs"), el("pre", null, said(JSON.stringify(call.data, null, 2)))));
}

function shortJson(value) {
  const written = typeof value === "string" ? value : JSON.stringify(value)?.replace(/,/g, ", ") ?? "";
  return written.length > 200 ? `${written.slice(0, 200)} …` : written;
}

// -- figures

function rewardTable(record) {
  const most = Math.max(1e-9, ...Object.values(record.parts).map(Math.abs));
  const rows = Object.entries(record.terms).map(([name, value]) => {
    const part = record.parts[name] ?? 0, bar = el("i", { class: part < 0 ? "bar minus" : "bar" });
    bar.style.width = `${(100 * Math.abs(part)) / most}%`;
    return el("tr", { class: record.weights[name] ? "" : "quiet" }, el("th", { scope: "row" }, said(name)), el("td", null, number(value)),
      el("td", null, `× ${number(record.weights[name] ?? 0)}`), el("td", null, number(part)), el("td", { class: "bars" }, part ? bar : null));
  });
  return el("section", null, el("h3", null, "Reward"),
    el("table", { class: "reward-terms" },
      el("thead", null, el("tr", null, ["Term", "Value", "Weight", "Adds", ""].map((h) => el("th", { scope: "col" }, h)))),
      el("tbody", null, rows),
      el("tfoot", null, el("tr", null, el("th", { scope: "row", colspan: 3 }, "Total"), el("td", null, number(record.reward)), el("td", null)))));
}

function timings(record) {
  const longest = Math.max(1e-9, ...record.turns.map((t) => t.policy_seconds + t.tool_seconds));
  const line = (turn, t) => {
    const policy = el("i", { class: "bar policy" }), tools = el("i", { class: "bar tools" });
    policy.style.width = `${(100 * turn.policy_seconds) / longest}%`;
    tools.style.width = `${(100 * turn.tool_seconds) / longest}%`;
    return el("tr", null, el("th", { scope: "row" }, `Turn ${t + 1}`), el("td", null, duration(turn.policy_seconds)), el("td", null, duration(turn.tool_seconds)), el("td", { class: "bars" }, policy, tools));
  };
  const sum = (name) => record.turns.reduce((total, turn) => total + turn[name], 0);
  return el("section", null, el("h3", null, "Time"),
    el("table", null,
      el("thead", null, el("tr", null, ["", "Policy", "Tools", ""].map((h) => el("th", { scope: "col" }, h)))),
      el("tbody", null, record.turns.map(line)),
      el("tfoot", null, el("tr", null, el("th", { scope: "row" }, "All"), el("td", null, duration(sum("policy_seconds"))), el("td", null, duration(sum("tool_seconds"))), el("td", null)))),
    el("p", { class: "quiet small" }, "The policy's time is that of the whole batch it acted in."));
}

function facts(record) {
  const sampling = Object.entries(record.policy.sampling).map(([name, value]) => `${name} ${value}`).join(", ");
  const rows = {
    Episode: record.id, Case: record.case, Task: record.task, Split: `${record.split}, index ${record.index}, seed ${record.seed}, sample ${record.sample}`,
    Policy: sampling ? `${record.policy.name} (${sampling})` : record.policy.name, File: data.files[record.file],
    Limits: `${record.max_turns} turns, ${record.max_calls} calls, ${record.max_calls_per_turn} a turn${record.max_tokens ? `, ${number(record.max_tokens)} tokens` : ""}`,
    "Shown at": record.view_side === null ? "the images' own size" : `${record.view_side} pixels`, Toolbox: record.toolbox.slice(0, 16),
  };
  const whole = el("details", { class: "written", toggle: () => {
    if (whole.open && whole.children.length === 1) whole.append(el("pre", null, said(JSON.stringify(record, null, 2))));
  } }, el("summary", null, "The whole record"));
  return el("section", null, el("h3", null, "Facts"),
    el("dl", null, Object.entries(rows).map(([name, value]) => [el("dt", null, name), el("dd", null, said(value ?? ""))])), whole);
}
