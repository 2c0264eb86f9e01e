"use strict";
// Where episodes come from: data blocks of an exported page, or the server of the page.

const data = {
  columns: {}, outcomes: [], files: [], problems: [], strings: [], rows: [], name: "", done: false, here: null, figures: null, full: false,
};
const embedded = $("data");
const held = new Map();

const cell = (row, column) => row[data.columns[column]];
const text = (row, column) => data.strings[cell(row, column)] ?? "";
const texts = (row, column) => cell(row, column).map((n) => data.strings[n]);
const parsed = (id) => { const block = $(id); return block && JSON.parse(block.textContent); };

// The tools called anywhere in the run, in order: each keeps its colour on every chart and picture.
const tools = { rows: -1, names: [] };
function toolNames() {
  if (tools.rows !== data.rows.length) {
    tools.rows = data.rows.length;
    tools.names = [...new Set(data.rows.flatMap((row) => cell(row, "tools")))].map((n) => data.strings[n]).sort();
  }
  return tools.names;
}

function take(news) {
  const { rows, strings, columns, ...rest } = news;
  data.columns = Object.fromEntries(columns.map((name, position) => [name, position]));
  for (const word of strings) data.strings.push(word);
  for (const row of rows) data.rows.push(row);
  Object.assign(data, rest);
  return rows.length;
}

// Takes up new episodes; how many there were.
async function refresh() {
  if (embedded) return data.done ? 0 : take(JSON.parse(embedded.textContent));
  const at = [data.rows.length, data.strings.length];
  const answer = await fetch(`rows?rows=${at[0]}&strings=${at[1]}`);
  if (!answer.ok) throw new Error(`the server said ${answer.status}`);
  const news = await answer.json();
  return at[0] === data.rows.length ? take(news) : 0;
}

async function episodeOf(n) {
  if (embedded) return parsed(`episode-${n}`);
  if (!held.has(n)) {
    const answer = await fetch(`episode/${n}`);
    if (!answer.ok) return null;
    held.set(n, await answer.json());
    if (held.size > 32) held.delete(held.keys().next().value);
  }
  return held.get(n);
}

async function figures() {
  if (!embedded) {
    const answer = await fetch("figures");
    if (answer.ok) data.figures = await answer.json();
  }
  return data.figures || { curves: [], results: [], problems: [] };
}

function pictureAddress(file, sha) {
  if (!/^[0-9a-f]{64}$/.test(sha)) return null;
  if (!embedded) return `picture/${Number(file)}/${sha}.png`;
  const block = $(`picture-${Number(file)}-${sha}`);
  return block && `data:image/png;base64,${block.textContent}`;
}

function thumbAddress(n) {
  if (!embedded) return `thumb/${n}`;
  const episode = parsed(`episode-${n}`);
  return episode && episode.images.length ? pictureAddress(episode.file, episode.images[0].picture) : null;
}
