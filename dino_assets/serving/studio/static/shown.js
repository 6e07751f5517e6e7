// What the page says about the tile that is shown, about the queue, and about the classes.
import { colourAt, count, find, make, spellSeconds } from "/static/dom.js";
import { classes, placeOf } from "/static/classes.js";

export const STATES = { saved: "saved", unsaved: "not saved yet", refused: "could not be stored" };
export const spellOwn = own => (own.kind === "skip" ? "skipped" : own.class);

export function showItem(session) {
  if (session.isLeft) return;
  const item = session.item;
  find("#why").textContent = item.why || "";
  const facts = [["Photograph", item.path], ["Flight", item.drop]];
  if (item.latitude != null) facts.push(["Place", `${item.latitude.toFixed(6)}, ${item.longitude.toFixed(6)}`]);
  if (item.gsd_m) facts.push(["On the ground", `${(item.window[2] * item.gsd_m).toFixed(1)} × ${(item.window[3] * item.gsd_m).toFixed(1)} m`]);
  if (item.stands_for) facts.push(["Stands for", count(item.stands_for, "tile")]);
  if (item.isUnreadable) facts.push(["Note", "The photograph cannot be read now, so a thumbnail is shown."]);
  find("#facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
  const accept = find("#accept");
  accept.hidden = !item.suggestion;
  if (item.suggestion) accept.replaceChildren(`Accept: ${item.suggestion[0]}${item.suggestion[1] == null ? "" : ` (${Math.round(100 * item.suggestion[1])} %)`} `, make("kbd", { text: "Space" }));
  showState(session);
}

export function showState(session) {
  const { item, queue, pace } = session, own = item.own, box = find("#own");
  if (session.isLeft) return;
  box.className = `own ${own ? own.state : ""}`;
  box.textContent = spellState(session, item);
  document.body.dataset.own = own ? `${spellOwn(own)} ${own.state}` : "";
  const answered = queue.items.filter(each => each.own).length, left = queue.items.length - answered;
  Object.assign(find("#answered"), { max: queue.items.length, value: answered });
  const speed = pace.seconds ? ` · ${pace.seconds.toFixed(1)} s per answer, about ${spellSeconds(left * pace.seconds)} left` : "";
  find("#left").textContent = `${session.at + 1} of ${queue.items.length} · ${answered} answered${speed}`;
  for (const button of document.querySelectorAll("#classes button[data-class]")) {
    button.setAttribute("aria-pressed", String(Boolean(own && own.class === button.dataset.class)));
  }
}

function spellState(session, item) {
  if (session.isWhole) return "The next class is for the whole photograph. w ends it.";
  if (session.pendingBox) return "Box: now give its class by a number or n. Esc discards it.";
  if (session.drawing) return "Box: choose two corners. Esc ends it.";
  const { own, label } = item;
  return (own ? `You: ${spellOwn(own)} – ${STATES[own.state]}` : label ? `Others say: ${label}` : "No answer yet") + (item.is_disputed ? " · people disagree" : "");
}

// A button for each class, and one for a new class.
export function showClasses(onClass, onNew) {
  const buttons = classes().map((name, place) => {
    const button = make("button", { type: "button", "data-class": name, "aria-pressed": "false", onclick: () => onClass(name) },
      make("span", { class: "swatch" }), name, place < 9 ? make("kbd", { text: String(place + 1) }) : null);
    button.style.setProperty("--colour", colourAt(placeOf(name)));
    return button;
  });
  const key = classes().length < 9 ? String(classes().length + 1) : "n";
  buttons.push(make("button", { type: "button", class: "new", onclick: onNew }, "New class ", make("kbd", { text: key })));
  find("#classes").replaceChildren(...buttons);
}
