// Classes and their keys 1–9; a class keeps its key in this browser.
import { find } from "/static/dom.js";
import { askInForm } from "/static/names.js";

let storageKey = "studio-classes";
let names = [];

export function startClasses(project, counts) {
  storageKey = `studio-classes-${project}`;
  names = JSON.parse(localStorage.getItem(storageKey) || "[]");
  rememberAll(counts);
}

// Give classes of other people a key, too; only while no tile is shown, so that no key changes under a finger.
export function rememberAll(counts) {
  for (const name of Object.keys(counts).sort((a, b) => counts[b] - counts[a])) remember(name);
}

export const classes = () => names;
export const placeOf = name => names.indexOf(name); // -1: without a key

export function remember(name) {
  if (names.includes(name)) return;
  names.push(name);
  localStorage.setItem(storageKey, JSON.stringify(names));
}

// Ask for a class by its name; null if the person cancels.
export function askForClass(title = "Class") {
  const dialog = find("#class-dialog"), input = find("#class-input");
  find("#class-title").textContent = title;
  find("#class-names").replaceChildren(...names.map(name => Object.assign(document.createElement("option"), { value: name })));
  input.value = "";
  dialog.returnValue = "";
  return new Promise(resolve => {
    let name = null;
    askInForm(dialog.querySelector("form"), input, given => { name = given; });
    find("#class-cancel").onclick = () => dialog.close();
    dialog.onclose = () => { if (name) remember(name); resolve(name); };
    dialog.showModal();
    input.focus();
  });
}
