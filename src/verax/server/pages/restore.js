/* Sending what was chosen, one after another, and the list of what was made. */

import { release, startChoosing, takeChosen } from "./choose.js";
import { announce, ask, askJson, byId, entryPicture, forgetPictures, make, save, trouble, wait } from "./server.js";
import { closeResult, openResult, showResult, shownId, startResult } from "./result.js";

const STATES = {
  waiting: ["waiting for its turn", 1],
  asking: ["asking the model", 2],
  restoring: ["restoring", 3],
  measuring: ["measuring what changed", 4],
};
const BUSY = (entry) => entry.state in STATES;
const POLL_SECONDS = 0.7;

let outbox = []; // chosen ones that are not with the server yet, with `how` and perhaps `error`
let entries = [];
let polling = false;
let wanted = null; // id to be opened as soon as it can be seen

// ---- sending ------------------------------------------------------------------------------------

let letters = 0; // ids of what waits to be sent

function submit(event) {
  event.preventDefault();
  outbox.push(...takeChosen().map((item) => ({ ...item, id: "out-" + (letters += 1), error: "" })));
  wanted = "first";
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
  if (entry.state === "failed" && entry.format) actions.append(action("Try again", entry, () => again(entry)));
  actions.append(action("Delete", entry, () => remove(entry)));
  const shown = entry.id === shownId() ? " shown" : "";
  return make("li", { className: "item state-" + entry.state + shown }, thumb, words, actions);
}

function summary(entry) {
  const size = entry.width + " × " + entry.height;
  const uses = { used: "with the generated picture", unused: "generated picture not used", none: "photo alone" };
  return [size, uses[entry.prior], new Date(entry.created * 1000).toLocaleString()].filter(Boolean).join(" · ");
}

function action(label, entry, run) {
  const button = make("button", { type: "button", "aria-label": label + " " + entry.name }, label);
  button.addEventListener("click", () => run().catch((error) => trouble(error.message)));
  return button;
}

/** A photo and a generated picture of ours, for who has none at hand. */
async function tryExample() {
  const entry = await askJson("/page/example", { method: "POST" });
  entries = [entry, ...entries];
  wanted = entry.id;
  showHistory();
  byId("history-title").scrollIntoView({ block: "center" });
  announce("Making the example");
  poll();
}

/** Start what failed once more; what was paid for is not paid again. */
async function again(entry) {
  const started = await askJson("/page/history/" + entry.id + "/again", { method: "POST" });
  entries = entries.map((one) => (one.id === entry.id ? started : one));
  wanted = entry.id;
  announce(entry.name + " is tried again");
  showHistory();
  poll();
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

export function startRestore() {
  startChoosing();
  byId("order").addEventListener("submit", submit);
  byId("example").addEventListener("click", () => tryExample().catch((error) => trouble(error.message)));
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
