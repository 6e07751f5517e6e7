// The page Label: a queue of tiles, answered by keys.
import { find, isTyping, make, show } from "/static/dom.js";
import { askForClass, classes } from "/static/classes.js";
import { Pane } from "/static/boxes.js";
import { PicturesAhead } from "/static/ahead.js";
import { TileGrid } from "/static/grid.js";
import { followSaving, loadQueue } from "/static/queue.js";
import { cancelBox, go, orderByLikeness, orderByUncertainty, search, toggleGrid } from "/static/moving.js";
import { giveClass, skip, startBox, undo } from "/static/answers.js";
import { showClasses, showItem, showState } from "/static/shown.js";

export async function openLabel(studio, stay) {
  const queue = await loadQueue(studio, stay);
  if (!queue) return null;
  const session = startSession(studio, queue);
  layOut(session);
  const controller = new AbortController();
  document.addEventListener("keydown", event => pressKey(session, event), { signal: controller.signal });
  document.addEventListener("visibilitychange", () => { session.shownAt = null; }, { signal: controller.signal });
  const stopFollowing = followSaving(session, place => session.grid.refresh(place, session.at), () => showState(session));
  go(session, session.at);
  return () => { session.isLeft = true; controller.abort(); stopFollowing(); if (session.drawing) session.drawing.end(); };
}

// What the modules of this page share: the queue, where the person is in it, and what is begun.
function startSession(studio, queue) {
  const session = {
    studio, queue, at: Math.max(0, queue.items.findIndex(item => !item.own)), shownAt: null, isLeft: false, isWhole: false, drawing: null, pendingBox: null, history: [], orders: 0,
    pace: { seconds: studio.state.seconds_per_answer, measured: studio.state.measured },
    panes: { tile: new Pane("tile", "The tile"), around: new Pane("around", "The photograph around it") },
    get item() { return this.queue.items[this.at]; },
  };
  session.pictures = new PicturesAhead(queue.items, item => { if (session.item.image_id === item.image_id) showItem(session); });
  session.grid = new TileGrid(queue.items, place => (place === session.at ? toggleGrid(session) : go(session, place)));
  return session;
}

function layOut(session) {
  const { queue, panes, grid } = session;
  const button = (text, key, act) => make("button", { type: "button", "aria-keyshortcuts": key, onclick: () => act(session) }, `${text} `, make("kbd", { text: key }));
  const step = (text, key, by) => make("button", { type: "button", "aria-keyshortcuts": key, onclick: () => go(session, session.at + by), text });
  show(
    make("div", { class: "head" },
      make("h1", { id: "queue-title", text: queue.title }),
      make("div", { class: "progress" }, make("progress", { id: "answered", "aria-label": "Answered tiles" }), make("span", { id: "left" }))),
    queue.caveat ? make("p", { class: "caveat", text: queue.caveat }) : null,
    make("div", { class: "tools", role: "group", "aria-label": "Order and view" },
      button("Grid", "g", toggleGrid), button("More like this", "m", orderByLikeness), button("Least certain next", "e", orderByUncertainty), button("Search all tiles", "f", search)),
    make("div", { id: "single" },
      make("div", { class: "panes" }, panes.tile.element, panes.around.element),
      make("div", { class: "side" },
        make("p", { id: "own", class: "own" }),
        make("div", { id: "classes", role: "group", "aria-label": "Classes" }),
        make("div", { class: "acts", role: "group", "aria-label": "Other answers" },
          make("button", { type: "button", id: "accept", "aria-keyshortcuts": "Space", onclick: () => accept(session), hidden: true }),
          button("Skip", "x", skip), button("Undo", "u", undo), button("Box", "b", startBox), button("Whole photograph", "w", toggleWhole)),
        make("p", { id: "why" }),
        make("dl", { id: "facts" }),
        make("p", { class: "steps" }, step("← Before", "ArrowLeft", -1), " ", step("Next →", "ArrowRight", 1)))),
    grid.element);
  // After a click of the mouse, keys are the page's again; after a press of Enter they stay with the button.
  find("#single").addEventListener("click", event => { if (event.detail) find("#main").focus({ preventScroll: true }); });
  listClasses(session);
}

const listClasses = session => showClasses(name => giveClass(session, name), () => nameClass(session));

function accept(session) {
  const { suggestion } = session.item;
  if (!suggestion) return;
  giveClass(session, suggestion[0]);
  listClasses(session);
}

async function nameClass(session) {
  const name = await askForClass(session.pendingBox ? "Class of the box" : session.isWhole ? "Class of the photograph" : "Class of the tile");
  if (!name) return;
  giveClass(session, name);
  listClasses(session);
  if (!session.grid.isOpen) find("#main").focus();
}

function toggleWhole(session) { session.isWhole = !session.isWhole; showState(session); }

const ACTS = {
  x: skip, u: undo, b: startBox, w: toggleWhole, g: toggleGrid, m: orderByLikeness, e: orderByUncertainty, f: search, n: nameClass, " ": accept, Escape: cancelBox,
  ArrowLeft: session => go(session, session.at - 1), ArrowRight: session => go(session, session.at + 1),
};
const GRID_ACTS = {
  ArrowUp: session => go(session, session.at - session.grid.across), ArrowDown: session => go(session, session.at + session.grid.across), Enter: toggleGrid,
};

function pressKey(session, event) {
  if (isTyping(event)) return;
  if (session.drawing && session.drawing.press(event)) { event.preventDefault(); return; }
  const onButton = event.target.tagName === "BUTTON" && event.target.getAttribute("role") !== "option";
  if (onButton && (event.key === "Enter" || event.key === " ")) return; // the button's own key
  const act = /^[1-9]$/.test(event.key) ? pressNumber : ACTS[event.key] || (session.grid.isOpen && GRID_ACTS[event.key]);
  if (!act) return;
  event.preventDefault();
  // A key that is held down must not answer tiles that nobody has looked at.
  if (!event.repeat || event.key.startsWith("Arrow")) act(session, event);
}

function pressNumber(session, event) {
  const name = classes()[Number(event.key) - 1];
  if (name) giveClass(session, name); else nameClass(session);
}
