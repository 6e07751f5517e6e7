// The pages Rounds and Drops.
import { count, make, show, spellSeconds } from "/static/dom.js";
import { ask } from "/static/server.js";

export async function openRounds(studio, stay) {
  const rounds = stay(await ask(`/api/rounds?by=${encodeURIComponent(studio.person)}`));
  const pace = studio.state.seconds_per_answer;
  const row = round => {
    const left = round.tiles - round.answered_by_you;
    return make("tr", {},
      make("th", { scope: "row" }, round.error ? round.name : make("a", { href: `#label?round=${round.name}&space=${round.space}`, text: round.name })),
      make("td", { class: "number", text: `${round.tiles.toLocaleString("en")} of ${round.pool.toLocaleString("en")}` }),
      make("td", { text: round.strategy }),
      make("td", { text: Object.entries(round.tiles_by_drop).map(([drop, tiles]) => `${drop} ${tiles}`).join(", ") }),
      make("td", {}, round.error ? make("span", { class: "failure", text: round.error }) : [
        make("progress", { max: Math.max(1, round.tiles), value: round.answered_by_you, "aria-label": `Your answers in ${round.name}` }),
        ` ${round.answered_by_you} by you, ${round.answered} by anybody${left && pace ? `, about ${spellSeconds(left * pace)} left` : ""}`]),
      make("td", { class: "small" }, round.model || "", round.side_px ? `, ${round.side_px} px` : "", round.caveat ? make("div", { class: "caveat", text: round.caveat }) : null));
  };
  show(make("h1", { text: "Rounds" }), rounds.length ? table(["Round", "Tiles", "Strategy", "From", "Answered", "Model"], rounds.map(row)) : make("p", { text: "There is no round yet. `dino-assets select` chooses one." }));
}

export async function openDrops(studio, stay) {
  const drops = stay(await ask("/api/drops"));
  const row = drop => {
    if (drop.error) return make("tr", {}, make("th", { scope: "row", text: drop.name }), make("td", { colspan: "5", class: "failure", text: drop.error }));
    const unusual = Object.entries(drop.findings).filter(([, number]) => number), reasons = Object.entries(drop.reasons);
    return make("tr", {},
      make("th", { scope: "row" }, drop.name, drop.is_retired ? " (retired)" : "", drop.tags.map(tag => make("span", { class: "tag", text: `#${tag}` }))),
      make("td", {}, make("div", { text: `${count(drop.usable, "photograph")} usable` }),
        drop.quarantined ? make("div", { class: "warning", text: `${drop.quarantined} set aside: ${reasons.map(([name, number]) => `${name} ${number}`).join(", ")}` }) : null),
      make("td", { text: unusual.length ? unusual.map(([name, number]) => `${name} ${number}`).join(", ") : "nothing unusual" }),
      make("td", {}, Object.entries(drop.assets).map(([asset, [state, rows]]) => make("div", { class: state === "made" ? "" : "warning", text: `${asset} ${state === "absent" ? "–" : rows.toLocaleString("en")}${state === "old" ? " (old)" : ""}` }))),
      make("td", {}, drop.has_report ? [
        make("a", { href: `/files/images/_/${drop.name}/report.html`, target: "_blank", rel: "noopener", text: "Report" }), make("br"),
        make("a", { href: `#flights?drop=${encodeURIComponent(drop.name)}`, text: "On the ground" })] : null),
      make("td", { class: "small", text: drop.source }));
  };
  show(make("h1", { text: "Drops" }), drops.length ? table(["Drop", "Photographs", "Findings", "Made", "More", "Source"], drops.map(row)) : make("p", { text: "There is no drop yet." }));
}

const table = (names, rows) => make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Table" }, make("table", {}, make("thead", {}, make("tr", {}, names.map(text => make("th", { scope: "col", text })))), make("tbody", {}, rows)));
