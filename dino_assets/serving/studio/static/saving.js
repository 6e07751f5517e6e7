// Answers on their way to the store. One is saved only after the server has answered that it is in the store;
// until then it is kept in this browser, also when the page is closed, and sent again.
//
// Each group of answers has a key of its own in the browser's storage: two tabs that wrote one list would lose
// answers, because each sees what the other has written a moment later.
import { ask } from "/static/server.js";

const WAITS_MS = [500, 1000, 2000, 5000, 10000];
const listeners = new Set();
const groups = new Map(); // by key; keys sort by time
let prefix = null, isSending = false, failures = 0, timer = null, last = 0;
export let trouble = null; // the last failure, while answers wait

export const makeId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), byte => byte.toString(16).padStart(2, "0")).join("");
export const onSaving = listener => listeners.add(listener);
export const offSaving = listener => listeners.delete(listener);

export function startSaving(project) {
  prefix = `studio-unsaved-${project}-`;
  for (const key of Object.keys(localStorage)) if (key.startsWith(prefix)) read(key, localStorage.getItem(key));
  window.addEventListener("online", () => sendNow());
  window.addEventListener("storage", event => {
    if (!event.key?.startsWith(prefix)) return;
    read(event.key, event.newValue);
    announce({});
  });
  sendNow();
}

function read(key, text) { if (text === null) groups.delete(key); else groups.set(key, JSON.parse(text)); }

function write(group) {
  localStorage.setItem(group.key, JSON.stringify(group));
  groups.set(group.key, group);
}

function remove(group) {
  localStorage.removeItem(group.key);
  groups.delete(group.key);
}

const announce = event => { for (const listener of listeners) listener(event); };
const list = () => [...groups.keys()].sort().map(key => groups.get(key));

export const waiting = () => list().filter(group => !group.refusal);
export const refused = () => list().filter(group => group.refusal);

// Answers of one group are stored together or not at all.
export function save(by, answers) {
  const at = new Date().toISOString(), id = makeId();
  last = Math.max(Date.now(), last + 1); // also two answers of one millisecond are sent in their order
  const group = { key: `${prefix}${String(last).padStart(14, "0")}-${id}`, id, by, answers: answers.map(answer => ({ id: makeId(), at, ...answer })) };
  try {
    write(group);
  } catch (failure) {
    throw new Error(`The answer is not kept, because this browser's storage is full or switched off (${failure.name}). Answers wait there until they are saved: start the studio again, or free some space.`);
  }
  announce({ added: group });
  sendNow();
  return group;
}

export function takeBack(groupId) {
  const group = list().find(each => each.id === groupId);
  if (!group || (group.isSent && !group.refusal)) return false;
  remove(group);
  announce({});
  return true;
}

export function forget(groupId) {
  for (const group of list()) if (group.id === groupId) remove(group);
  announce({});
}

export function tryAgain() {
  for (const { refusal, ...group } of refused()) write(group);
  sendNow();
}

export function sendNow() {
  clearTimeout(timer);
  if (!isSending) sendAll();
}

async function sendAll() {
  isSending = true;
  for (let group = waiting()[0]; group; group = waiting()[0]) {
    // Once sent it may be in the store, whatever happens to the answer: taking it back needs an `undo`.
    if (!group.isSent) write(group = { ...group, isSent: true });
    try {
      const saved = await ask("/api/answers", { by: group.by, answers: group.answers });
      remove(group);
      failures = 0;
      trouble = null;
      announce({ saved: group, pace: saved });
    } catch (failure) {
      if (isFinal(failure)) {
        write({ ...group, refusal: failure.message });
        announce({ refused: group, reason: failure.message });
        continue;
      }
      trouble = failure;
      timer = setTimeout(sendNow, WAITS_MS[Math.min(failures, WAITS_MS.length - 1)]);
      failures += 1;
      announce({});
      break;
    }
  }
  isSending = false;
}

// The same request would be refused again; a server that is away, or another token, is no reason to give up.
const isFinal = failure => failure.status >= 400 && failure.status < 500 && ![401, 403, 408, 429].includes(failure.status);
