/* Choosing photos and priors, sending them one after another, and the list of what was made. */

import {
  announce, ask, askJson, byId, entryPicture, forgetPictures, make, priceSentence, save, trouble, wait,
} from "./server.js";
import { closeResult, openResult, showResult, shownId, startResult } from "./result.js";

const STATES = {
  waiting: ["waiting for its turn", 1],
  asking: ["asking the model", 2],
  restoring: ["restoring", 3],
  measuring: ["measuring what changed", 4],
};
const BUSY = (entry) => entry.state in STATES;
const POLL_SECONDS = 0.7;

let chosen = []; // {photo: File, prior: File | null, url, priorUrl, width, height}
let outbox = []; // chosen ones that are not with the server yet, with `how` and perhaps `error`
let offer = null; // models of the service
let entries = [];
let polling = false;
let wanted = null; // id to be opened as soon as it can be seen

const way = () => document.querySelector("input[name=way]:checked").value;
const stem = (name) => name.replace(/\.[^.]*$/, "").toLowerCase();
const pictures = (files) => Array.from(files || []).filter((file) =>
  file.type.startsWith("image/") || /\.(heic|heif|avif|tiff?|webp)$/i.test(file.name));

// ---- choosing -----------------------------------------------------------------------------------

export function addPhotos(files) {
  const found = pictures(files);
  if (found.length === 0) return trouble("That is not a picture. Choose PNG, JPEG, WebP, TIFF, AVIF or HEIC files.");
  trouble("");
  for (const photo of found) {
    const item = { photo, prior: null, url: URL.createObjectURL(photo), priorUrl: "", width: 0, height: 0 };
    const probe = new Image();
    probe.addEventListener("load", () => {
      [item.width, item.height] = [probe.naturalWidth, probe.naturalHeight];
      showPrice();
    });
    probe.src = item.url;
    chosen.push(item);
  }
  announce(chosen.length + (chosen.length === 1 ? " photo chosen" : " photos chosen"));
  return showChosen();
}

function pair(item, prior) {
  item.prior = prior;
  URL.revokeObjectURL(item.priorUrl);
  item.priorUrl = URL.createObjectURL(prior);
}

function release(item) {
  for (const address of [item.url, item.priorUrl]) URL.revokeObjectURL(address);
}

/** Give every photo its prior: by name, else in order; a single one to a single photo. */
export function addPriors(files) {
  const found = pictures(files);
  if (found.length === 0) return trouble("That is not a picture.");
  trouble("");
  if (chosen.length === 0) return trouble("Choose the photo first, then the picture made of it.");
  const free = chosen.filter((item) => !item.prior);
  const left = found.filter((prior) => {
    const match = chosen.length > 1 && chosen.find((item) => stem(item.photo.name) === stem(prior.name));
    if (match) pair(match, prior);
    return !match;
  });
  for (const prior of left) {
    const item = free.find((one) => !one.prior) || (chosen.length === 1 ? chosen[0] : null);
    if (item) pair(item, prior);
  }
  announce("Generated picture chosen");
  return showChosen();
}

function showChosen() {
  byId("chosen").replaceChildren(...chosen.map((item) => {
    const drop = make("button", { type: "button", "aria-label": "Remove " + item.photo.name }, "Remove");
    drop.addEventListener("click", () => {
      release(item);
      chosen = chosen.filter((one) => one !== item);
      showChosen();
      byId("photo-choose").focus();
    });
    const words = way() !== "picture" ? "" : item.prior ? "with " + item.prior.name : "no generated picture yet";
    const thumbs = make("div", { className: "thumbs" }, make("img", { className: "thumb", src: item.url, alt: "" }));
    if (way() === "picture" && item.prior) thumbs.append(make("img", { className: "thumb", src: item.priorUrl, alt: "" }));
    return make("li", { className: "item" }, thumbs,
      make("div", {}, make("div", { className: "name" }, item.photo.name), make("small", {}, words)), drop);
  }));
  const count = chosen.length;
  const needModel = way() === "model" && !(offer && offer.ready);
  byId("go").disabled = count === 0 || needModel;
  byId("go").textContent = count > 1 ? "Restore " + count + " photos" : "Restore";
  const without = chosen.filter((item) => !item.prior).length;
  byId("go-note").textContent = count === 0 ? "Choose a photo first."
    : way() === "picture" && without > 0
      ? (count === 1 ? "Without a generated picture the photo is restored alone."
        : without + " without a generated picture will be restored alone.") : "";
  showPrice();
}

function chooseWay() {
  byId("way-picture").hidden = way() !== "picture";
  byId("way-model").hidden = way() !== "model";
  showChosen();
}

let asking = 0; // only the answer to the last question counts

/** The model's price for what is chosen, before anything is sent. */
async function showPrice() {
  const line = byId("price");
  if (way() !== "model" || !offer || !offer.ready) {
    line.textContent = "";
    return;
  }
  if (chosen.length === 0) {
    line.textContent = "Choose a photo to see the price.";
    return;
  }
  const wishes = chosen.map((item) => (
    { kind: "edit", model: byId("model").value, width: item.width || 1024, height: item.height || 1024 }));
  const asked = (asking += 1);
  try {
    const sentence = await priceSentence(wishes);
    if (asked === asking) line.textContent = sentence;
  } catch (error) {
    line.textContent = error.message;
  }
}

export function takeOffer(told) {
  offer = told;
  byId("model").replaceChildren(...told.models.map((model) => make("option", { value: model.id }, model.id)));
  byId("model-trouble").hidden = told.ready;
  byId("model-trouble").textContent = told.ready ? "" : "No model can be asked yet: " + told.message;
  for (const id of ["model", "wish"]) byId(id).disabled = !told.ready;
  showChosen();
}

// ---- sending ------------------------------------------------------------------------------------

let letters = 0; // ids of what waits to be sent

function submit(event) {
  event.preventDefault();
  const how = { way: way(), model: byId("model").value, wish: byId("wish").value };
  outbox.push(...chosen.map((item) => ({ ...item, how, id: "out-" + (letters += 1), error: "" })));
  chosen = [];
  wanted = "first";
  showChosen();
  showHistory();
  trouble("");
  byId("history-title").scrollIntoView({ block: "center" });
  deliver();
}

let delivering = false;

/** Send what is in the outbox, one after another; what was not accepted stays there and says why. */
async function deliver() {
  if (delivering) return;
  delivering = true;
  for (let item; (item = outbox.find((one) => !one.error));) {
    announce("Sending " + item.photo.name);
    try {
      const entry = await send(item);
      if (wanted === "first") wanted = entry.id;
      entries = [entry, ...entries.filter((one) => one.id !== entry.id)];
      drop(item);
      poll();
    } catch (error) {
      item.error = error.message;
      announce(item.photo.name + " was not accepted: " + error.message);
    }
    showHistory();
  }
  delivering = false;
}

function drop(item) {
  release(item);
  outbox = outbox.filter((one) => one !== item);
  showHistory();
}

async function send({ how, ...item }) {
  const form = new FormData();
  form.append("photo", item.photo, item.photo.name);
  if (how.way === "picture" && item.prior) form.append("prior", item.prior, item.prior.name);
  if (how.way === "model") {
    form.append("model", how.model);
    form.append("prompt", how.wish);
  }
  for (;;) {
    try {
      return await askJson("/page/restorations", { method: "POST", body: form });
    } catch (error) {
      if (error.status !== 429 || !error.waitSeconds) throw error;
      announce("The server is busy; trying again in " + error.waitSeconds + " seconds");
      await wait(error.waitSeconds);
    }
  }
}

// ---- what was made --------------------------------------------------------------------------------

export async function refresh() {
  const told = await askJson("/page/history");
  const before = new Map(entries.map((entry) => [entry.id, entry.state]));
  entries = told.entries.filter((entry) => entry.kind === "restoration");
  for (const entry of entries) {
    const last = before.get(entry.id);
    if (last === entry.state || last === undefined) continue;
    announce(entry.name + ": " + (STATES[entry.state]?.[0] || entry.state));
    const visible = entry.pictures.includes("restoration") && entry.width;
    if (entry.id === wanted && visible && (entry.state === "done" || entry.state === "measuring")) {
      wanted = null;
      showResult(entry);
    } else if (entry.id === shownId()) showResult(entry, { focus: false });
  }
  showHistory();
}

async function poll() {
  if (polling) return;
  polling = true;
  try {
    while (entries.some(BUSY)) {
      await wait(POLL_SECONDS);
      await refresh();
    }
  } catch (error) {
    trouble(error.message);
  }
  polling = false;
}

const rows = new Map(); // id -> {text, node}: a row is only made anew when it says something else

function showHistory() {
  const list = byId("history");
  const nodes = outbox.map(outboxRow).concat(entries.map((entry) => {
    const text = JSON.stringify([entry.state, entry.error, entry.prior, entry.pictures.length, entry.id === shownId()]);
    const known = rows.get(entry.id);
    if (known && known.text === text) return known.node;
    const held = known && known.node.contains(document.activeElement);
    const node = row(entry);
    rows.set(entry.id, { text, node });
    if (known) known.node.replaceWith(node);
    if (held) node.querySelector("button").focus();
    return node;
  }));
  const there = new Set(nodes);
  for (const [id, known] of rows) if (!there.has(known.node)) rows.delete(id);
  for (const node of [...list.children]) if (!there.has(node)) node.remove();
  nodes.forEach((node, index) => {
    if (list.children[index] !== node) list.insertBefore(node, list.children[index] || null);
  });
  byId("history-empty").hidden = nodes.length > 0;
  byId("zip").hidden = !entries.some((entry) => entry.state === "done");
  byId("clear").hidden = entries.length === 0;
}

/** What waits to be sent, or was not accepted. */
function outboxRow(item) {
  const text = item.error || "waiting to be sent …";
  const known = rows.get(item.id);
  if (known && known.text === text) return known.node;
  const words = make("div", {}, make("div", { className: "name" }, item.photo.name),
    make("div", { className: "note" }, text));
  const actions = make("div", { className: "row" });
  const name = { name: item.photo.name };
  if (item.error) actions.append(action("Try again", name, async () => { item.error = ""; deliver(); showHistory(); }));
  actions.append(action("Remove", name, async () => drop(item)));
  const thumb = make("img", { className: "thumb", src: item.url, alt: "" });
  const node = make("li", { className: "item" + (item.error ? " state-failed" : "") }, thumb, words, actions);
  rows.set(item.id, { text, node });
  return node;
}

function row(entry) {
  const words = make("div", {}, make("div", { className: "name" }, entry.name));
  if (BUSY(entry)) {
    const [text, step] = STATES[entry.state];
    words.append(make("div", { className: "note" }, text + " …"),
      make("progress", { max: 5, value: step, "aria-label": entry.name + ", " + text }));
  } else words.append(make("div", { className: "note" }, entry.state === "failed" ? entry.error : summary(entry)));
  const picture = ["small", "restoration", "photo"].find((name) => entry.pictures.includes(name));
  const thumb = picture ? entryPicture(entry, picture, { className: "thumb", alt: "" })
    : make("div", { className: "thumb", "aria-hidden": "true" });
  const actions = make("div", { className: "row" });
  if (entry.pictures.includes("restoration") && entry.width) {
    actions.append(action("Show", entry, () => openResult(entry.id).then(showHistory)));
    if (entry.state === "done") {
      actions.append(action("Download", entry, () =>
        save("/page/history/" + entry.id + "/file").then((name) => announce("Saved as " + name))));
    }
  }
  actions.append(action("Delete", entry, () => remove(entry)));
  const shown = entry.id === shownId() ? " shown" : "";
  return make("li", { className: "item state-" + entry.state + shown }, thumb, words, actions);
}

function summary(entry) {
  const size = entry.width + " × " + entry.height;
  const uses = { used: "with the generated picture", refused: "generated picture refused", none: "photo alone" };
  return [size, uses[entry.prior], new Date(entry.created * 1000).toLocaleString()].filter(Boolean).join(" · ");
}

function action(label, entry, run) {
  const button = make("button", { type: "button", "aria-label": label + " " + entry.name }, label);
  button.addEventListener("click", () => run().catch((error) => trouble(error.message)));
  return button;
}

async function remove(entry) {
  await ask("/page/history/" + entry.id, { method: "DELETE" });
  forgetPictures(entry.id);
  if (shownId() === entry.id) closeResult();
  const index = entries.findIndex((one) => one.id === entry.id);
  entries = entries.filter((one) => one.id !== entry.id);
  showHistory();
  const next = byId("history").children[Math.min(index, entries.length - 1)];
  (next ? next.querySelector("button") : byId("photo-choose")).focus();
  announce(entry.name + " deleted");
}

async function removeAll() {
  if (!window.confirm("Delete all restorations from this machine?")) return;
  for (const entry of [...entries]) await remove(entry);
}

// ---- start ----------------------------------------------------------------------------------------

function dropZone(zone, take) {
  const over = (on) => (event) => {
    event.preventDefault();
    zone.classList.toggle("over", on);
  };
  zone.addEventListener("dragenter", over(true));
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => {
    over(false)(event);
    take(event.dataTransfer.files);
  });
}

function picker(button, input, take) {
  byId(button).addEventListener("click", () => byId(input).click());
  byId(input).addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = "";
  });
}

export function startRestore() {
  picker("photo-choose", "photo-files", addPhotos);
  picker("photo-camera", "camera-file", addPhotos);
  picker("prior-choose", "prior-files", addPriors);
  dropZone(byId("photo-box"), addPhotos);
  dropZone(byId("way-picture"), addPriors);
  document.querySelectorAll("input[name=way]").forEach((input) => input.addEventListener("change", chooseWay));
  byId("model").addEventListener("change", showPrice);
  byId("order").addEventListener("submit", submit);
  byId("zip").addEventListener("click", () =>
    save("/page/restorations.zip").then((name) => announce("Saved as " + name), (error) => trouble(error.message)));
  byId("clear").addEventListener("click", () => removeAll().catch((error) => trouble(error.message)));
  startResult({
    remove: (entry) => remove(entry).catch((error) => trouble(error.message)),
    closed: (id) => {
      showHistory();
      const node = rows.get(id)?.node;
      if (node) node.querySelector("button").focus();
    },
  });
  return refresh().then(poll);
}
