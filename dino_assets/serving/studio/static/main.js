// The frame of the studio: pages by address, the person's name, help, and what is saved.
import { find, make, show, count, isTyping } from "/static/dom.js";
import { ask } from "/static/server.js";
import { rememberAll, startClasses } from "/static/classes.js";
import { askInForm } from "/static/names.js";
import * as saving from "/static/saving.js";
import { openLabel } from "/static/label.js";
import { openMap } from "/static/map.js";
import { openFlights } from "/static/flights.js";
import { openRounds, openDrops } from "/static/tables.js";
import { openDisagreements } from "/static/disagreements.js";

const PAGES = { label: openLabel, map: openMap, flights: openFlights, rounds: openRounds, drops: openDrops, disagreements: openDisagreements };
const REFRESH_MS = 15000;
const KEYS = [
  ["1 – 9", "give the tile this class; the first free number makes a new class"],
  ["n", "type the name of a class, new or existing"],
  ["Space", "accept the suggestion"],
  ["x", "skip: no class fits, or nobody can tell"],
  ["u", "undo your last answer"],
  ["← →", "go to the tile before or after, without an answer"],
  ["b", "draw a box: click two corners, or use arrow keys and Enter; then give its class"],
  ["w", "the next class is for the whole photograph"],
  ["g", "grid or single view"],
  ["m", "continue with the tiles that are most like this one"],
  ["e", "continue with the tiles of which the probe is least certain"],
  ["f", "search all tiles for more like this one"],
  ["?", "show this help"],
];

const studio = { person: localStorage.getItem("studio-person") || "", state: null, query: new URLSearchParams(), cleanUp: null };
let visits = 0, fault = "";

async function start() {
  window.addEventListener("error", event => showFault(event.message));
  window.addEventListener("unhandledrejection", event => showFault(event.reason?.message || String(event.reason)));
  find("#help-rows").replaceChildren(...KEYS.map(([key, text]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", { text: key })), make("td", { text }))));
  find("#help").onclick = openHelp;
  find("#person").onclick = () => askForName().then(openPage);
  find("#skip").onclick = event => { event.preventDefault(); find("#main").focus(); };
  document.addEventListener("keydown", event => {
    if (event.key === "?" && !isTyping(event)) { event.preventDefault(); openHelp(); }
  });
  try {
    studio.state = await ask(`/api/state?by=${encodeURIComponent(studio.person)}`);
  } catch (failure) {
    show(make("p", { class: "failure", text: failure.message }));
    return;
  }
  startClasses(studio.state.project, studio.state.classes);
  saving.onSaving(showSaving);
  saving.startSaving(studio.state.project);
  showSaving({});
  if (!studio.person) await askForName();
  find("#person").textContent = studio.person;
  window.addEventListener("hashchange", openPage);
  setInterval(refresh, REFRESH_MS);
  showDisputed();
  await openPage();
}

function openHelp() { const dialog = find("#help-dialog"); if (!dialog.open) dialog.showModal(); }

function askForName() {
  const dialog = find("#name-dialog"), input = find("#name-input");
  input.value = studio.person;
  askInForm(dialog.querySelector("form"), input, name => { studio.person = name; localStorage.setItem("studio-person", name); });
  return new Promise(resolve => {
    dialog.oncancel = event => { if (!studio.person) event.preventDefault(); };
    dialog.onclose = () => {
      if (!studio.person) { dialog.showModal(); return; }
      find("#person").textContent = studio.person;
      resolve();
    };
    dialog.showModal();
    input.select();
  });
}

async function openPage() {
  const visit = ++visits;
  // What comes late for a page that was left must neither be shown nor get the keys.
  const stay = value => { if (visit !== visits) throw new Error("this page was left"); return value; };
  const [name, query] = location.hash.slice(1).split("?");
  const open = PAGES[name] ? name : "label";
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.getAttribute("href") === `#${open}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  studio.query = new URLSearchParams(query || "");
  if (studio.cleanUp) studio.cleanUp();
  studio.cleanUp = null;
  if (find("#class-dialog").open) find("#class-dialog").close();
  if (fault) showFault("");
  rememberAll(studio.state.classes);
  document.title = `${open[0].toUpperCase()}${open.slice(1)} – dino-assets studio`;
  document.body.dataset.page = "";
  show(make("p", { class: "quiet", text: "Loading …" }));
  try {
    studio.cleanUp = (await PAGES[open](studio, stay)) || null;
  } catch (failure) {
    if (visit !== visits) return;
    show(make("p", { class: "failure", text: failure.message }));
  }
  document.body.dataset.page = open;
}

async function refresh() {
  if (document.hidden) return;
  try {
    studio.state = await ask(`/api/state?by=${encodeURIComponent(studio.person)}`);
    showDisputed();
  } catch { /* the next answer that is not saved says so */ }
}

function showDisputed() {
  const badge = find("#disputed"), number = studio.state.conflicts;
  badge.hidden = !number;
  badge.textContent = number;
}

function showSaving() {
  const waiting = saving.waiting().reduce((sum, group) => sum + group.answers.length, 0);
  const refused = saving.refused();
  const status = find("#saving"), notice = find("#notice");
  status.className = waiting ? "unsaved" : "";
  const text = waiting ? `${count(waiting, "answer")} not saved yet` : "Everything is saved";
  if (status.textContent !== text) status.textContent = text;
  document.body.dataset.unsaved = waiting;
  const isAway = waiting && saving.trouble;
  notice.hidden = !isAway && !refused.length && !fault;
  if (isAway) {
    notice.replaceChildren(`${saving.trouble.message} `, make("span", { text: "Unsaved answers wait in this browser and are sent again. " }),
      make("button", { type: "button", text: "Send now", onclick: saving.sendNow }));
  } else if (refused.length) {
    notice.replaceChildren(`${count(refused.length, "answer")} could not be stored: ${refused[0].refusal} `,
      make("button", { type: "button", text: "Try again", onclick: saving.tryAgain }), " ",
      make("button", { type: "button", text: "Discard", onclick: () => { refused.forEach(group => saving.forget(group.id)); showSaving(); } }));
  } else if (fault) {
    notice.replaceChildren(`${fault} `, make("button", { type: "button", text: "Close", onclick: () => showFault("") }));
  }
}

// What failed without a place of its own on the page.
function showFault(sentence) {
  fault = sentence;
  showSaving();
}

start();
