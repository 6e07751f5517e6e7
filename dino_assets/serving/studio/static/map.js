// The page Map: similar tiles are near each other. Mark tiles by a lasso, or by keys; then label, exclude or search.
import { colourAt, count, find, isTyping, make, pictureOf, show, speak } from "/static/dom.js";
import { ask, request } from "/static/server.js";
import { askForClass, placeOf } from "/static/classes.js";
import * as saving from "/static/saving.js";

const MOST_TO_LABEL = 20000, MOST_TO_ANSWER = 5000, GROUP = 500, SAMPLE = 12, PAD = 24;
const SKIPPED = 65535, GREY = [178, 184, 192];

let studio, space, map, xy, dropOf, classOf, canvas, view, marked, lasso, corner, cursor, mode, draft;

export async function openMap(given, stay) {
  studio = given;
  space = studio.query.get("space") || "";
  const query = new URLSearchParams(space ? { space } : {});
  const described = stay(await ask(`/api/map?${query}`));
  const data = stay(await (await request(`/api/map/points?${query}`)).arrayBuffer());
  map = described;
  xy = new Float32Array(data, 0, 2 * map.count);
  dropOf = new Uint16Array(data, 8 * map.count, map.count);
  classOf = new Uint16Array(data, 10 * map.count, map.count);
  marked = [];
  lasso = corner = cursor = null;
  mode = "drop";
  layOut();
  const controller = new AbortController();
  listen(controller.signal);
  showAll();
  showMarked();
  return () => controller.abort();
}

function layOut() {
  canvas = make("canvas", { id: "map-canvas", tabindex: "0", role: "application", "aria-label": `Map of ${count(map.count, "tile")}. Arrow keys move a cross, Enter sets the two corners of a rectangle, plus and minus zoom, 0 shows all.` });
  const spaces = studio.state.spaces.projections;
  const spaceChoice = spaces.length > 1 ? make("label", {}, "Space ", make("select", { onchange: event => { location.hash = `map?space=${event.target.value}`; } },
    spaces.map(name => make("option", { value: name, selected: name === space, text: name })))) : null;
  show(
    make("div", { class: "head" }, make("h1", { text: `Map of ${count(map.count, "tile")}` }), spaceChoice),
    map.caveat ? make("p", { class: "caveat", text: map.caveat }) : null,
    make("div", { class: "map" },
      make("div", { class: "plot" }, canvas, make("p", { class: "hint", text: "Drag: mark tiles · Shift and drag: move · wheel: zoom · keys: arrows, Enter, + − 0, Esc" })),
      make("div", { class: "side" },
        make("label", {}, "Colours ", make("select", { id: "colours", onchange: event => { mode = event.target.value; paint(); showLegend(); } },
          make("option", { value: "drop", text: "by flight" }), make("option", { value: "class", text: "by label" }))),
        make("ul", { id: "legend", class: "legend" }),
        make("div", { id: "marked" }))));
  showLegend();
}

function showLegend() {
  const entries = mode === "drop"
    ? map.drops.map((name, place) => [name, `rgb(${map.colours[place]})`])
    : [...map.classes.map(name => [name, colourAt(placeOf(name))]), ["skipped", "#444"], ["no label", `rgb(${GREY})`]];
  find("#legend").replaceChildren(...entries.map(([name, colour]) => {
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = colour;
    return make("li", {}, swatch, name);
  }));
}

// --- View: screen = middle + (point - centre) * scale, y upwards
function showAll() {
  let left = Infinity, right = -Infinity, low = Infinity, high = -Infinity;
  for (let row = 0; row < map.count; row++) {
    left = Math.min(left, xy[2 * row]); right = Math.max(right, xy[2 * row]);
    low = Math.min(low, xy[2 * row + 1]); high = Math.max(high, xy[2 * row + 1]);
  }
  const width = canvas.clientWidth - 2 * PAD, height = canvas.clientHeight - 2 * PAD;
  const scale = Math.min(width / (right - left || 1), height / (high - low || 1));
  view = map.count ? { x: (left + right) / 2, y: (low + high) / 2, scale } : { x: 0, y: 0, scale: 1 };
  paint();
}
const toX = row => canvas.clientWidth / 2 + (xy[2 * row] - view.x) * view.scale;
const toY = row => canvas.clientHeight / 2 - (xy[2 * row + 1] - view.y) * view.scale;

function zoom(x, y, factor) {
  const scale = view.scale * factor;
  view.x += (x - canvas.clientWidth / 2) * (1 / view.scale - 1 / scale);
  view.y -= (y - canvas.clientHeight / 2) * (1 / view.scale - 1 / scale);
  view.scale = scale;
  paint();
}

const parse = colour => [1, 3, 5].map(place => parseInt(colour.slice(place, place + 2), 16));

function colourOf(row) {
  if (mode === "drop") return map.colours[dropOf[row]];
  const number = classOf[row];
  return number === SKIPPED ? [68, 68, 68] : number ? parse(colourAt(placeOf(map.classes[number - 1]))) : GREY;
}

// Pixels are set one by one: a canvas of two dimensions is enough for a million points, without WebGL.
function paint() {
  const ratio = window.devicePixelRatio || 1, width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (!width || !height) return;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  pixels.fill(0xffffffff);
  const radius = Math.max(1, Math.round((map.count > 50000 ? 1 : map.count > 5000 ? 1.6 : 3) * ratio));
  const isMarked = new Set(marked);
  const dot = (row, colour, size) => {
    const x = Math.round(toX(row) * ratio), y = Math.round(toY(row) * ratio);
    if (x < -size || y < -size || x >= width + size || y >= height + size) return;
    for (let v = Math.max(0, y - size); v <= Math.min(height - 1, y + size); v++) {
      for (let u = Math.max(0, x - size); u <= Math.min(width - 1, x + size); u++) {
        if ((u - x) ** 2 + (v - y) ** 2 <= size * size + 1) pixels[v * width + u] = colour;
      }
    }
  };
  const pack = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  for (let row = 0; row < map.count; row++) if (!isMarked.has(row)) dot(row, pack(colourOf(row)), radius);
  for (const row of marked) { dot(row, 0xff26201c, radius + Math.ceil(2 * ratio)); dot(row, pack(colourOf(row)), radius); }
  context.putImageData(image, 0, 0);
  context.scale(ratio, ratio);
  context.lineWidth = 1.5;
  context.strokeStyle = "#1c2026";
  const shape = lasso && lasso.length > 1 ? lasso : corner && cursor ? rectangle(corner, cursor) : null;
  if (shape) {
    context.beginPath();
    shape.forEach(([x, y]) => context.lineTo(x, y));
    context.closePath();
    context.fillStyle = "rgba(31, 92, 87, .12)";
    context.fill();
    context.stroke();
  }
  if (cursor) {
    context.beginPath();
    context.moveTo(cursor[0] - 10, cursor[1]); context.lineTo(cursor[0] + 10, cursor[1]);
    context.moveTo(cursor[0], cursor[1] - 10); context.lineTo(cursor[0], cursor[1] + 10);
    context.stroke();
  }
  document.body.dataset.drawn = map.count;
}

const rectangle = ([x, y], [u, v]) => [[x, y], [u, y], [u, v], [x, v]];

function isInside(x, y, shape) {
  let inside = false;
  for (let i = 0, j = shape.length - 1; i < shape.length; j = i++) {
    const [xi, yi] = shape[i], [xj, yj] = shape[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

function mark(shape) {
  marked = [];
  for (let row = 0; row < map.count; row++) if (isInside(toX(row), toY(row), shape)) marked.push(row);
  speak(`${count(marked.length, "tile")} marked.`);
  showMarked();
  paint();
}

// --- What is marked
async function showMarked() {
  const box = find("#marked");
  document.body.dataset.marked = marked.length;
  if (!marked.length) {
    box.replaceChildren(make("p", { class: "quiet", text: "No tiles are marked. Drag around some." }));
    return;
  }
  const button = (text, act, isMain) => make("button", { type: "button", class: isMain ? "main" : "", onclick: act, text });
  const status = make("p", { id: "marked-status", role: "status" });
  const sample = make("div", { class: "sample" });
  box.replaceChildren(make("h2", { text: `${count(marked.length, "tile")} marked` }), sample,
    make("div", { class: "acts" }, button("Label them one by one", labelMarked, true), button("Give all a class …", classMarked), button("Exclude all", excludeMarked), button("Find similar", searchMarked)), status);
  const mine = (draft = marked);
  const step = Math.max(1, Math.floor(marked.length / SAMPLE));
  const tiles = await ask("/api/map/tiles", { space: space || null, rows: marked.filter((_, place) => place % step === 0).slice(0, SAMPLE) });
  if (mine !== draft) return;
  sample.replaceChildren(...tiles.map(([drop, tile_id]) => make("img", { src: pictureOf({ drop, tile_id }, "thumb"), alt: `Tile of ${drop}`, width: 48, height: 48 })));
}

async function nameMarked(most) {
  if (marked.length > most) {
    find("#marked-status").textContent = `${count(marked.length, "tile")} are marked; mark at most ${most.toLocaleString("en")} for this.`;
    return null;
  }
  return ask("/api/map/tiles", { space: space || null, rows: marked });
}

async function labelMarked() {
  const tiles = await nameMarked(MOST_TO_LABEL);
  if (!tiles) return;
  sessionStorage.setItem("studio-picked", JSON.stringify({ tiles, space: space || null }));
  location.hash = `label?picked=${Date.now()}`;
}

async function answerMarked(answer, number, sentence) {
  const tiles = await nameMarked(MOST_TO_ANSWER);
  if (!tiles) return;
  for (let first = 0; first < tiles.length; first += GROUP) {
    saving.save(studio.person, tiles.slice(first, first + GROUP).map(([drop, tile_id]) => ({ drop, tile_id, ...answer })));
  }
  for (const row of marked) classOf[row] = number();
  find("#marked-status").textContent = sentence(count(tiles.length, "tile"));
  paint();
}

async function classMarked() {
  const name = await askForClass(`Class of ${count(marked.length, "tile")}`);
  if (!name) return;
  if (!map.classes.includes(name)) map.classes.push(name);
  await answerMarked({ kind: "label", class: name }, () => map.classes.indexOf(name) + 1, tiles => `${tiles}: ${name}. The top of the page shows when they are saved.`);
  showLegend();
}

const excludeMarked = () => answerMarked({ kind: "skip" }, () => SKIPPED, tiles => `${tiles}: skipped by you. Your queues pass over them.`);

async function searchMarked() {
  const [[drop, like]] = await ask("/api/map/tiles", { space: space || null, rows: marked.slice(0, 1) });
  location.hash = `label?${new URLSearchParams({ like, drop, ...(space ? { space } : {}) })}`;
}

// --- Pointer and keys
function listen(signal) {
  let panFrom = null;
  const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    cursor = corner = null;
    if (event.shiftKey || event.button === 1) panFrom = at(event); else lasso = [at(event)];
  }, { signal });
  canvas.addEventListener("pointermove", event => {
    const point = at(event);
    if (panFrom) {
      view.x -= (point[0] - panFrom[0]) / view.scale;
      view.y += (point[1] - panFrom[1]) / view.scale;
      panFrom = point;
    } else if (lasso) lasso.push(...(event.getCoalescedEvents?.() ?? []).map(at), point);
    else return;
    paint();
  }, { signal });
  canvas.addEventListener("pointerup", () => {
    const shape = lasso;
    lasso = panFrom = null;
    if (shape) mark(shape.length > 2 ? shape : around(shape[0]));
  }, { signal });
  canvas.addEventListener("wheel", event => { event.preventDefault(); zoom(...at(event), Math.exp(-event.deltaY / 400)); }, { signal, passive: false });
  window.addEventListener("resize", paint, { signal });
  document.addEventListener("keydown", event => { if (!isTyping(event) && document.activeElement === canvas) press(event); }, { signal });
}

const around = ([x, y]) => rectangle([x - 6, y - 6], [x + 6, y + 6]); // a click marks what is under it

function press(event) {
  const middle = [canvas.clientWidth / 2, canvas.clientHeight / 2], step = event.shiftKey ? 3 : 24;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (moves[event.key]) {
    const [x, y] = cursor || middle, [dx, dy] = moves[event.key];
    cursor = [Math.min(Math.max(x + dx, 0), canvas.clientWidth), Math.min(Math.max(y + dy, 0), canvas.clientHeight)];
    paint();
  } else if (event.key === "Enter") {
    cursor = cursor || middle;
    if (corner) { const shape = rectangle(corner, cursor); corner = null; mark(shape); }
    else { corner = cursor; speak("First corner is set. Move, and press Enter again."); paint(); }
  } else if (event.key === "+" || event.key === "=") zoom(...(cursor || middle), 1.4);
  else if (event.key === "-") zoom(...(cursor || middle), 1 / 1.4);
  else if (event.key === "0") showAll();
  else if (event.key === "Escape") { corner = cursor = null; marked = []; showMarked(); paint(); }
  else return;
  event.preventDefault();
}
