"use strict";
// The page as a whole: which view is open, what the keys do, dark and light, and the reading of episodes.

const KEYS = [
  ["j  k", "next and previous episode"], ["↓  ↑", "the same, in the list"], ["Enter", "open the episode"],
  ["←  →", "walk through the episode's images"], ["f", "the enlarged image in full resolution, where there is more of it"], ["/", "search"], ["e  r", "episodes; the run as a whole"],
  ["x", "clear the filters"], ["t", "dark or light"], ["Esc", "close, or back to the list"], ["?", "these keys"],
];
const DARK = matchMedia("(prefers-color-scheme: dark)");
const page = { view: "episodes", wanted: null };

function view(name) {
  page.view = name;
  for (const id of ["episodes", "run"]) {
    $(id).hidden = id !== name;
    $(`tab-${id}`).setAttribute("aria-selected", String(id === name));
  }
  if (name === "run") drawRun();
  else drawRows();
}

async function openEpisode(n, { focus = false } = {}) {
  if (n === null || n === undefined) return;
  page.wanted = n;
  view("episodes");
  choose(n);
  document.body.classList.add("reading");
  const record = await episodeOf(n);
  if (page.wanted !== n) return;
  if (record) drawEpisode(record);
  else $("episode").replaceChildren(el("p", { class: "empty" }, "This episode cannot be read; has its file changed?"));
  history.replaceState(null, "", `#${n}`);
  if (focus) $("episode").focus({ preventScroll: true });
}

function back() {
  document.body.classList.remove("reading");
  $("list").focus({ preventScroll: true });
  drawRows();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("medvistagym-theme", theme);
  } catch {
    // A page opened from a file may have no storage; the choice then lasts as long as the page.
  }
}

const toggleTheme = () => setTheme((document.documentElement.dataset.theme || (DARK.matches ? "dark" : "light")) === "dark" ? "light" : "dark");

function help() {
  $("help").replaceChildren(
    el("h2", null, "Keys"),
    el("table", null, el("tbody", null, KEYS.map(([keys, meaning]) => el("tr", null, el("th", { scope: "row" }, keys.split("  ").map((key) => el("kbd", null, key))), el("td", null, meaning))))),
    el("p", { class: "quiet small" }, "A bar, a cell or a name in a chart shows its episodes. Research use only, not for clinical use."),
    el("button", { click: () => $("help").close() }, "Close"));
  $("help").showModal();
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if ($("large").open) {
    if (event.key === "ArrowRight") turnLarge(1);
    if (event.key === "ArrowLeft") turnLarge(-1);
    if (event.key === "f") fullSize();
    return;
  }
  if ($("help").open) return;
  const field = event.target.closest("input, select, textarea");
  if (field) {
    if (event.key === "Escape") field.blur();
    if (event.key === "Enter" && field.type === "search") openEpisode(neighbour(0));
    return;
  }
  const inList = event.target.closest("#list"), images = shownEpisode.record?.images.length && page.view === "episodes";
  const actions = {
    j: () => openEpisode(neighbour(1)), k: () => openEpisode(neighbour(-1)), "/": () => { view("episodes"); back(); $("search").focus(); }, "?": help, t: toggleTheme,
    e: () => view("episodes"), r: () => view("run"), x: clearFilters, Escape: back,
    ArrowRight: images && (() => enlarge(0)), ArrowLeft: images && (() => enlarge(shownEpisode.record.images.length - 1)),
    ArrowDown: inList && (() => choose(neighbour(1))), ArrowUp: inList && (() => choose(neighbour(-1))),
    Enter: inList && (() => openEpisode(list.chosen ?? neighbour(0), { focus: true })),
    Home: inList && (() => choose(list.shown[0] ?? null)), End: inList && (() => choose(list.shown.at(-1) ?? null)),
  };
  const action = Object.hasOwn(actions, event.key) && actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

// Until the run is read to its end, and then again and again for what a run that goes on adds.
async function follow() {
  let wait = 5000;
  try {
    const news = await refresh();
    if (news || !page.begun) {
      if (data.done || !page.begun) fillFilters();
      applyFilters();
      if (page.view === "run") drawRun();
      begin();
    }
    if (!data.done) wait = 100;
    const problems = data.problems.length ? ` ${data.problems.length} lines could not be read; the run's page says which.` : "";
    say(data.done ? problems.trim() : `Reading: ${number(data.rows.length)} episodes so far.`);
  } catch {
    say("The page's server is gone; start `medvistagym view` again.");
  }
  if (!embedded) setTimeout(() => (document.hidden ? document.addEventListener("visibilitychange", follow, { once: true }) : follow()), wait);
}

function say(message) {
  $("status").textContent = message;
  $("status").hidden = !message;
}

function begin() {
  if (page.begun || !(data.rows.length || data.done)) return;
  page.begun = true;
  $("name").textContent = data.name;
  document.title = `${data.name} · MedVistaGym`;
  const asked = Number.parseInt(location.hash.slice(1), 10);
  if (!data.rows.length) return view("run");
  if (Number.isInteger(asked) && data.rows[asked]) openEpisode(asked);
  else if (matchMedia("(min-width: 800px)").matches) openEpisode(list.shown[0] ?? null);
}

function start() {
  let theme = null;
  try {
    theme = localStorage.getItem("medvistagym-theme");
  } catch {
    // As above.
  }
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  buildFilters();
  $("tab-episodes").addEventListener("click", () => view("episodes"));
  $("tab-run").addEventListener("click", () => view("run"));
  $("theme").addEventListener("click", toggleTheme);
  $("help-open").addEventListener("click", help);
  for (const id of ["help", "large"]) $(id).addEventListener("click", (event) => { if (event.target === $(id)) $(id).close(); });
  document.addEventListener("keydown", pressed);
  list.listeners.push(() => { if (page.view === "run") drawRun(); });
  follow();
}

start();
