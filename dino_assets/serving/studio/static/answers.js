// Answers about the tile that is shown: classes, skips, boxes, and taking them back.
import { make, speak } from "/static/dom.js";
import { remember } from "/static/classes.js";
import { BoxDrawing } from "/static/boxes.js";
import * as saving from "/static/saving.js";
import { advance, cancelBox, go, redrawBoxes, toggleGrid } from "/static/moving.js";
import { showState } from "/static/shown.js";

const LONGEST_S = 120; // whoever takes longer did something else

function give(session, item, answer) {
  const seconds = session.shownAt === null ? undefined : (performance.now() - session.shownAt) / 1000;
  const group = saving.save(session.studio.person, [{
    drop: item.drop, tile_id: item.tile_id, round: session.queue.round || undefined, seconds: seconds < LONGEST_S ? seconds : undefined,
    suggested: item.suggestion ? item.suggestion[0] : undefined, ...answer,
  }]);
  session.shownAt = performance.now();
  return { id: group.answers[0].id, group: group.id };
}

export function giveClass(session, name) {
  const { item, queue } = session;
  remember(name);
  if (session.pendingBox) { giveBox(session, item, name); return; }
  if (session.isWhole) {
    session.history.push({ item, sent: give(session, item, { kind: "label", level: "image", class: name }) });
    session.isWhole = false;
    speak(`Whole photograph: ${name}`);
    showState(session);
    return;
  }
  giveTile(session, item, { kind: "label", class: name });
  speak(`${name}. ${session.at + 1} of ${queue.items.length}`);
  advance(session);
}

export function skip(session) {
  giveTile(session, session.item, { kind: "skip" });
  speak("skipped");
  advance(session);
}

function giveTile(session, item, answer) {
  const before = item.own, sent = give(session, item, answer);
  item.own = { ...sent, class: null, ...answer, state: "unsaved" };
  session.history.push({ item, sent, before, isTile: true });
}

export function undo(session) {
  const { history, studio, queue } = session;
  const last = history.pop() || findEarlier(session);
  if (!last) { speak("There is nothing to undo."); return; }
  const isOld = !last.sent.group; // from before the page was loaded: the store knows what counts without it
  if (!saving.takeBack(last.sent.group)) {
    const group = saving.save(studio.person, [{ kind: "undo", undoes: last.sent.id }]);
    if (isOld) last.item.undoing = group.id;
  }
  if (last.isTile) last.item.own = last.before || null;
  if (last.box) for (const each of queue.items) each.boxes = each.boxes.filter(box => box.id !== last.sent.id);
  speak("Undone.");
  go(session, queue.items.indexOf(last.item));
}

// The answer from before the page was loaded that the person would undo: that about this tile, or else the latest.
function findEarlier({ item, queue, studio }) {
  if (item.own) return { item, sent: item.own, isTile: true };
  const earlier = [item, ...queue.items].flatMap(each => [
    ...(each.own ? [{ item: each, sent: each.own, isTile: true }] : []),
    ...each.boxes.filter(box => box.by === studio.person).map(box => ({ item: each, sent: box, box })),
  ]);
  return earlier.reduce((latest, each) => (latest && latest.sent.at >= each.sent.at ? latest : each), null);
}

export function startBox(session) {
  if (session.drawing) { cancelBox(session); return; }
  if (session.grid.isOpen) toggleGrid(session);
  session.pendingBox = null;
  const panes = [session.panes.tile, session.panes.around];
  session.drawing = new BoxDrawing(panes, window => {
    session.drawing = null;
    session.pendingBox = window;
    for (const pane of panes) pane.place(make("div", { class: "growing" }), window);
    speak("The box is drawn. Give its class.");
    showState(session);
  });
  showState(session);
}

function giveBox(session, item, name) {
  const window = session.pendingBox, sent = give(session, item, { kind: "label", level: "box", window, class: name });
  const box = { window, class: name, by: session.studio.person, kind: "label", state: "unsaved", ...sent };
  // All tiles of the photograph show it.
  for (const each of session.queue.items) if (each.image_id === item.image_id) each.boxes = [...each.boxes, box];
  session.history.push({ item, sent, box });
  session.pendingBox = null;
  speak(`Box: ${name}`);
  redrawBoxes(session);
}
