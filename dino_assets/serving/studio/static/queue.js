// Queues of tiles: from the server, with answers that wait in this browser, and in another order.
import { make, show } from "/static/dom.js";
import { ask } from "/static/server.js";
import * as saving from "/static/saving.js";

// The queue that the address names, or the latest round that the person has not finished; null if there is no round.
export async function loadQueue(studio, stay) {
  const { query } = studio, by = encodeURIComponent(studio.person), before = saving.waiting();
  const queue = stay(await askForQueue(studio, query, by, stay));
  if (queue) markWaiting(queue, studio.person, before);
  return queue;
}

async function askForQueue(studio, query, by, stay) {
  if (query.has("picked")) {
    const picked = JSON.parse(sessionStorage.getItem("studio-picked") || "{}");
    return ask("/api/queue", { ...picked, by: studio.person });
  }
  if (query.has("like") || query.has("round")) return ask(`/api/queue?${query}&by=${by}`);
  const rounds = stay(await ask(`/api/rounds?by=${by}`)).filter(round => !round.error && round.tiles);
  if (!rounds.length) {
    show(make("h1", { text: "Label" }), make("p", { text: "There is no round yet. `dino-assets select` chooses one; on the map you can mark tiles, too." }));
    return null;
  }
  const next = rounds.find(round => round.answered_by_you < round.tiles) || rounds[0];
  return ask(`/api/queue?round=${next.name}&space=${next.space}&by=${by}`);
}

// Answers that waited in this browser when the queue was asked for: the server may not have known them yet,
// although some are saved by now.
function markWaiting(queue, person, before) {
  for (const item of queue.items) if (item.own) item.own.state = "saved";
  const waiting = new Set(saving.waiting().map(group => group.id)), refused = new Set(saving.refused().map(group => group.id));
  const items = new Map(queue.items.map(item => [item.tile_id, item]));
  for (const group of before) {
    if (group.by !== person) continue;
    const state = waiting.has(group.id) ? "unsaved" : refused.has(group.id) ? "refused" : "saved";
    for (const answer of group.answers) {
      const item = items.get(answer.tile_id);
      if (item && (answer.level || "tile") === "tile") item.own = { id: answer.id, kind: answer.kind, class: answer.class, at: Date.parse(answer.at), group: group.id, state };
      if (answer.kind === "undo") for (const each of queue.items) if (each.own && each.own.id === answer.undoes) each.own = null;
    }
  }
}

// Follow what becomes of the answers; `onTile` gets the place of each tile that changed. Return how to stop.
export function followSaving(session, onTile, onEnd) {
  const { queue } = session;
  const listener = event => {
    const group = event.saved || event.refused;
    if (event.saved) session.pace = { seconds: event.pace.seconds_per_answer, measured: event.pace.measured };
    if (!group) return;
    for (const item of queue.items) if (event.saved && item.undoing === group.id) readAgain(session, item, onTile, onEnd);
    queue.items.forEach((item, place) => {
      if (!item.own || item.own.group !== group.id) return;
      item.own.state = event.saved ? "saved" : "refused";
      onTile(place);
    });
    onEnd();
  };
  saving.onSaving(listener);
  return () => saving.offSaving(listener);
}

// After an undo of an answer from before the page was loaded: the store knows which answer counts without it.
async function readAgain(session, item, onTile, onEnd) {
  const { studio, queue } = session;
  item.undoing = null;
  const query = new URLSearchParams({ drop: item.drop, tile_id: item.tile_id, by: studio.person });
  const own = await ask(`/api/own?${query}`).catch(() => null);
  if (!own || item.own || session.isLeft) return;
  item.own = { ...own, state: "saved" };
  onTile(queue.items.indexOf(item));
  onEnd();
}
