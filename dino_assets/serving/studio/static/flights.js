// The page Flights: photographs and chosen tiles on the ground, and heat maps.
import { colourAt, count, draw, fileName, find, make, pictureOf, show } from "/static/dom.js";
import { ask } from "/static/server.js";
import { placeOf } from "/static/classes.js";

const WIDTH = 1000, PAD = 30;

export async function openFlights(studio, stay) {
  const drops = stay(await ask("/api/drops")).filter(drop => !drop.error && drop.assets.images[1]);
  if (!drops.length) { show(make("h1", { text: "Flights" }), make("p", { text: "No flight has been read yet." })); return; }
  const name = studio.query.get("drop") || drops[0].name;
  const flight = stay(await ask(`/api/flights/${encodeURIComponent(name)}`));
  const choice = make("select", { id: "flight", onchange: event => { location.hash = `flights?drop=${encodeURIComponent(event.target.value)}`; } },
    drops.map(drop => make("option", { value: drop.name, selected: drop.name === name, text: drop.name })));
  show(
    make("div", { class: "head" }, make("h1", { text: `Flight ${name}` }), make("label", {}, "Flight ", choice)),
    make("p", { text: `${count(flight.photographs.length, "photograph")} on the ground, ${count(flight.tiles.length, "chosen tile")}.${flight.unplaced ? ` ${count(flight.unplaced, "photograph")} without a place.` : ""}` }),
    flight.photographs.length ? showGround(flight, studio.query.get("heat")) : make("p", { class: "quiet", text: "The photographs of this flight have no place on the ground." }),
    flight.tiles.length ? listTiles(flight, name) : null);
  find("#flight").focus({ preventScroll: true });
}

// The ground, a choice of heat maps to lay over it, and what their colours mean.
function showGround(flight, wanted) {
  const ground = make("div", {}), legend = make("div", { class: "legend" });
  const change = file => {
    const heat = flight.heat_maps.find(each => each.file === file);
    ground.replaceChildren(drawGround(flight, heat));
    legend.replaceChildren(...(heat ? explainHeat(heat, flight.heat_scale) : []));
  };
  const first = flight.heat_maps.find(each => each.file === wanted) || flight.heat_maps[0];
  change(first && first.file);
  if (!flight.heat_maps.length) return ground;
  const choice = make("select", { id: "heat", onchange: event => change(event.target.value) },
    flight.heat_maps.map(each => make("option", { value: each.file, selected: each === first, text: `${each.class} (${each.source})` })),
    make("option", { value: "", text: "none" }));
  return make("div", {}, make("p", {}, make("label", {}, "Heat map ", choice)), legend, ground);
}

function explainHeat(heat, scale) {
  const ramp = make("span", { class: "ramp", role: "img", "aria-label": `Colours from ${scale.low} to ${scale.high}` });
  ramp.style.background = `linear-gradient(to right, ${scale.colours.join(", ")})`;
  return [
    make("p", { class: "small" }, `${scale.low} `, ramp, ` ${scale.high}  ${scale.meaning}`),
    make("p", { class: "small", text: "Chosen tiles are outlines, so that the colours below them are seen." }),
    make("p", { class: "small", text: `${Math.round(heat.hot_m2).toLocaleString("en")} m² have at least ${heat.threshold.toFixed(2)}, the threshold. The highest is ${heat.highest.toFixed(2)}. A cell is ${heat.cell_m} m wide.` }),
  ];
}

function drawGround(flight, heat) {
  const rings = [...flight.photographs, ...flight.tiles].flatMap(each => each.rings);
  if (heat) rings.push(heat.corners);
  const points = rings.flat();
  const lon = points.map(point => point[0]), lat = points.map(point => point[1]);
  const min = list => list.reduce((a, b) => Math.min(a, b)), max = list => list.reduce((a, b) => Math.max(a, b));
  const [west, east, south, north] = [min(lon), max(lon), min(lat), max(lat)];
  const stretch = Math.cos((((south + north) / 2) * Math.PI) / 180);
  const wide = (east - west) * stretch || 1e-6, high = north - south || 1e-6;
  const height = Math.min(640, Math.max(260, (WIDTH * high) / wide));
  const scale = Math.min((WIDTH - 2 * PAD) / wide, (height - 2 * PAD) / high);
  const place = ([x, y]) => `${(WIDTH / 2 + (x - (west + east) / 2) * stretch * scale).toFixed(1)},${(height / 2 - (y - (south + north) / 2) * scale).toFixed(1)}`;
  const outline = (ring, attributes) => draw("polygon", { points: ring.map(place).join(" "), ...attributes });
  const svg = draw("svg", { class: heat ? "ground heated" : "ground", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${count(flight.photographs.length, "photograph")} and ${count(flight.tiles.length, "chosen tile")} on the ground` });
  if (heat) svg.append(placeHeat(heat, place));
  for (const photograph of flight.photographs) {
    for (const ring of photograph.rings) { const shape = outline(ring, { class: "photograph" }); shape.append(draw("title", {}, photograph.path)); svg.append(shape); }
  }
  for (const tile of flight.tiles) {
    for (const ring of tile.rings) {
      const shape = outline(ring, { class: `chosen ${tile.label ? "labelled" : ""} ${tile.is_answered ? "answered" : ""}` });
      if (tile.label) shape.style.setProperty("--colour", colourAt(placeOf(tile.label)));
      shape.append(draw("title", {}, `${fileName(tile.path)}: ${tile.label || (tile.is_answered ? "no class" : "not labelled")}`));
      svg.append(shape);
    }
  }
  const metres = niceLength((WIDTH / scale) * 111320 * 0.2), long = (metres / 111320) * scale;
  svg.append(draw("path", { class: "scale", d: `M ${PAD} ${height - 14} h ${long}` }), draw("text", { x: PAD + long + 8, y: height - 9 }, `${metres} m`), draw("text", { x: WIDTH - PAD, y: 24, "text-anchor": "end" }, "N ↑"));
  return svg;
}

// A picture of one unit by one unit, moved to the corners of the grid; a grid north may not be the map's north.
function placeHeat(heat, place) {
  const [[x, y], [east, eastY], , [south, southY]] = heat.corners.map(corner => place(corner).split(",").map(Number));
  return draw("image", {
    class: "heat", href: `/heat/${heat.space}/${heat.file.split("/").map(encodeURIComponent).join("/")}`, width: 1, height: 1, preserveAspectRatio: "none",
    transform: `matrix(${east - x} ${eastY - y} ${south - x} ${southY - y} ${x} ${y})`, role: "img", "aria-label": `Heat map of ${heat.class}`,
  });
}

function niceLength(metres) {
  const power = 10 ** Math.floor(Math.log10(metres));
  return [5, 2, 1].map(each => each * power).find(each => each <= metres) || power;
}

function listTiles(flight) {
  const drop = flight.drop;
  return make("table", {}, make("caption", { text: "Chosen tiles" }),
    make("thead", {}, make("tr", {}, ["", "Photograph", "Round", "Label", "Place"].map(text => (text ? make("th", { scope: "col", text }) : make("td", {}))))),
    make("tbody", {}, flight.tiles.map(tile => make("tr", {},
      make("td", {}, make("img", { src: pictureOf({ drop, tile_id: tile.tile_id }, "thumb"), alt: "", width: 48, height: 48, loading: "lazy" })),
      make("td", { text: tile.path }), make("td", { text: tile.round }), make("td", { text: tile.label || (tile.is_answered ? "no class" : "–") }),
      make("td", { text: tile.latitude == null ? "–" : `${tile.latitude.toFixed(6)}, ${tile.longitude.toFixed(6)}` })))));
}
