/* One restoration: pictures in the compare viewer, the fidelity dial, what changed, downloads, other settings. */

import { tellFaces } from "./faces.js";
import { startOtherwise, tellOtherwise } from "./otherwise.js";
import { announce, askJson, byId, forgetPictures, make, pictureAddress, save, trouble } from "./server.js";

const PANELS = [
  ["photo", "photo"],
  ["prior", "generated picture"],
  ["registered", "generated picture, aligned"],
  ["restoration", "restoration"],
  ["trust", "trust map"],
  ["overlay", "photo red, generated cyan"],
];
const OVERLAYS = [
  ["motion", "what moved"],
  ["edges", "edges: added red, lost blue"],
  ["objects", "changed objects"],
];
const SHARES = [
  ["photo", "photo: from your photo only"],
  ["confirmed", "confirmed: structure of your photo, contrast of the generated picture"],
  ["light", "light: detail of your photo, light and colour of the generated picture"],
  ["generated", "generated: pixels of the generated picture itself"],
];
const RARE = 0.001; // smaller probabilities are shown in words

const DEFAULT = 75; // percent: the default fidelity, shown first
const STOPS = [0, 25, 50, 75, 100];
const MODES = ["slider", "side", "flicker", "difference"];

let viewer = null;
let current = null; // the entry
let stop = null; // the visible stop: percent, restoration, trust_map (names of pictures), trust (shares)
let stale = false; // a new restoration is in progress; the pictures are the old ones
let whenClosed = () => {};

export const currentId = () => (current ? current.id : null);

/** Show an entry; `focus` moves the keyboard there. */
export function showResult(entry, { focus = true } = {}) {
  const again = current && current.id === entry.id;
  if (again && !entry.pictures.includes("restoration")) return showWorking(entry);
  const fresh = !again || stale;
  if (current && fresh) forgetPictures(current.id, again ? [] : ["small"]);
  current = entry;
  stale = false;
  byId("dial-note").textContent = "";
  if (fresh || stop.percent === DEFAULT) stop = firstStop(entry);
  if (fresh) byId("dial").value = DEFAULT;
  if (!again) byId("scale").value = "";
  byId("list").hidden = true;
  byId("result").hidden = false;
  document.body.dataset.view = "result";
  byId("result-name").textContent = entry.name;
  byId("dial-box").hidden = !entry.dial;
  tellChanges(entry);
  tellShares(stop.trust);
  tellFaces(entry, stop);
  tellAbout(entry);
  tellOtherwise(entry);
  byId("save-note").textContent = "";
  showPictures(entry);
  if (focus) {
    window.scrollTo(0, 0);
    byId("result-name").focus({ preventScroll: true });
  }
  return undefined;
}

/** While a new restoration is in progress, or if it failed, the old one stays visible. */
function showWorking(entry) {
  stale = true;
  byId("dial-note").textContent = entry.state === "failed" ? entry.error : "The photo is being restored again …";
  if (entry.state === "failed") tellOtherwise(entry);
}

export function closeResult() {
  if (!current) return;
  forgetPictures(current.id, ["small"]);
  current = null;
  viewer?.destroy();
  viewer = null;
  byId("result").hidden = true;
  byId("list").hidden = false;
  delete document.body.dataset.view;
}

// ---- addresses --------------------------------------------------------------------------------------

/** Open a result at its own address, so that Back returns to the list. */
export function showAddress(id) {
  trouble("");
  window.history.pushState({ inside: true }, "", "#result/" + id);
  return openResult(id);
}

/** Fetch an entry and show it, at the stop of the dial that the address names, if any. */
export async function openResult(id, percent) {
  try {
    const entry = await askJson("/page/history/" + id);
    if (!entry.pictures.includes("restoration")) return leaveAddress();
    showResult(entry);
    if (entry.dial && STOPS.includes(percent) && percent !== DEFAULT) {
      byId("dial").value = percent;
      turnDial();
      await takeStop();
    }
  } catch (error) {
    leaveAddress();
    trouble(error.status === 404 ? "This restoration does not exist, or was deleted." : error.message);
  }
  return undefined;
}

function leaveAddress() {
  closeResult();
  window.history.replaceState(null, "", "#restore");
}

/** Close the result, as Back does. */
export function leaveResult() {
  if (!current) return;
  const id = current.id;
  if (window.history.state?.inside) {
    closeResult();
    window.history.back();
  } else leaveAddress();
  whenClosed(id);
  announce("Closed");
}

// ---- pictures -----------------------------------------------------------------------------------------

function showPictures(entry) {
  const names = { restoration: stop.restoration, trust: stop.trust_map };
  const source = (key) => () => pictureAddress(entry.id, names[key] || key);
  const available = (list) => list.filter(([key]) => entry.pictures.includes(key))
    .map(([key, name]) => ({ key, name, src: source(key) }));
  const panels = available(PANELS), overlays = available(OVERLAYS);
  const b = Math.max(0, panels.findIndex((panel) => panel.key === "restoration"));
  if (viewer && viewer.entry === entry.id) viewer.setPanels(panels, overlays);
  else {
    if (viewer) viewer.destroy();
    viewer = window.veraxCompare(byId("viewer"), { panels, overlays, modes: MODES, state: "mode=slider&a=0&b=" + b });
    viewer.entry = entry.id;
  }
  turnDial();
}

// ---- the dial ---------------------------------------------------------------------------------

/** The stop of the default fidelity, from the entry itself. */
const firstStop = (entry) => ({
  percent: DEFAULT, restoration: "restoration", trust_map: "trust",
  faces: entry.faces,
  trust: entry.trust || { photo: 1, confirmed: 0, light: 0, generated: 0 },
});

/** Show picture, trust map and shares of the selected fidelity. */
async function takeStop() {
  const entry = current, percent = Number(byId("dial").value);
  const isCurrent = () => current && current.id === entry.id && Number(byId("dial").value) === percent;
  window.history.replaceState(window.history.state, "", "#result/" + entry.id + (percent === DEFAULT ? "" : "/" + percent));
  byId("dial-note").textContent = percent === stop.percent ? "" : "Making the picture …";
  if (percent === stop.percent) return;
  try {
    const answer = await askJson("/page/history/" + entry.id + "/stop?fidelity=" + percent / 100);
    const both = [answer.restoration, answer.trust_map].map((name) => pictureAddress(entry.id, name));
    await Promise.all(both);
    if (!isCurrent()) return;
    stop = { percent, ...answer };
    byId("dial-note").textContent = "";
    tellShares(stop.trust);
    tellFaces(current, stop);
    showPictures(current);
    announce("The picture at " + percent + " percent is shown");
  } catch (error) {
    if (!isCurrent()) return;
    byId("dial").value = stop.percent;
    turnDial();
    byId("dial-note").textContent = error.message;
  }
}

function turnDial() {
  const value = Number(byId("dial").value);
  byId("dial-value").textContent = value + " %";
  byId("dial").setAttribute("aria-valuetext", value + " percent");
  byId("dial-words").textContent = value === 100
    ? "All structure is your photo's own. Light, colour and contrast may come from the generated picture."
    : value === 0
      ? "This is the generated picture itself, aligned with your photo. Do not use it as evidence."
      : value < DEFAULT
        ? "The generated picture is used even where it contradicts your photo. Do not use it as evidence."
        : "What your photo shows stays in place. The generated picture adds light, and what your photo could not show.";
  const scale = byId("scale").value;
  byId("save").textContent = ["Download", value === DEFAULT ? "" : "at " + value + " %",
    scale > 0 ? scale + " ×" : scale ? "larger" : ""].filter(Boolean).join(" ");
}

// ---- words ------------------------------------------------------------------------------------

/** Whether the generated picture was used, and why. */
function verdict(entry) {
  const registration = entry.registration;
  if (entry.prior === "unused") return "The generated picture was not used: " + registration.reason + ".";
  if (registration.placed === "roughly") {
    return "The generated picture shows your scene, but hardly any of its edges are in the same place as in your photo."
      + " So only its overall light and colour were used.";
  }
  const chance = registration.p_value < RARE
    ? "pictures of other scenes almost never match your photo so well"
    : "pictures of other scenes match your photo as well in " + (100 * registration.p_value).toFixed(1) + " % of cases";
  return "The generated picture shows your scene and was used: " + chance + ".";
}

/** A sentence of the report without the names of its columns. */
const plainly = (sentence) => (sentence.startsWith("Could not be measured")
  ? "Some further changes cannot be measured in this photo." : sentence);

function tellChanges(entry) {
  const registration = entry.registration;
  const lines = [];
  if (registration) lines.push(verdict(entry));
  if (entry.prior === "used") lines.push(...(entry.sentences || []).map(plainly));
  if (entry.state === "measuring") lines.push("Still measuring what else changed …");
  const notes = [...(entry.notes || []), ...(entry.notices || [])];
  lines.push(...notes.map((note) => note.charAt(0).toUpperCase() + note.slice(1)));
  if (!registration) lines.push("No generated picture was used: everything comes from your photo.");
  byId("changes").replaceChildren(...lines.map((line) => make("li", {}, line)));
}

function tellShares(trust) {
  const bar = make("div", { className: "bar", "aria-hidden": "true" });
  const rows = SHARES.map(([name, words]) => {
    const part = make("span", { className: "key-" + name });
    part.style.width = 100 * trust[name] + "%";
    bar.append(part);
    return make("p", { className: "legend" },
      make("i", { className: "key-" + name, "aria-hidden": "true" }),
      make("span", {}, Math.round(100 * trust[name]) + " % " + words));
  });
  byId("shares").replaceChildren(bar, ...rows);
}

function tellAbout(entry) {
  const about = entry.about || {}, registration = entry.registration;
  byId("place-box").hidden = !about.place;
  const rows = [
    ["Size", entry.width + " × " + entry.height + " pixels"],
    ["Format", about.format],
    ["Camera", [about.make, about.camera].filter(Boolean).join(" ")],
    ["Taken", about.taken],
    ["Description", about.description],
    ["Place", about.place ? "the file holds a GPS position" : ""],
    ["Alignment", registration && registration.placed],
    ["Reason", registration && registration.reason],
    ["Chance match", registration && registration.p_value !== undefined && "pictures of other scenes match as well in " + (100 * registration.p_value).toPrecision(2) + " % of cases"],
    ["Model", entry.upstream_model],
    ["Cost", typeof entry.cost_usd === "number" ? "$" + entry.cost_usd.toFixed(4) : ""],
    ["Time", entry.seconds === undefined ? "" : entry.seconds + " s"],
  ].filter(([, value]) => value);
  byId("about").replaceChildren(...rows.flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, String(value))]));
}

async function download() {
  const entry = current;
  const fidelity = entry.dial ? Number(byId("dial").value) / 100 : DEFAULT / 100;
  const button = byId("save");
  button.disabled = true;
  const scale = byId("scale").value;
  byId("save-note").textContent = fidelity === DEFAULT / 100 && !scale ? "" : "Making the file …";
  try {
    const place = byId("place").checked && !byId("place-box").hidden ? "&place=no" : "";
    const name = await save("/page/history/" + entry.id + "/file?fidelity=" + fidelity + place + (scale ? "&scale=" + scale : ""));
    byId("save-note").textContent = "Saved as " + name;
  } catch (error) {
    byId("save-note").textContent = error.message;
  }
  button.disabled = false;
  button.focus();
}

// ---- start --------------------------------------------------------------------------------------

/** Set up the result's controls: `remove` deletes an entry, `again` restores it with other settings,
 * `closed` is called on closing. */
export function startResult({ remove, again, closed }) {
  whenClosed = closed;
  byId("dial").addEventListener("input", turnDial);
  byId("dial").addEventListener("change", takeStop);
  byId("scale").addEventListener("change", turnDial);
  byId("save").addEventListener("click", download);
  byId("result-delete").addEventListener("click", () => remove(current));
  byId("result-close").addEventListener("click", leaveResult);
  startOtherwise(() => current, again);
}
