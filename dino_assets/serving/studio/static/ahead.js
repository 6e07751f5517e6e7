// Pictures of a queue, loaded before they are wanted.
import { fileName, make, pictureOf } from "/static/dom.js";

const AHEAD = 12, BEHIND = 3;
const KINDS = ["tile", "around"];

// Tiles of one photograph share the picture of it.
const keyOf = (item, kind) => (kind === "tile" ? `tile ${item.tile_id}` : `around ${item.image_id} ${item.around}`);

export class PicturesAhead {
  // `onUnreadable` gets the item whose photograph cannot be read.
  constructor(items, onUnreadable) {
    this.items = items;
    this.onUnreadable = onUnreadable;
    this.pictures = new Map();
  }

  pictureFor(place, kind) {
    const item = this.items[place], key = keyOf(item, kind);
    if (!this.pictures.has(key)) this.pictures.set(key, this.load(item, kind, kind === "tile" ? `Tile ${place + 1}` : `Photograph ${fileName(item.path)}`));
    return this.pictures.get(key);
  }

  load(item, kind, name) {
    const picture = make("img", { src: pictureOf(item, kind), alt: name, draggable: "false" });
    picture.decode?.().catch(() => {});
    picture.onerror = () => {
      picture.onerror = null;
      if (kind === "tile") picture.src = pictureOf(item, "thumb");
      picture.alt = `${name}: the photograph cannot be read`;
      for (const each of this.items) if (each.image_id === item.image_id) each.isUnreadable = true;
      this.onUnreadable(item);
    };
    return picture;
  }

  loadAround(at) {
    const wanted = new Set();
    for (let place = Math.max(0, at - BEHIND); place <= Math.min(at + AHEAD, this.items.length - 1); place++) {
      for (const kind of KINDS) {
        wanted.add(keyOf(this.items[place], kind));
        if (place > at) this.pictureFor(place, kind);
      }
    }
    for (const key of this.pictures.keys()) if (!wanted.has(key)) this.pictures.delete(key);
  }

  // Names have the numbers of tiles, which another order changes.
  clear() { this.pictures.clear(); }
}
