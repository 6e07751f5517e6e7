// Moving through a queue: another tile, the next one without an answer, the grid, and another order of what follows.
import { find, speak } from "/static/dom.js";
import { ask } from "/static/server.js";
import { drawBoxes } from "/static/boxes.js";
import { showItem, showState } from "/static/shown.js";

export function go(session, place) {
  const { queue, panes, pictures, grid } = session;
  if (place < 0 || place >= queue.items.length) return;
  if (session.drawing || session.pendingBox) cancelBox(session); // it is a place of that tile's photograph
  const before = session.at;
  session.at = place;
  const { item } = session, tile = pictures.pictureFor(place, "tile");
  panes.tile.setPicture(tile, item.window);
  panes.around.setPicture(pictures.pictureFor(place, "around"), item.around);
  drawAllBoxes(session);
  session.shownAt = performance.now();
  noteWhenShown(session, tile, item);
  showItem(session);
  if (grid.isOpen) {
    grid.refresh(before, place);
    grid.refresh(place, place);
    find(`#cell-${place}`)?.scrollIntoView({ block: "nearest" });
  }
  setTimeout(() => pictures.loadAround(session.at)); // after this tile is drawn
}

async function noteWhenShown(session, picture, item) {
  if (!picture.complete) await picture.decode().catch(() => {});
  await new Promise(next => requestAnimationFrame(next));
  if (session.item === item && !session.isLeft) { document.body.dataset.shown = item.tile_id; document.body.dataset.place = session.at; }
}

export function advance(session) {
  const { queue, at } = session;
  const next = queue.items.findIndex((item, place) => place > at && !item.own);
  if (next >= 0) { go(session, next); return; }
  if (at + 1 < queue.items.length) { go(session, at + 1); return; }
  session.grid.refresh(at, at);
  showItem(session);
  speak("This was the last tile of the queue.");
}

export function toggleGrid(session) {
  const { grid } = session;
  if (grid.isOpen) grid.close(); else grid.open(session.at);
  find("#single").hidden = grid.isOpen;
  if (!grid.isOpen) find("#main").focus();
}

export function cancelBox(session) {
  if (session.drawing) session.drawing.end();
  session.drawing = session.pendingBox = null;
  redrawBoxes(session);
}

export function redrawBoxes(session) {
  drawAllBoxes(session);
  showState(session);
}

function drawAllBoxes({ panes, item }) {
  drawBoxes(panes.tile, item);
  drawBoxes(panes.around, item, item.window);
}

// Put the tiles that follow into another order, which the server knows. The person may go on meanwhile, or ask
// for a second order: the last one counts, for the tiles that follow when it comes.
async function reorder(session, body, sentence) {
  const { queue, pictures, grid } = session, first = session.at + 1, rest = queue.items.slice(first), number = ++session.orders;
  if (!rest.length) return;
  const say = text => {
    find("#why").textContent = text;
    speak(text);
  };
  try {
    const { order } = await ask("/api/order", { space: queue.space, tiles: rest.map(item => [item.drop, item.tile_id]), ...body });
    if (session.isLeft || number !== session.orders) return;
    const rank = new Map(order.map((place, number) => [rest[place], number])), start = Math.max(first, session.at + 1);
    const following = queue.items.slice(start).sort((one, other) => rank.get(one) - rank.get(other));
    queue.items.splice(start, following.length, ...following);
    pictures.clear();
    pictures.loadAround(session.at);
    grid.fill(session.at);
    showItem(session);
    say(`${sentence} ${session.item.why || ""}`);
  } catch (failure) {
    if (!session.isLeft) say(failure.message);
  }
}

export const orderByLikeness = session => reorder(session, { like: session.item.tile_id }, "The most similar tiles come next.");
export const orderByUncertainty = session => reorder(session, {}, "The tiles of which the probe is least certain come next.");

export function search({ queue, item }) {
  location.hash = `label?${new URLSearchParams({ like: item.tile_id, drop: item.drop, ...(queue.space ? { space: queue.space } : {}) })}`;
}
