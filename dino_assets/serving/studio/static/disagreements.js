// The page Disagreements: tiles, boxes and photographs with several classes, to be settled.
import { colourAt, count, make, pictureOf, show, speak } from "/static/dom.js";
import { ask } from "/static/server.js";
import { askForClass, placeOf, rememberAll } from "/static/classes.js";
import * as saving from "/static/saving.js";

export async function openDisagreements(studio, stay) {
  const disputed = stay(await ask("/api/conflicts"));
  for (const each of disputed) rememberAll(each.classes);
  const title = make("h1", { text: "Disagreements" });
  const list = make("ol", { class: "disputed" }, disputed.map(each => makeEntry(studio, each)));
  show(title, make("p", { text: disputed.length ? `People gave ${count(disputed.length, "thing")} several classes. Until somebody settles it, none of them counts.` : "People agree everywhere." }), list);
  const listener = event => {
    const target = (event.saved || event.refused)?.answers[0].target;
    const entry = target && list.querySelector(`[data-key="${CSS.escape(target)}"] .status`);
    if (entry) entry.textContent = event.saved ? "Settled and saved." : event.reason;
  };
  saving.onSaving(listener);
  return () => saving.offSaving(listener);
}

function makeEntry(studio, each) {
  const status = make("p", { class: "status", role: "status" });
  const settle = name => {
    saving.save(studio.person, [{ kind: "settle", target: each.key, class: name }]);
    status.textContent = `Settled as ${name}, not saved yet.`;
    speak(`Settled as ${name}`);
  };
  const buttons = Object.entries(each.classes).map(([name, people]) => {
    const button = make("button", { type: "button", onclick: () => settle(name) }, make("span", { class: "swatch" }), `${name} `, make("span", { class: "small", text: people.join(", ") }));
    button.style.setProperty("--colour", colourAt(placeOf(name)));
    return button;
  });
  buttons.push(make("button", { type: "button", text: "Another class …", onclick: async () => { const name = await askForClass("The right class"); if (name) settle(name); } }));
  const [x, y, w, h] = each.window;
  const picture = each.tile_id ? make("img", { src: pictureOf(each, each.level === "tile" ? "tile" : "around"), alt: `${each.level} of ${each.path}`, loading: "lazy" }) : null;
  return make("li", { "data-key": each.key }, picture, make("div", {},
    make("p", {}, make("strong", { text: each.path }), ` in ${each.drop}: ${each.level === "box" ? `box at ${x}, ${y}, ${w}×${h} px` : each.level === "image" ? "the whole photograph" : "tile"}`),
    make("div", { class: "acts", role: "group", "aria-label": `Class of ${each.path}` }, buttons), status));
}
