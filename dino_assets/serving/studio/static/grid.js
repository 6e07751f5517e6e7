// The grid: all tiles of a queue at once, each with its answer.
import { colourAt, find, make, pictureOf } from "/static/dom.js";
import { placeOf } from "/static/classes.js";
import { STATES, spellOwn } from "/static/shown.js";

export class TileGrid {
  // `onPick` gets the place of a cell that is clicked.
  constructor(items, onPick) {
    this.items = items;
    this.onPick = onPick;
    this.isOpen = false;
    this.element = make("div", { id: "grid", role: "listbox", "aria-label": "Tiles of the queue", hidden: true });
  }

  open(at) {
    this.isOpen = true;
    this.element.hidden = false;
    this.fill(at);
    find(`#cell-${at}`).focus();
    find(`#cell-${at}`).scrollIntoView({ block: "center" });
  }

  close() {
    this.isOpen = false;
    this.element.hidden = true;
  }

  fill(at) { if (this.isOpen) this.element.replaceChildren(...this.items.map((item, place) => this.makeCell(item, place, at))); }

  makeCell(item, place, at) {
    const own = item.own;
    const cell = make("button", {
      type: "button", role: "option", id: `cell-${place}`, class: `cell ${own ? own.state : ""}`, tabindex: place === at ? "0" : "-1",
      "aria-selected": String(place === at), "aria-label": `Tile ${place + 1}: ${own ? `${spellOwn(own)}, ${STATES[own.state]}` : "no answer"}`,
      onclick: () => this.onPick(place),
    }, make("img", { src: pictureOf(item, "tile"), alt: "", loading: "lazy" }), make("span", { class: "tag", text: own ? spellOwn(own) : item.suggestion ? `${item.suggestion[0]}?` : "" }));
    if (own && own.class) cell.style.setProperty("--colour", colourAt(placeOf(own.class)));
    return cell;
  }

  refresh(place, at) {
    const cell = this.isOpen ? find(`#cell-${place}`) : null;
    if (!cell) return;
    const hadFocus = document.activeElement === cell || (place === at && this.element.contains(document.activeElement));
    cell.replaceWith(this.makeCell(this.items[place], place, at));
    if (hadFocus || place === at) find(`#cell-${at}`).focus();
  }

  // How many cells lie side by side.
  get across() { return Math.max(1, Math.floor(this.element.clientWidth / find(".cell").offsetWidth)); }
}
