// Boxes on a picture, in pixels of the photograph: by two clicks, or by arrow keys and Enter.
import { colourAt, make, speak } from "/static/dom.js";
import { placeOf } from "/static/classes.js";

// A picture that shows a window of the photograph.
export class Pane {
  constructor(name, label) {
    this.name = name;
    this.window = [0, 0, 1, 1];
    this.holder = make("div", { class: "picture" });
    this.layer = make("div", { class: "layer", "aria-hidden": "true" });
    this.element = make("figure", { class: `pane ${name}` }, make("div", { class: "stage" }, this.holder, this.layer), make("figcaption", { text: label }));
  }

  setPicture(picture, window) {
    this.window = window;
    this.holder.replaceChildren(picture);
    const [, , width, height] = window;
    this.layer.style.aspectRatio = this.holder.style.aspectRatio = `${width} / ${height}`;
    // The whole picture is seen, whatever its shape.
    this.element.style.setProperty("--shape", width / height);
  }

  place(element, [x, y, w, h]) {
    const [left, top, width, height] = this.window;
    const edges = [Math.max(x, left), Math.max(y, top), Math.min(x + w, left + width), Math.min(y + h, top + height)];
    if (edges[2] < edges[0] || edges[3] < edges[1]) return false;
    element.style.left = `${(100 * (edges[0] - left)) / width}%`;
    element.style.top = `${(100 * (edges[1] - top)) / height}%`;
    element.style.width = `${(100 * (edges[2] - edges[0])) / width}%`;
    element.style.height = `${(100 * (edges[3] - edges[1])) / height}%`;
    this.layer.append(element);
    return true;
  }

  pointAt(event) {
    const box = this.layer.getBoundingClientRect(), [left, top, width, height] = this.window;
    const clamp = share => Math.min(Math.max(share, 0), 1);
    return [left + clamp((event.clientX - box.left) / box.width) * width, top + clamp((event.clientY - box.top) / box.height) * height];
  }
}

export function drawBoxes(pane, item, frame) {
  pane.layer.replaceChildren();
  if (frame) pane.place(make("div", { class: "frame" }), frame);
  for (const box of item.boxes) {
    const drawn = make("div", { class: "box" }, make("span", { text: box.class ?? "?" }));
    drawn.style.setProperty("--colour", colourAt(placeOf(box.class)));
    pane.place(drawn, box.window);
  }
}

// Drawing of one box; `onBox` gets its window, `onEnd` is called in every case.
export class BoxDrawing {
  constructor(panes, onBox) {
    this.panes = panes;
    this.onBox = onBox;
    this.first = null;
    const [left, top, width, height] = panes[0].window;
    this.cursor = [left + width / 2, top + height / 2];
    this.controller = new AbortController();
    for (const pane of panes) {
      pane.element.classList.add("drawing");
      const options = { signal: this.controller.signal };
      pane.layer.addEventListener("pointermove", event => { this.cursor = pane.pointAt(event); this.redraw(); }, options);
      pane.layer.addEventListener("click", event => { this.cursor = pane.pointAt(event); this.setCorner(); }, options);
    }
    this.redraw();
    speak("Drawing a box: click the first corner, or move with the arrow keys and press Enter.");
  }

  end() {
    this.controller.abort();
    for (const pane of this.panes) {
      pane.element.classList.remove("drawing");
      for (const each of pane.layer.querySelectorAll(".cursor, .growing")) each.remove();
    }
  }

  press(event) {
    const [left, top, width, height] = this.panes[0].window;
    const step = Math.max(1, width * (event.shiftKey ? 0.005 : 0.03));
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "Enter") this.setCorner();
    else if (moves[event.key]) {
      const clamp = (value, low, size) => Math.min(Math.max(value, low), low + size);
      this.cursor = [clamp(this.cursor[0] + moves[event.key][0], left, width), clamp(this.cursor[1] + moves[event.key][1], top, height)];
      this.redraw();
    } else return false;
    return true;
  }

  setCorner() {
    if (!this.first) { this.first = this.cursor; this.redraw(); speak("First corner is set."); return; }
    const box = this.findWindow();
    if (box[2] < 2 || box[3] < 2) { speak("The box is too small: choose another second corner."); return; }
    this.end();
    this.onBox(box);
  }

  findWindow() {
    const [x, y] = this.first, [u, v] = this.cursor;
    const left = Math.round(Math.min(x, u)), top = Math.round(Math.min(y, v));
    return [left, top, Math.round(Math.max(x, u)) - left, Math.round(Math.max(y, v)) - top];
  }

  redraw() {
    for (const pane of this.panes) {
      for (const each of pane.layer.querySelectorAll(".cursor, .growing")) each.remove();
      pane.place(make("div", { class: "cursor" }), [...this.cursor, 0, 0]);
      if (this.first) pane.place(make("div", { class: "growing" }), this.findWindow());
    }
  }
}
