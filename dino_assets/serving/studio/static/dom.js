// Elements of pages: made from text only, so that no name becomes markup.
export const find = (selector, inside = document) => inside.querySelector(selector);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function speak(sentence) { find("#spoken").textContent = sentence; }

export function show(...children) { find("#main").replaceChildren(...children.flat()); }

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

export function spellSeconds(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// Colours of classes that colour-blind people can tell apart (Okabe and Ito); each also has a number.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c510a", "#5e3c99", "#444444"];
export const colourAt = place => COLOURS[place % COLOURS.length] ?? "#8a929c";

export const pictureOf = (tile, kind) =>
  `/pictures/${kind}/${encodeURIComponent(tile.drop)}/${encodeURIComponent(tile.tile_id)}`;

export const fileName = path => path.slice(path.lastIndexOf("/") + 1);

export const isTyping = event =>
  event.ctrlKey || event.metaKey || event.altKey || Boolean(document.querySelector("dialog[open]")) ||
  ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
